//! Which waiting sequences share the next embedding pass. Sequences are packed without padding, so a pass costs what
//! its tokens cost and any lengths go together; what bounds a pass is the time that others must wait for it.

use std::collections::VecDeque;
use std::collections::btree_map::{BTreeMap, Entry};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::engine::{Class, Error};

/// Target of a pass that an interactive request waits for, and of any other.
const INTERACTIVE_STEP: Duration = Duration::from_millis(10);
const STEP: Duration = Duration::from_millis(50);
/// Tokens of the first pass, before any was measured: tens of milliseconds on two old cores.
const FIRST_BUDGET: f64 = 512.0;
/// Below these a pass spends its time on reading weights; on a busy machine a smaller budget would only slow it more.
const LEAST_INTERACTIVE_BUDGET: f64 = 64.0;
const LEAST_BUDGET: f64 = 256.0;
const MOST_BUDGET: f64 = 32_768.0;
/// Weight that the past keeps at each pass: about the last ten passes count.
const MEMORY: f64 = 0.9;
/// Bounds what waits, whoever sends it: about 4 MiB of ids.
const MOST_WAITING_TOKENS: usize = 1 << 20;
const MOST_WAITING_SEQUENCES: usize = 1 << 14;

/// A request's results as they come in.
pub(crate) struct EmbedRequest {
    deadline: Option<Instant>,
    arrived: Instant,
    progress: Mutex<Progress>,
}

struct Progress {
    vectors: Vec<Vec<f32>>,
    missing: usize,
    reply: Option<oneshot::Sender<Result<Vec<Vec<f32>>, Error>>>,
}

/// One sequence of a request.
pub(crate) struct Sequence {
    pub(crate) ids: Vec<u32>,
    index: usize,
    request: Arc<EmbedRequest>,
}

/// Sequences that wait for one model in one class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Lane {
    pub(crate) model: usize,
    pub(crate) class: Class,
}

/// All sequences that wait.
#[derive(Default)]
pub(crate) struct Waiting {
    lanes: BTreeMap<Lane, VecDeque<Sequence>>,
    tokens: usize,
    sequences: usize,
    /// Sequences whose caller has gone or whose deadline has passed, since the last look.
    dropped: u64,
}

impl EmbedRequest {
    /// A request for one vector for each of `ids`, in their order, and where the vectors will arrive.
    pub(crate) fn sequences(
        ids: Vec<Vec<u32>>,
        deadline: Option<Instant>,
    ) -> (Vec<Sequence>, oneshot::Receiver<Result<Vec<Vec<f32>>, Error>>) {
        let (sender, receiver) = oneshot::channel();
        let progress = Progress { vectors: vec![Vec::new(); ids.len()], missing: ids.len(), reply: Some(sender) };
        let request = Arc::new(Self { deadline, arrived: Instant::now(), progress: Mutex::new(progress) });
        let sequence = |(index, ids)| Sequence { ids, index, request: Arc::clone(&request) };
        (ids.into_iter().enumerate().map(sequence).collect(), receiver)
    }

    fn with_progress<R>(&self, act: impl FnOnce(&mut Progress) -> R) -> R {
        act(&mut self.progress.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn is_dead(&self, now: Instant) -> bool {
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            self.fail(Error::MeetDeadline);
        }
        self.with_progress(|progress| progress.reply.as_ref().is_none_or(oneshot::Sender::is_closed))
    }

    fn fail(&self, error: Error) {
        if let Some(reply) = self.with_progress(|progress| progress.reply.take()) {
            // A caller that has gone needs no answer.
            let _ = reply.send(Err(error));
        }
    }
}

impl Sequence {
    pub(crate) fn complete(self, vector: Vec<f32>) {
        self.request.with_progress(|progress| {
            progress.vectors[self.index] = vector;
            progress.missing -= 1;
            if progress.missing == 0
                && let Some(reply) = progress.reply.take()
            {
                // A caller that has gone needs no answer.
                let _ = reply.send(Ok(std::mem::take(&mut progress.vectors)));
            }
        });
    }

    pub(crate) fn fail(self, error: Error) {
        self.request.fail(error);
    }
}

/// The number of different requests among `sequences`.
pub(crate) fn requests_of(sequences: &[Sequence]) -> usize {
    let mut requests: Vec<_> = sequences.iter().map(|sequence| Arc::as_ptr(&sequence.request)).collect();
    requests.sort_unstable();
    requests.dedup();
    requests.len()
}

impl Waiting {
    /// Queues a request whole or not at all.
    pub(crate) fn push(&mut self, lane: Lane, sequences: Vec<Sequence>) -> Result<(), Error> {
        let tokens: usize = sequences.iter().map(|sequence| sequence.ids.len()).sum();
        let is_full =
            self.tokens + tokens > MOST_WAITING_TOKENS || self.sequences + sequences.len() > MOST_WAITING_SEQUENCES;
        if is_full {
            return Err(Error::Overloaded);
        }
        self.tokens += tokens;
        self.sequences += sequences.len();
        self.lanes.entry(lane).or_default().extend(sequences);
        Ok(())
    }

    /// Drops what nobody waits for any more at the head of each lane, and names the lanes that have work.
    pub(crate) fn lanes(&mut self, now: Instant) -> Vec<Lane> {
        let lanes: Vec<Lane> = self.lanes.keys().copied().collect();
        lanes.into_iter().filter(|&lane| self.has_work(lane, now)).collect()
    }

    fn has_work(&mut self, lane: Lane, now: Instant) -> bool {
        let Entry::Occupied(mut waiting) = self.lanes.entry(lane) else { return false };
        while let Some(sequence) = waiting.get().front() {
            if !sequence.request.is_dead(now) {
                return true;
            }
            self.tokens -= sequence.ids.len();
            self.sequences -= 1;
            self.dropped += 1;
            waiting.get_mut().pop_front();
        }
        waiting.remove();
        false
    }

    /// The next pass of a lane: its oldest sequences, then, unless it is interactive, those of the model's other
    /// classes that still fit. At least one sequence, whatever its length.
    pub(crate) fn take(&mut self, lane: Lane, most: usize, budget: usize, now: Instant) -> Vec<Sequence> {
        let mut batch = Vec::new();
        let mut left = budget;
        let others = [Class::Interactive, Class::Normal, Class::Bulk].into_iter().filter(|&class| class != lane.class);
        let others = others.filter(|_| lane.class != Class::Interactive).map(|class| Lane { class, ..lane });
        for lane in std::iter::once(lane).chain(others) {
            while batch.len() < most && self.has_work(lane, now) {
                let Some(waiting) = self.lanes.get_mut(&lane) else { break };
                let fits = waiting.front().is_some_and(|first| batch.is_empty() || first.ids.len() <= left);
                let Some(sequence) = waiting.pop_front_if(|_| fits) else { break };
                left = left.saturating_sub(sequence.ids.len());
                self.tokens -= sequence.ids.len();
                self.sequences -= 1;
                batch.push(sequence);
            }
        }
        batch
    }

    /// When the oldest sequence of a lane arrived.
    pub(crate) fn oldest(&self, lane: Lane) -> Option<Instant> {
        self.lanes.get(&lane)?.front().map(|sequence| sequence.request.arrived)
    }

    /// The number of different requests that wait, at most `most`.
    pub(crate) fn requests(&self, lane: Lane, most: usize) -> usize {
        let Some(waiting) = self.lanes.get(&lane) else { return 0 };
        let changes = waiting.iter().zip(waiting.iter().skip(1));
        1 + changes.filter(|(left, right)| !Arc::ptr_eq(&left.request, &right.request)).take(most).count()
    }

    pub(crate) fn sequences(&self) -> usize {
        self.sequences
    }

    pub(crate) fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }

    /// Fails everything that waits, for an engine that stops.
    pub(crate) fn fail_all(&mut self, error: impl Fn() -> Error) {
        for sequence in std::mem::take(&mut self.lanes).into_values().flatten() {
            sequence.fail(error());
        }
        (self.tokens, self.sequences) = (0, 0);
    }
}

/// How many tokens make a pass of the wanted length, learned from passes.
#[derive(Debug)]
pub(crate) struct TokenBudget {
    fixed: Option<usize>,
    tokens: f64,
    seconds: f64,
}

impl TokenBudget {
    pub(crate) fn new(fixed: Option<usize>) -> Self {
        Self { fixed, tokens: 0.0, seconds: 0.0 }
    }

    /// Notes a pass. Passes count by their tokens, so that a few short ones, whose cost is mostly fixed, do not make
    /// long ones look dear.
    pub(crate) fn observe(&mut self, tokens: usize, took: Duration) {
        self.tokens = self.tokens * MEMORY + tokens as f64;
        self.seconds = self.seconds * MEMORY + took.as_secs_f64();
    }

    pub(crate) fn tokens(&self, class: Class) -> usize {
        if let Some(fixed) = self.fixed {
            return fixed.max(1);
        }
        if self.seconds == 0.0 {
            return FIRST_BUDGET as usize;
        }
        let (step, least) = match class {
            Class::Interactive => (INTERACTIVE_STEP, LEAST_INTERACTIVE_BUDGET),
            Class::Normal | Class::Bulk => (STEP, LEAST_BUDGET),
        };
        (self.tokens / self.seconds * step.as_secs_f64()).clamp(least, MOST_BUDGET) as usize
    }

    /// Seconds that a token takes, once a pass was measured.
    pub(crate) fn seconds_per_token(&self) -> Option<f64> {
        (self.tokens > 0.0).then(|| self.seconds / self.tokens)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LANE: Lane = Lane { model: 0, class: Class::Normal };

    fn push(waiting: &mut Waiting, lane: Lane, lengths: &[usize]) -> oneshot::Receiver<Result<Vec<Vec<f32>>, Error>> {
        let (sequences, receiver) =
            EmbedRequest::sequences(lengths.iter().map(|&length| vec![0; length]).collect(), None);
        waiting.push(lane, sequences).expect("there is room");
        receiver
    }

    fn lengths(batch: &[Sequence]) -> Vec<usize> {
        batch.iter().map(|sequence| sequence.ids.len()).collect()
    }

    #[test]
    fn a_pass_takes_the_oldest_that_fit_and_never_none() {
        let mut waiting = Waiting::default();
        let _receiver = push(&mut waiting, LANE, &[300, 40, 40, 40]);
        let now = Instant::now();
        assert_eq!(lengths(&waiting.take(LANE, 32, 100, now)), [300]);
        assert_eq!(lengths(&waiting.take(LANE, 32, 100, now)), [40, 40]);
        assert_eq!(lengths(&waiting.take(LANE, 32, 100, now)), [40]);
        assert!(waiting.take(LANE, 32, 100, now).is_empty());
        assert_eq!(waiting.sequences(), 0);
    }

    #[test]
    fn other_classes_fill_a_pass_unless_someone_waits_for_it() {
        let now = Instant::now();
        for (class, expected) in [(Class::Bulk, 3), (Class::Normal, 3), (Class::Interactive, 1)] {
            let mut waiting = Waiting::default();
            let _receivers = [Class::Bulk, Class::Normal, Class::Interactive]
                .map(|class| push(&mut waiting, Lane { class, ..LANE }, &[10]));
            assert_eq!(waiting.take(Lane { class, ..LANE }, 32, 100, now).len(), expected, "{class:?}");
        }
    }

    #[test]
    fn more_than_the_bound_is_refused_whole() {
        let mut waiting = Waiting::default();
        let mut receivers = Vec::new();
        let mut refused = 0;
        for _ in 0..100 {
            let (sequences, receiver) = EmbedRequest::sequences(vec![vec![0; 1000]; 200], None);
            match waiting.push(LANE, sequences) {
                Ok(()) => receivers.push(receiver),
                Err(error) => {
                    assert!(matches!(error, Error::Overloaded) && error.is_transient());
                    refused += 1;
                }
            }
        }
        assert_eq!(receivers.len(), MOST_WAITING_TOKENS / 200_000);
        assert_eq!(refused, 100 - receivers.len());
        assert_eq!(waiting.sequences(), receivers.len() * 200);
    }

    #[test]
    fn what_nobody_waits_for_is_dropped_and_counted() {
        let mut waiting = Waiting::default();
        drop(push(&mut waiting, LANE, &[10, 10, 10]));
        let kept = push(&mut waiting, LANE, &[20]);
        let now = Instant::now();
        assert_eq!(waiting.lanes(now), [LANE]);
        assert_eq!(waiting.take_dropped(), 3);
        assert_eq!(lengths(&waiting.take(LANE, 32, 100, now)), [20]);
        drop(kept);
        assert!(waiting.lanes(now).is_empty());
    }

    #[test]
    fn a_request_past_its_deadline_is_told_so() {
        let now = Instant::now();
        let (sequences, mut receiver) = EmbedRequest::sequences(vec![vec![0; 10]], Some(now));
        let mut waiting = Waiting::default();
        waiting.push(LANE, sequences).expect("there is room");
        assert!(waiting.take(LANE, 32, 100, now).is_empty());
        assert!(matches!(receiver.try_recv(), Ok(Err(Error::MeetDeadline))));
    }

    #[test]
    fn a_request_is_answered_when_its_last_sequence_is_done_in_its_order() {
        let mut waiting = Waiting::default();
        let mut receiver = push(&mut waiting, LANE, &[1, 2]);
        let mut batch = waiting.take(LANE, 32, 100, Instant::now());
        assert_eq!(requests_of(&batch), 1);
        batch.pop().expect("two sequences").complete(vec![2.0]);
        assert!(receiver.try_recv().is_err());
        batch.pop().expect("two sequences").complete(vec![1.0]);
        let vectors = receiver.try_recv().expect("the answer is there").expect("it succeeded");
        assert_eq!(vectors, [[1.0], [2.0]]);
    }

    #[test]
    fn the_budget_follows_measured_passes_and_is_smaller_for_those_who_wait() {
        let mut budget = TokenBudget::new(None);
        assert_eq!(budget.tokens(Class::Bulk), FIRST_BUDGET as usize);
        for _ in 0..50 {
            budget.observe(1000, Duration::from_millis(100));
        }
        assert!((499..=501).contains(&budget.tokens(Class::Bulk)));
        assert!((99..=101).contains(&budget.tokens(Class::Interactive)));
        for _ in 0..50 {
            budget.observe(1000, Duration::from_millis(10));
        }
        assert!(budget.tokens(Class::Bulk) > 4500);
        assert_eq!(TokenBudget::new(Some(77)).tokens(Class::Bulk), 77);
    }
}
