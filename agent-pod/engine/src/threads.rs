//! How many threads the process may use, told to every library that would otherwise count the host's cores.
//!
//! `std` reads the CPU affinity and the cgroup's limit (v1 and v2, parents included); candle, lance and others read
//! `/proc/cpuinfo`. Their counts come from the environment, which a running process cannot change safely: a program
//! starts itself again with [`environment`] before it does anything else, and calls [`configure`] in the new process.

use std::num::NonZeroUsize;

/// Lance reads with this many threads a core: they wait for storage most of the time.
const IO_THREADS_PER_CORE: usize = 4;

/// Why threads could not be configured.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// For us: something used the pool before `configure`.
    #[error("failed to size the global thread pool")]
    BuildPool(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Threads that the CPU limit of the cgroup and the affinity mask allow, at least one. A limit of 1.5 CPUs gives 1:
/// two busy threads would be stopped for a quarter of the time, each at a bad moment.
pub fn available_threads() -> usize {
    std::thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

/// The variables that libraries size their pools by.
pub fn environment(threads: usize) -> Vec<(&'static str, String)> {
    let threads = threads.max(1);
    let compute = ["RAYON_NUM_THREADS", "CANDLE_NUM_THREADS", "LANCE_CPU_THREADS", "TOKIO_WORKER_THREADS"];
    let mut variables: Vec<_> = compute.into_iter().map(|name| (name, threads.to_string())).collect();
    variables.push(("LANCE_IO_THREADS", (threads * IO_THREADS_PER_CORE).to_string()));
    // Tokenizers run on threads of their callers; a pool of theirs would compete with the engine's.
    variables.push(("TOKENIZERS_PARALLELISM", "false".to_owned()));
    variables
}

/// Sizes the process's global thread pool. To be called before anything computes.
pub fn configure(threads: usize) -> Result<(), Error> {
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads.max(1))
        .build_global()
        .map_err(|source| Error::BuildPool(Box::new(source)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_library_is_told_the_limit_and_never_none() {
        let variables = environment(3);
        for name in ["RAYON_NUM_THREADS", "CANDLE_NUM_THREADS", "LANCE_CPU_THREADS", "TOKIO_WORKER_THREADS"] {
            assert!(variables.contains(&(name, "3".to_owned())), "{name}");
        }
        assert!(environment(0).contains(&("RAYON_NUM_THREADS", "1".to_owned())));
        assert!(available_threads() >= 1);
    }
}
