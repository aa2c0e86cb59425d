//! Pools to decide about: what the tests share. Knows no policy but ours.

use scaler::{
    ColdStart, DeadlineAhead, Decision, History, Observation, Pods, ServiceTime, Settings, Waits, Work, decide,
};

/// Some Monday.
pub const MONDAY: f64 = 1_767_571_200.0;

/// Of a pool of up to forty whose tasks may wait for so many seconds.
pub fn settings(wait: f64) -> Settings {
    let mut settings = Settings::between(0, 40);
    settings.target.wait = wait;
    settings
}

/// A pool whose pods start in a fixed time and whose tasks take a fixed time, driven one second at a time.
#[derive(Clone, Debug)]
pub struct Pool {
    pub now: f64,
    pub cold_start: f64,
    /// Starts that were measured.
    pub measured: u64,
    pub service: f64,
    /// So many of a hundred tasks, which are of another size, take so many seconds instead.
    pub long: (u64, f64),
    pub slots: u32,
    pub history: History,
    pub replicas: u32,
    /// Ends of tasks in work, by pod.
    pub working: Vec<Vec<f64>>,
    /// Ends of the long ones of them, and how many of these have ended.
    pub long_working: Vec<f64>,
    pub long_finished: u64,
    pub starting: Vec<f64>,
    pub waiting: Vec<f64>,
    pub arrivals: u64,
    pub finished: u64,
    pub started: u64,
    pub late: u64,
    /// Documents at earlier stages.
    pub ahead: Vec<DeadlineAhead>,
}

impl Pool {
    pub fn new(cold_start: f64, service: f64, slots: u32) -> Self {
        Self {
            now: MONDAY,
            cold_start,
            measured: 1_000,
            service,
            long: (0, service),
            slots,
            history: History::default(),
            replicas: 0,
            working: Vec::new(),
            long_working: Vec::new(),
            long_finished: 0,
            starting: Vec::new(),
            waiting: Vec::new(),
            arrivals: 0,
            finished: 0,
            started: 0,
            late: 0,
            ahead: Vec::new(),
        }
    }

    pub fn in_work(&self) -> usize {
        self.working.iter().map(Vec::len).sum()
    }

    /// Whether the task of that number is long, by chance, counted from 0: they are started as they come.
    fn is_long(&self, task: u64) -> bool {
        let mixed = (task + 1).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        ((mixed ^ (mixed >> 31)).wrapping_mul(0x94D0_49BB_1331_11EB) >> 33) % 100 < self.long.0
    }

    pub fn observation(&self) -> Observation {
        let mut observation = Observation::empty_at(self.now, self.slots);
        let busy = self.working.iter().filter(|tasks| !tasks.is_empty()).count() as u32;
        let long = (self.started..self.arrivals).filter(|task| self.is_long(*task)).count() as u64;
        let long = [long, self.long_working.len() as u64, self.long_finished];
        let all = [self.waiting.len() as u64, self.in_work() as u64, self.finished];
        let short = [0, 1, 2].map(|what| all[what] - long[what]);
        let work = |size: u8, [pending, in_work, count]: [u64; 3], mean: f64| Work {
            stage: "draft".to_owned(),
            size,
            pending,
            in_work,
            // As agents tell it: of each kind the newest are measured.
            service: Some(ServiceTime { mean, deviation: 0.0, count: count.min(128) }),
            share: (self.long.0 > 0 && count > 0).then(|| count as f64 / self.finished as f64),
        };
        observation.work = Some(vec![work(0, short, self.service)]);
        if self.long.0 > 0 {
            observation.work.iter_mut().for_each(|kinds| kinds.push(work(1, long, self.long.1)));
        }
        observation.arrivals = Some(self.arrivals);
        observation.finished = Some(self.finished);
        observation.waits = Some(Waits { started: self.started, late: self.late });
        observation.oldest_wait = self.waiting.first().map(|arrived| self.now - arrived);
        observation.pods = Some(Pods {
            busy,
            idle: self.working.len() as u32 - busy,
            starting: self.starting.iter().map(|created| self.now - created).collect(),
            draining: 0,
        });
        observation.replicas = self.replicas;
        observation.deadlines_ahead = self.ahead.clone();
        observation.cold_start = Some(ColdStart { count: self.measured, ..ColdStart::constant(self.cold_start) });
        observation
    }

    /// A second goes by with so many arrivals; the decision is done as the operator would do it.
    pub fn second(&mut self, settings: &Settings, arrivals: u64) -> Decision {
        self.second_seen(settings, arrivals, |_| {})
    }

    /// The same, where what is seen is not what there is.
    pub fn second_seen(&mut self, settings: &Settings, arrivals: u64, look: impl FnOnce(&mut Observation)) -> Decision {
        self.now += 1.0;
        let now = self.now;
        for tasks in &mut self.working {
            let before = tasks.len();
            tasks.retain(|end| *end > now);
            self.finished += (before - tasks.len()) as u64;
        }
        let before = self.long_working.len();
        self.long_working.retain(|end| *end > now);
        self.long_finished += (before - self.long_working.len()) as u64;
        let ready = self.starting.iter().filter(|created| now - **created >= self.cold_start).count();
        self.starting.retain(|created| now - *created < self.cold_start);
        self.working.extend((0..ready).map(|_| Vec::new()));
        self.arrivals += arrivals;
        self.waiting.extend((0..arrivals).map(|_| now));
        let mut observation = self.observation();
        look(&mut observation);
        let decision = decide(settings, &mut self.history, &observation, now);
        self.act(&decision);
        self.pull(settings, decision.pulling as usize);
        decision
    }

    fn act(&mut self, decision: &Decision) {
        while (self.working.len() + self.starting.len()) < decision.replicas as usize {
            self.starting.push(self.now);
        }
        while (self.working.len() + self.starting.len()) > decision.replicas as usize {
            let idle = self.working.iter().position(Vec::is_empty).expect("only idle pods are taken away");
            self.working.remove(idle);
        }
        self.replicas = decision.replicas;
    }

    fn pull(&mut self, settings: &Settings, pulling: usize) {
        self.working.sort_by_key(|tasks| usize::MAX - tasks.len());
        for pod in 0..pulling.min(self.working.len()) {
            while self.working[pod].len() < self.slots as usize && !self.waiting.is_empty() {
                let arrived = self.waiting.remove(0);
                self.late += u64::from(self.now - arrived > settings.target.wait);
                let is_long = self.is_long(self.started);
                self.started += 1;
                let end = self.now + if is_long { self.long.1 } else { self.service };
                self.working[pod].push(end);
                self.long_working.extend(is_long.then_some(end));
            }
        }
    }
}
