//! How long tasks take, by stage and size: what was learned of it, and what is expected of those that wait and run.

use serde::{Deserialize, Serialize};

use super::{CLASSES, GAP, History, hundredths};
use crate::observation::{Observation, ServiceTime, Work};

/// Measurements from which on those of before no longer count.
const ENOUGH: u64 = 20;
/// Measurements from which on it is known about how long a task takes.
const SURE: u64 = 10;
/// Assumed of a task before the first was measured, in seconds.
const UNKNOWN_SERVICE: f64 = 10.0;
/// Tasks that should have been done and of which none is: up to so many it is chance, beyond each says as much as one of those
/// that services were measured on.
const SELDOM_UNFINISHED: f64 = 3.0;
const LIKE_ALL_OTHERS: f64 = 8.0;
/// How much longer than measured tasks are taken to be at most, before one of them was done.
const MOST_LENGTHENED: f64 = 4.0;
/// Over which time what is told of how often tasks of a kind come is believed.
const MIX_SECONDS: f64 = 300.0;
/// Square of the standard deviation over the mean of services: before enough were measured, and what is believed of measurements.
const SPREAD: f64 = 0.5;
const LEAST_SPREAD: f64 = 0.1;
const MOST_SPREAD: f64 = 2.0;
/// The same between kinds, which are far apart where some take seconds and some minutes.
const MOST_MIXED: f64 = 30.0;

/// Written without the names of the fields, as there are many; read with them as well.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(into = "(u32, f32, f32, u64)")]
pub(super) struct Learned {
    /// Of stage and size: names may be long, and the state is small.
    key: u32,
    mean: f32,
    deviation: f32,
    count: u64,
    /// Of the tasks that are done, the part that is of this kind, beside that of others; 0 where it is not known.
    /// It is told at each reading, and takes no room in what is kept.
    #[serde(skip)]
    share: f32,
}

impl From<Learned> for (u32, f32, f32, u64) {
    fn from(Learned { key, mean, deviation, count, share: _ }: Learned) -> Self {
        (key, mean, deviation, count)
    }
}

/// What a task is that comes, of whatever stage and size.
pub(crate) struct Mix {
    /// Seconds in work, those of what waits with one standard error on top.
    pub(crate) mean: f64,
    /// Square of the standard deviation over the mean.
    pub(crate) spread: f64,
}

impl History {
    /// Takes note of how long tasks take, and of how often they come.
    pub(super) fn learn_service(&mut self, observation: &Observation, passed: f64) {
        for work in observation.work.iter().flatten() {
            let Some(service) = work.service.filter(|service| service.count > 0) else { continue };
            let key = key(&work.stage, work.size);
            let known = self.service.iter_mut().find(|known| known.key == key);
            match known {
                Some(known) if service.count >= 5 || service.count >= known.count => {
                    known.mean = hundredths(service.mean);
                    known.deviation = hundredths(service.deviation);
                    known.count = service.count.min(ENOUGH);
                }
                Some(_) => {}
                None => {
                    if self.service.len() == CLASSES {
                        self.service.remove(0);
                    }
                    self.service.push(Learned {
                        key,
                        mean: hundredths(service.mean),
                        deviation: hundredths(service.deviation),
                        count: service.count.min(ENOUGH),
                        share: 0.0,
                    });
                }
            }
        }
        self.learn_mix(observation, passed);
    }

    fn learn_mix(&mut self, observation: &Observation, passed: f64) {
        let told: Vec<(u32, f64)> = observation
            .work
            .iter()
            .flatten()
            .filter_map(|work| {
                Some((key(&work.stage, work.size), work.share.filter(|share| share.is_finite() && *share > 0.0)?))
            })
            .collect();
        let all: f64 = told.iter().map(|kind| kind.1).sum();
        if all <= 0.0 {
            return;
        }
        // The first that is told is all that is known.
        let is_first = self.service.iter().all(|known| known.share <= 0.0);
        let weight = if is_first { 1.0 } else { 1.0 - (-passed.clamp(0.0, GAP) / MIX_SECONDS).exp() };
        for known in &mut self.service {
            // Of what nobody tells nothing is done.
            let share = told.iter().filter(|kind| kind.0 == known.key).map(|kind| kind.1).sum::<f64>() / all;
            known.share += weight as f32 * (share as f32 - known.share);
        }
    }

    /// Whether any task was measured.
    pub(crate) fn has_measured(&self) -> bool {
        !self.service.is_empty()
    }

    /// What a task is that is started next: of those that wait, and of so many that come. Those in work count where nobody
    /// says how often tasks come, and where they wait too as nobody is there to hold them (`held`).
    pub(crate) fn next(&self, observation: &Observation, coming: f64, held: bool) -> Mix {
        let works = || observation.work.iter().flatten();
        let shares: f64 = works().map(|work| self.share(work)).sum();
        let coming = coming.max(1.0);
        let weight = |work: &Work| {
            let waiting = work.pending as f64 + if held && shares > 0.0 { 0.0 } else { work.in_work as f64 };
            waiting + coming * self.share(work)
        };
        let (mut tasks, mut seconds, mut squares) = (0.0, 0.0, 0.0);
        let mut add = |weight: f64, mean: f64, spread: f64| {
            tasks += weight;
            seconds += weight * mean;
            squares += weight * mean * mean * (1.0 + spread);
        };
        for work in works() {
            add(weight(work), self.service_of(&work.stage, work.size, work.service), self.spread_of(work));
        }
        // Of other kinds, too, some come, though nothing of them is seen now.
        if shares > 0.0 {
            add(coming * (1.0 - shares).max(0.0), self.mean_service(), self.steady_spread());
        }
        if tasks <= 0.0 {
            return Mix { mean: self.mean_service(), spread: SPREAD };
        }
        let mean = (seconds / tasks).max(0.001);
        Mix { mean, spread: (squares / tasks / (mean * mean) - 1.0).clamp(LEAST_SPREAD, MOST_MIXED) }
    }

    /// Slots in use by each kind of tasks, and seconds that such a task is in work.
    pub(crate) fn in_work(&self, observation: &Observation) -> Vec<(f64, f64)> {
        let works = observation.work.iter().flatten().filter(|work| work.in_work > 0);
        let seconds = |work: &Work| self.service_of(&work.stage, work.size, work.service).max(0.001);
        works.map(|work| (work.in_work as f64, seconds(work))).collect()
    }

    /// How often such tasks come, beside others; 0 where nobody says.
    fn share(&self, work: &Work) -> f64 {
        let key = key(&work.stage, work.size);
        self.service.iter().find(|known| known.key == key).map_or(0.0, |known| known.share.into())
    }

    /// Square of the standard deviation over the mean of services of one kind.
    fn spread_of(&self, work: &Work) -> f64 {
        let key = key(&work.stage, work.size);
        let known = self.service.iter().find(|known| known.key == key && known.count >= SURE && known.mean > 0.0);
        known.map_or(SPREAD, |known| f64::from(known.deviation / known.mean).powi(2).clamp(LEAST_SPREAD, MOST_SPREAD))
    }

    /// Expected seconds in work of a task of what runs.
    fn service_in_work(&self, observation: &Observation) -> f64 {
        let (mut tasks, mut seconds) = (0.0, 0.0);
        for work in observation.work.iter().flatten() {
            tasks += work.in_work as f64;
            seconds += work.in_work as f64 * self.service_of(&work.stage, work.size, work.service);
        }
        if tasks > 0.0 { (seconds / tasks).max(0.001) } else { self.mean_service() }
    }

    /// Slots in use on average at the arrivals of late, or of the last minutes if these are fewer; 0 before any task was measured.
    pub(crate) fn steady_load(&self) -> f64 {
        if self.has_measured() { self.steady_rate() * self.mean_service() } else { 0.0 }
    }

    /// Square of the standard deviation over the mean of services of all that comes: of one kind, and between kinds.
    pub(crate) fn steady_spread(&self) -> f64 {
        self.mix().map_or(SPREAD, |mix| mix.spread)
    }

    /// Expected seconds in work of the tasks in work, and by how much they deviate at most; `None` before enough tasks like
    /// them were measured.
    pub(crate) fn measured_service(&self, observation: &Observation) -> Option<(f64, f64)> {
        let mut most = 0.0_f64;
        for work in observation.work.iter().flatten().filter(|work| work.in_work > 0) {
            let key = key(&work.stage, work.size);
            let known = self.service.iter().find(|known| known.key == key && known.count >= SURE)?;
            most = most.max(f64::from(known.deviation));
        }
        Some((self.service_in_work(observation), most))
    }

    /// Seconds after which a slot is free again, on average over the slots in use; `None` before enough tasks like theirs were
    /// measured.
    pub(super) fn service_of_slots(&self, observation: &Observation) -> Option<f64> {
        let (mut slots, mut freed) = (0.0, 0.0);
        for work in observation.work.iter().flatten().filter(|work| work.in_work > 0) {
            let key = key(&work.stage, work.size);
            let known = self.service.iter().find(|known| known.key == key && known.count >= SURE)?;
            slots += work.in_work as f64;
            freed += work.in_work as f64 / f64::from(known.mean).max(0.001);
        }
        (slots > 0.0).then(|| slots / freed)
    }

    /// By how much tasks in work take longer than measured, as a factor, if none of them was done for too long. Tasks that all
    /// fail and are tried again look the same, and more pods would be of no use to them: so it is bounded.
    pub(crate) fn lengthened(&self, observation: &Observation) -> f64 {
        let expected = self.unfinished / self.service_in_work(observation);
        (1.0 + (expected - SELDOM_UNFINISHED).max(0.0) / LIKE_ALL_OTHERS).min(MOST_LENGTHENED)
    }

    fn service_of(&self, stage: &str, size: u8, measured: Option<ServiceTime>) -> f64 {
        let key = key(stage, size);
        let learned = self.service.iter().find(|known| known.key == key);
        let (mut count, mut seconds, mut deviation) = (0.0, 0.0, 0.0_f64);
        if let Some(measured) = measured.filter(|measured| measured.count > 0) {
            count += measured.count as f64;
            seconds += measured.mean * measured.count as f64;
            deviation = measured.deviation;
        }
        if let Some(learned) = learned {
            let weight = (learned.count as f64 - count).max(0.0);
            count += weight;
            seconds += f64::from(learned.mean) * weight;
            deviation = deviation.max(f64::from(learned.deviation));
        }
        if count > 0.0 { seconds / count + deviation / count.sqrt() } else { self.mean_service() }
    }

    pub(crate) fn mean_service(&self) -> f64 {
        self.mix().map_or(UNKNOWN_SERVICE, |mix| mix.mean)
    }

    /// `None` before any task was measured.
    fn mix(&self) -> Option<Mix> {
        let untold = self.service.iter().all(|known| known.share <= 0.0);
        let share = |known: &Learned| if untold { known.count as f64 } else { f64::from(known.share) };
        let all: f64 = self.service.iter().map(share).sum();
        if all <= 0.0 {
            return None;
        }
        let over_all =
            |of: fn(&Learned) -> f64| self.service.iter().map(|known| share(known) * of(known)).sum::<f64>() / all;
        let mean = over_all(|known| known.mean.into()).max(0.001);
        let squares = over_all(|known| f64::from(known.mean).powi(2) + f64::from(known.deviation).powi(2));
        let spread = (squares / mean.powi(2) - 1.0).clamp(LEAST_SPREAD, MOST_MIXED);
        Some(Mix { mean, spread })
    }
}

/// FNV-1a: the same everywhere and for ever, as what is kept is read by later versions.
fn key(stage: &str, size: u8) -> u32 {
    let step = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(16_777_619);
    stage.bytes().chain([0, size]).fold(2_166_136_261, step)
}

#[cfg(test)]
mod tests {
    use crate::{History, Observation, ServiceTime, Settings, Work};

    #[test]
    fn of_kinds_that_are_not_seen_now_some_come_too() {
        let kind = |size: u8, mean: f64| {
            let service = Some(ServiceTime { mean, deviation: 0.0, count: 100 });
            Work { stage: "draft".to_owned(), size, pending: 0, in_work: 0, service, share: Some(0.5) }
        };
        let mut seen = Observation::empty_at(0.0, 1);
        seen.work = Some(vec![kind(0, 5.0), kind(1, 205.0)]);
        let mut history = History::default();
        history.learn(&Settings::between(0, 40), &seen, 0.0);
        seen.work = Some(vec![kind(0, 5.0)]);
        let next = history.next(&seen, 10.0, true);
        assert!((40.0..70.0).contains(&next.mean), "{} s", next.mean);
    }
}
