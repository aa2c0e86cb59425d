//! Breaks this process on purpose, for the fault campaign in `tests/`. Off, at the cost of one look at a static, unless
//! `DOCKET_UNSAFE_FAULTS` names faults; then nothing that is promised elsewhere holds.
//!
//! ```text
//! die-at=POINT:N       the process dies when it comes to the point for the Nth time
//! kill=TEXT            work on a document whose id holds TEXT: the process dies,
//! panic=TEXT             the task panics,
//! exhaust=TEXT           memory is taken until there is none (under a limit of the shell, or the machine suffers),
//! hang=TEXT              nothing happens any more,
//! slow=TEXT:MS           it takes so many milliseconds longer
//! acknowledge-first    a worker acknowledges a task before its result is durable, a gateway sweeps nothing: the control
//!                      that must lose documents
//! ```
//! Several are separated by commas. They are kept in a static, because it is the process that breaks.

use std::{
    hint::black_box,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::commands::note;

/// What is taken at once by a document that exhausts the memory.
const BITE: usize = 64 << 20;

static ARMED: OnceLock<Faults> = OnceLock::new();

/// A place in the way of a task at which a crash is worth a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// A task was pulled, nothing is done.
    Pulled,
    /// The attempt begins; after a redelivery it is entered.
    Working,
    /// The stage's output is stored, the record knows nothing of it.
    Worked,
    /// The record is written, nothing that follows is published.
    Recorded,
    /// Of several tasks that follow, the first is published.
    HalfPublished,
    /// Everything is published, the task is not acknowledged.
    Published,
    /// The acknowledgement is on its way and not confirmed.
    Acknowledging,
}

impl Point {
    const ALL: [(Self, &'static str); 7] = [
        (Self::Pulled, "pulled"),
        (Self::Working, "working"),
        (Self::Worked, "worked"),
        (Self::Recorded, "recorded"),
        (Self::HalfPublished, "half-published"),
        (Self::Published, "published"),
        (Self::Acknowledging, "acknowledging"),
    ];

    fn name(self) -> &'static str {
        Self::ALL.iter().find(|(point, _)| *point == self).map_or("", |(_, name)| name)
    }
}

/// The faults of a process.
#[derive(Debug, Default)]
pub struct Faults {
    pub acknowledge_first: bool,
    pub deaths: Vec<Death>,
    pub documents: Vec<(String, Suffering)>,
}

/// Where a process dies, and which time.
#[derive(Debug)]
pub struct Death {
    pub point: Point,
    pub after: u64,
    passed: AtomicU64,
}

/// What a document does to who works it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suffering {
    Kill,
    Panic,
    Exhaust,
    Hang,
    Slow(Duration),
}

/// Switches faults on, for the life of the process. What is wrong with `text`, if anything is.
pub fn arm(text: &str) -> Result<(), String> {
    let faults = read(text)?;
    note(&format!("UNSAFE: this process breaks on purpose: {text}"));
    // Armed once, when the process starts.
    let _ = ARMED.set(faults);
    Ok(())
}

/// Dies here if that is due.
pub fn reach(point: Point) {
    if is_due(point) {
        die(point);
    }
}

/// Whether the process is to die here, after the caller has done the half of what comes next.
#[allow(clippy::unnecessary_fold, reason = "each death counts its passes: any would stop at the first that is due")]
pub fn is_due(point: Point) -> bool {
    let Some(faults) = ARMED.get() else { return false };
    let deaths = faults.deaths.iter().filter(|death| death.point == point);
    deaths.fold(false, |due, death| (death.passed.fetch_add(1, Ordering::Relaxed) + 1 == death.after) || due)
}

/// The end of the process, without any of what usually comes before it.
pub fn die(point: Point) -> ! {
    note(&format!("UNSAFE: dies at {}", point.name()));
    std::process::abort();
}

/// Whether tasks are acknowledged before their results are durable, and nobody repairs that.
pub fn acknowledges_first() -> bool {
    ARMED.get().is_some_and(|faults| faults.acknowledge_first)
}

/// What this document does to who works it.
pub async fn suffer(document: &str) {
    let Some(faults) = ARMED.get() else { return };
    for (_, suffering) in faults.documents.iter().filter(|(text, _)| document.contains(text)) {
        match suffering {
            Suffering::Kill => {
                note(&format!("UNSAFE: dies of \"{document}\""));
                std::process::abort();
            }
            #[expect(clippy::panic, reason = "that is what was asked for")]
            Suffering::Panic => panic!("UNSAFE: panics over \"{document}\""),
            Suffering::Exhaust => exhaust(document),
            Suffering::Hang => std::future::pending::<()>().await,
            Suffering::Slow(time) => tokio::time::sleep(*time).await,
        }
    }
}

fn exhaust(document: &str) -> ! {
    note(&format!("UNSAFE: takes all memory for \"{document}\""));
    let mut held: Vec<Vec<u8>> = Vec::new();
    loop {
        held.push(black_box(Vec::with_capacity(BITE)));
    }
}

/// The faults that a text names; what is wrong with it.
pub fn read(text: &str) -> Result<Faults, String> {
    let mut faults = Faults::default();
    for fault in text.split(',').map(str::trim).filter(|fault| !fault.is_empty()) {
        let (name, value) = fault.split_once('=').unwrap_or((fault, ""));
        let document = |suffering| match value {
            "" => Err(format!("\"{fault}\": write {name}=TEXT, a part of the documents' ids")),
            text => Ok((text.to_owned(), suffering)),
        };
        match name {
            "acknowledge-first" => faults.acknowledge_first = true,
            "die-at" => faults.deaths.push(death(fault, value)?),
            "kill" => faults.documents.push(document(Suffering::Kill)?),
            "panic" => faults.documents.push(document(Suffering::Panic)?),
            "exhaust" => faults.documents.push(document(Suffering::Exhaust)?),
            "hang" => faults.documents.push(document(Suffering::Hang)?),
            "slow" => {
                let slow = value.rsplit_once(':').and_then(|(text, millis)| Some((text, millis.parse().ok()?)));
                let (text, millis) = slow.ok_or_else(|| format!("\"{fault}\": write slow=TEXT:MILLISECONDS"))?;
                faults.documents.push((text.to_owned(), Suffering::Slow(Duration::from_millis(millis))));
            }
            _ => return Err(format!("\"{fault}\" is no fault; see agent-pod/src/runtime/faults.rs")),
        }
    }
    Ok(faults)
}

fn death(fault: &str, value: &str) -> Result<Death, String> {
    let (name, after) = value.split_once(':').unwrap_or((value, "1"));
    let point = Point::ALL.iter().find(|(_, candidate)| *candidate == name).map(|(point, _)| *point);
    let names = || Point::ALL.map(|(_, name)| name).join(", ");
    let point = point.ok_or_else(|| format!("\"{fault}\": the points are {}", names()))?;
    let after = after.parse().ok().filter(|after| *after > 0);
    let after = after.ok_or_else(|| format!("\"{fault}\": write die-at=POINT:N with N from 1"))?;
    Ok(Death { point, after, passed: AtomicU64::new(0) })
}
