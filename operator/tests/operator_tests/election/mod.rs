//! Several electors over one Lease in simulated time, with everything that goes wrong between them.

use std::{
    pin::pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    task::{Poll, Waker},
    time::Duration,
};

use k8s_openapi::api::coordination::v1::Lease;
use operator::lease::{CallError, Elector, Identity, Leadership, LeaseApi, MemoryLease, Timing};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

/// What goes wrong in a scenario.
#[derive(Clone, Copy, Debug)]
pub struct Faults {
    /// Processes have clocks that run up to so many times as fast as the slowest.
    pub skew: f64,
    /// Whether the API server compares versions. It does; without, an election cannot work.
    pub compares: bool,
}

/// One stretch of time in which a process held itself for the leader.
#[derive(Clone, Debug, PartialEq)]
pub struct Reign {
    pub process: usize,
    pub epoch: u32,
    pub from: Instant,
    /// As the deadline has it.
    pub until: Instant,
    /// Until the process itself noticed.
    pub noticed: Instant,
}

/// A repeatable source of chance (SplitMix64).
#[derive(Clone)]
pub struct Chance(u64);

impl Chance {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    fn millis(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(from + self.below(to - from))
    }

    fn between(&mut self, from: f64, to: f64) -> f64 {
        from + (to - from) * (self.below(1_001) as f64 / 1_000.0)
    }
}

/// The way of one process to the API server: slow, lossy, and with a clock of another rate at its end.
struct Wire {
    lease: MemoryLease,
    chance: Mutex<Chance>,
    /// How many times as fast as the API server's the process's clock runs. A process with a fast clock is one with short
    /// durations; what it reads and writes in seconds is converted here.
    rate: f64,
    compares: bool,
    /// Whether nothing is lost, refused or slow any more.
    quiet: Arc<AtomicBool>,
}

enum Fate {
    Answered,
    RequestLost,
    AnswerLost,
    Refused,
}

impl Wire {
    async fn pass<T, F>(&self, act: impl FnOnce(MemoryLease) -> F + Send + 'static) -> Result<T, CallError>
    where
        F: Future<Output = Result<T, CallError>> + Send,
        T: Send + 'static,
    {
        let (there, back, fate) = {
            let mut chance = self.chance.lock().expect("no test panics with it");
            let quiet = self.quiet.load(Ordering::Relaxed);
            let mut way = || match !quiet && chance.percent(5) {
                true => chance.millis(1_000, 9_000),
                false => chance.millis(1, 60),
            };
            let (there, back) = (way(), way());
            let fate = match chance.below(100) {
                _ if quiet => Fate::Answered,
                0..6 => Fate::RequestLost,
                6..14 => Fate::AnswerLost,
                14..20 => Fate::Refused,
                _ => Fate::Answered,
            };
            (there, back, fate)
        };
        let lease = self.lease.clone();
        // What is on its way arrives, whether somebody still waits for the answer or not.
        let on_its_way = tokio::spawn(async move {
            sleep(there).await;
            match fate {
                Fate::RequestLost => std::future::pending().await,
                Fate::Refused => return Err(CallError::Refused("429".into())),
                Fate::Answered | Fate::AnswerLost => {}
            }
            let answer = act(lease).await;
            if matches!(fate, Fate::AnswerLost) {
                std::future::pending::<()>().await;
            }
            sleep(back).await;
            answer
        });
        on_its_way.await.expect("the wire does not panic")
    }

    fn to_the_server(lease: &Lease) -> Lease {
        let mut lease = lease.clone();
        lease.spec.as_mut().expect("a written Lease says something").lease_duration_seconds = Some(15);
        lease
    }

    fn to_the_process(&self, mut lease: Lease) -> Lease {
        if let Some(spec) = &mut lease.spec {
            let seconds = spec.lease_duration_seconds.map(|seconds| (f64::from(seconds) / self.rate) as i32);
            spec.lease_duration_seconds = seconds;
        }
        lease
    }
}

impl LeaseApi for Wire {
    async fn get(&self) -> Result<Option<Lease>, CallError> {
        let found = self.pass(async |lease: MemoryLease| lease.get().await).await?;
        Ok(found.map(|lease| self.to_the_process(lease)))
    }

    async fn create(&self, lease: &Lease) -> Result<Lease, CallError> {
        let sent = Self::to_the_server(lease);
        let made = self.pass(async move |lease: MemoryLease| lease.create(&sent).await).await?;
        Ok(self.to_the_process(made))
    }

    async fn replace(&self, lease: &Lease) -> Result<Lease, CallError> {
        let (mut sent, compares) = (Self::to_the_server(lease), self.compares);
        let replaced = self.pass(async move |lease: MemoryLease| {
            if !compares {
                sent.metadata.resource_version = lease.lease().and_then(|held| held.metadata.resource_version);
            }
            lease.replace(&sent).await
        });
        Ok(self.to_the_process(replaced.await?))
    }
}

/// A process that takes part, and can be stopped for a while, ended in order, or killed.
struct Process {
    paused: Arc<Mutex<Pause>>,
    stop: CancellationToken,
    running: JoinHandle<()>,
    watching: JoinHandle<()>,
}

#[derive(Default)]
struct Pause {
    paused: bool,
    waiting: Option<Waker>,
}

impl Process {
    fn start(number: usize, wire: Wire, seen: &Arc<Mutex<Vec<Reign>>>) -> Self {
        let timing = faster(Timing::USUAL, wire.rate);
        let identity = Identity::of_process(&format!("operator-{number}"));
        let (mut elector, leadership) = Elector::new(wire, identity, timing).expect("the usual durations are safe");
        let stop = CancellationToken::new();
        let paused = Arc::<Mutex<Pause>>::default();
        let life = {
            let stop = stop.clone();
            async move {
                elector.run(&stop).await;
                elector.release().await;
            }
        };
        Self {
            running: tokio::spawn(with_pauses(life, Arc::clone(&paused))),
            watching: tokio::spawn(watch_reigns(number, leadership, Arc::clone(seen))),
            paused,
            stop,
        }
    }

    fn pause(&self, paused: bool) {
        let mut pause = self.paused.lock().expect("no test panics with it");
        pause.paused = paused;
        if let Some(waker) = pause.waiting.take() {
            waker.wake();
        }
    }

    async fn ended(self) {
        let _ = self.running.await;
        let _ = self.watching.await;
    }
}

/// In whole units, so that no rounding touches the ratio between them.
fn faster(timing: Timing, rate: f64) -> Timing {
    const UNIT: Duration = Duration::from_millis(500);
    let unit = UNIT.div_f64(rate);
    let scaled = |duration: Duration| unit * (duration.as_millis() / UNIT.as_millis()) as u32;
    Timing {
        lease: scaled(timing.lease),
        renew_deadline: scaled(timing.renew_deadline),
        retry: scaled(timing.retry),
        call: scaled(timing.call),
    }
}

/// Like SIGSTOP and SIGCONT: while paused nothing of it runs, and time goes on.
async fn with_pauses(life: impl Future<Output = ()>, paused: Arc<Mutex<Pause>>) {
    let mut life = pin!(life);
    std::future::poll_fn(move |context| {
        let mut pause = paused.lock().expect("no test panics with it");
        if pause.paused {
            pause.waiting = Some(context.waker().clone());
            return Poll::Pending;
        }
        drop(pause);
        life.as_mut().poll(context)
    })
    .await;
}

async fn watch_reigns(process: usize, mut leadership: watch::Receiver<Leadership>, seen: Arc<Mutex<Vec<Reign>>>) {
    let mut reign: Option<Reign> = None;
    loop {
        let state = leadership.borrow_and_update().clone();
        let now = Instant::now();
        match (state, &mut reign) {
            (Leadership::Leading { epoch, until }, Some(reign)) if reign.epoch == epoch => reign.until = until,
            (state, ended) => {
                seen.lock().expect("no test panics with it").extend(ended.take().map(|reign| finished(reign, now)));
                if let Leadership::Leading { epoch, until } = state {
                    reign = Some(Reign { process, epoch, from: now, until, noticed: now });
                }
            }
        }
        if leadership.changed().await.is_err() {
            let now = Instant::now();
            seen.lock().expect("no test panics with it").extend(reign.map(|reign| finished(reign, now)));
            return;
        }
    }
}

/// It ended when it was known to be over, or at its deadline, whatever came first.
fn finished(reign: Reign, noticed: Instant) -> Reign {
    Reign { until: reign.until.min(noticed), noticed, ..reign }
}

/// Twenty minutes of three processes, with pauses, kills and orderly ends by chance; then two quiet minutes. Returns all
/// reigns in the order in which they began, and whether somebody leads at the end.
pub fn scenario(seed: u64, faults: Faults) -> (Vec<Reign>, bool) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime").block_on(async move {
        let mut chance = Chance::new(seed);
        let lease = MemoryLease::default();
        let seen = Arc::<Mutex<Vec<Reign>>>::default();
        let quiet = Arc::<AtomicBool>::default();
        let mut started = 0;
        let mut start = |chance: &mut Chance| {
            started += 1;
            let rate = chance.between(1.0, faults.skew);
            let chance = Mutex::new(Chance::new(chance.next()));
            let wire =
                Wire { lease: lease.clone(), chance, rate, compares: faults.compares, quiet: Arc::clone(&quiet) };
            Process::start(started, wire, &seen)
        };
        let mut processes: Vec<Process> = (0..3).map(|_| start(&mut chance)).collect();
        let end = Instant::now() + Duration::from_secs(1_200);
        while Instant::now() < end {
            sleep(chance.millis(100, 25_000)).await;
            let index = chance.below(3) as usize;
            match chance.below(4) {
                0 | 1 => {
                    processes[index].pause(true);
                    sleep(chance.millis(100, 40_000)).await;
                    processes[index].pause(false);
                }
                2 => {
                    let killed = std::mem::replace(&mut processes[index], start(&mut chance));
                    killed.running.abort();
                    killed.ended().await;
                }
                _ => {
                    let stopped = std::mem::replace(&mut processes[index], start(&mut chance));
                    stopped.stop.cancel();
                    stopped.ended().await;
                }
            }
        }
        quiet.store(true, Ordering::Relaxed);
        sleep(Duration::from_secs(120)).await;
        let before_the_end = Instant::now();
        for process in processes {
            process.running.abort();
            process.ended().await;
        }
        let mut reigns = seen.lock().expect("no test panics with it").clone();
        reigns.sort_by_key(|reign| (reign.from, reign.until));
        let led = reigns.iter().any(|reign| reign.until >= before_the_end);
        (reigns, led)
    })
}

/// The first two reigns of different processes of which one began before the other was over.
pub fn overlap(reigns: &[Reign], end: impl Fn(&Reign) -> Instant) -> Option<(Reign, Reign)> {
    let pairs =
        reigns.iter().enumerate().flat_map(|(at, first)| reigns[at + 1..].iter().map(move |next| (first, next)));
    let mut both = pairs.filter(|(first, next)| first.process != next.process && next.from < end(first));
    both.next().map(|(first, next)| (first.clone(), next.clone()))
}
