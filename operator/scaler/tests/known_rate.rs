//! What it would be worth to know the rate of arrivals: ours beside one that is told it at each moment, where a start takes longer
//! than a task may wait. It has always as many pods as are cheapest for the rate by formula, be they needed at that moment or not.

use std::collections::HashMap;

use scaler::{
    ColdStart,
    simulate::{
        bench::settings,
        chain::Chain,
        docket::Docket,
        engine::{World, run},
        generate::{self, Shape},
        outcome::Outcome,
        policy::{Command, Policy, View},
    },
};

/// Mean service of generated tasks, and the square of its standard deviation over it (log-normal, 0.8).
const SERVICE: f64 = 10.0;
const SPREAD: f64 = 0.896;
const COLD_START: f64 = 20.0;
const WAIT: f64 = 15.0;
const SEED: u64 = 121;

/// One that knows how many tasks are to come a second, and nothing else of what is to come.
struct Told {
    course: Vec<(f64, f64)>,
    /// Pod-seconds that a late task costs.
    price: f64,
    /// The pods for rates that were looked up.
    known: HashMap<u64, u32>,
}

impl Told {
    fn rate(&self, at: f64) -> f64 {
        let place = self.course.partition_point(|change| change.0 <= at).saturating_sub(1);
        self.course[place].1
    }

    fn pods(&mut self, at: f64, view: &View) -> u32 {
        let (rate, price) = (self.rate(at), self.price);
        let cost = |pods: u32| f64::from(pods) + price * rate * late(f64::from(pods * view.slots), rate * SERVICE);
        let best = || (0..=view.max_replicas).min_by(|one, other| cost(*one).total_cmp(&cost(*other)));
        *self.known.entry(rate.to_bits()).or_insert_with(|| best().unwrap_or(0))
    }
}

impl Policy for Told {
    fn tick(&mut self, view: &View) -> Command {
        // Who is needed when a start is over is started now.
        let ahead = self.pods(view.now + COLD_START, view);
        let now = self.pods(view.now, view);
        let is_needed = view.broker.is_some_and(|broker| broker.pending + broker.in_work > 0);
        let replicas = ahead.max(now).max(u32::from(is_needed));
        Command { pulling: Some(replicas), wakes: true, ..view.to(replicas, 5.0) }
    }

    fn restart(&mut self) {}

    fn removes_idle_only(&self) -> bool {
        true
    }
}

/// The share of tasks that wait for too long: the Erlang C formula with the correction of Allen and Cunneen.
fn late(slots: f64, busy: f64) -> f64 {
    if busy >= slots {
        return 1.0;
    }
    let blocked = (1..=slots as u32).fold(1.0, |blocked, slots| {
        let offered = busy * blocked;
        offered / (f64::from(slots) + offered)
    });
    let waits = blocked / (1.0 - busy / slots * (1.0 - blocked));
    waits * (-2.0 / (1.0 + SPREAD) * (slots - busy) * WAIT / SERVICE).exp()
}

fn outcome(chain: &Chain, world: &World, policy: Box<dyn Policy>) -> Outcome {
    run(chain, world, vec![policy], false).outcome
}

#[test]
fn whoever_is_told_the_rate_is_hardly_cheaper() {
    for shape in [Shape::Poisson, Shape::Diurnal, Shape::Sawtooth] {
        let (chain, course) = (Chain::single(&generate::trace(shape, SEED)), generate::course(shape, SEED));
        for slots in [2, 8] {
            let cold_start = ColdStart::constant(COLD_START);
            let world = World { slo: WAIT, max_replicas: 40, slots, cold_start, faults: Vec::new(), seed: 1 };
            let ours = outcome(&chain, &world, Box::new(Docket::new(settings(&world, 0.99))));
            let told = |step: i32| {
                let price = 4.0 * 1.5_f64.powi(step);
                outcome(&chain, &world, Box::new(Told { course: course.clone(), price, known: HashMap::new() }))
            };
            let enough = (0..16).map(told).filter(|told| told.slo_attainment >= ours.slo_attainment);
            let best = enough.min_by(|one, other| one.pod_seconds.total_cmp(&other.pod_seconds));
            let best = best.expect("dear enough, late tasks are as seldom");
            let dearer = ours.pod_seconds / best.pod_seconds - 1.0;
            eprintln!(
                "{:8} {slots} slots: ours {:.0} pod-seconds, {:.2} % in time, told the rate {:.0}, {:.2} %: {:+.1} %",
                shape.name(),
                ours.pod_seconds,
                100.0 * ours.slo_attainment,
                best.pod_seconds,
                100.0 * best.slo_attainment,
                100.0 * dearer,
            );
            assert!(ours.slo_attainment >= 0.985 && dearer < 0.06, "{} {slots}: {dearer}", shape.name());
        }
    }
}
