//! Where callers leave requests and the engine's thread finds them.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::error::Error;
use super::settings::Class;
use crate::batcher::{Lane, Sequence, Waiting};
use crate::generation::{Prepared, Reply};

/// Generations that may wait for a slot, over all models: each holds its prompt's tokens.
const MOST_WAITING_GENERATIONS: usize = 1024;

/// A generation that waits for a slot.
pub(crate) struct Generation {
    pub(crate) prepared: Prepared,
    pub(crate) reply: Box<dyn Reply>,
    pub(crate) deadline: Option<Instant>,
}

/// Everything that waits.
#[derive(Default)]
pub(crate) struct Queues {
    pub(crate) embeds: Waiting,
    generations: Vec<(Lane, VecDeque<Generation>)>,
    /// Why the engine takes no more work.
    pub(crate) stopped: Option<String>,
}

#[derive(Default)]
pub(crate) struct Inbox {
    queues: Mutex<Queues>,
    arrived: Condvar,
}

impl Inbox {
    pub(crate) fn push_embed(&self, lane: Lane, sequences: Vec<Sequence>) -> Result<(), Error> {
        self.push(|queues| queues.embeds.push(lane, sequences))
    }

    pub(crate) fn push_generation(&self, lane: Lane, generation: Generation) -> Result<(), Error> {
        self.push(|queues| queues.push_generation(lane, generation))
    }

    /// Ends the engine's thread after its current step and fails what waits. The first reason stays.
    pub(crate) fn stop(&self, reason: &str) {
        let mut queues = self.lock();
        let reason = queues.stopped.get_or_insert_with(|| reason.to_owned()).clone();
        queues.embeds.fail_all(|| Error::EngineStopped { reason: reason.clone() });
        // Replies that are dropped tell their callers that the engine has stopped.
        queues.generations.clear();
        drop(queues);
        self.arrived.notify_all();
    }

    pub(crate) fn stopped(&self) -> Option<String> {
        self.lock().stopped.clone()
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for something to arrive, at most `most`.
    pub(crate) fn wait<'a>(&'a self, queues: MutexGuard<'a, Queues>, most: Option<Duration>) -> MutexGuard<'a, Queues> {
        match most {
            None => self.arrived.wait(queues).unwrap_or_else(PoisonError::into_inner),
            Some(most) => self.arrived.wait_timeout(queues, most).unwrap_or_else(PoisonError::into_inner).0,
        }
    }

    fn push(&self, act: impl FnOnce(&mut Queues) -> Result<(), Error>) -> Result<(), Error> {
        let mut queues = self.lock();
        if let Some(reason) = &queues.stopped {
            return Err(Error::EngineStopped { reason: reason.clone() });
        }
        act(&mut queues)?;
        drop(queues);
        self.arrived.notify_all();
        Ok(())
    }
}

impl Queues {
    fn push_generation(&mut self, lane: Lane, generation: Generation) -> Result<(), Error> {
        let waiting: usize = self.generations.iter().map(|(_, waiting)| waiting.len()).sum();
        if waiting >= MOST_WAITING_GENERATIONS {
            return Err(Error::Overloaded);
        }
        match self.generations.iter_mut().find(|(known, _)| *known == lane) {
            Some((_, waiting)) => waiting.push_back(generation),
            None => self.generations.push((lane, VecDeque::from([generation]))),
        }
        Ok(())
    }

    /// The classes in which generations wait for `model`, after dropping what nobody waits for; and how many were.
    pub(crate) fn generation_classes(&mut self, model: usize, now: Instant) -> (Vec<Class>, u64) {
        let mut dropped = 0;
        for (_, waiting) in self.generations.iter_mut().filter(|(lane, _)| lane.model == model) {
            let before = waiting.len();
            waiting.retain(|generation| {
                !generation.reply.is_closed() && generation.deadline.is_none_or(|deadline| now < deadline)
            });
            dropped += (before - waiting.len()) as u64;
        }
        let lanes = self.generations.iter().filter(|(lane, waiting)| lane.model == model && !waiting.is_empty());
        (lanes.map(|(lane, _)| lane.class).collect(), dropped)
    }

    pub(crate) fn take_generation(&mut self, lane: Lane) -> Option<Generation> {
        self.generations.iter_mut().find(|(known, _)| *known == lane)?.1.pop_front()
    }
}
