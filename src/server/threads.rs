//! The threads that move bytes. Each has a runtime of its own and keeps the connections that it was given: a request wakes
//! the thread of its connection, and no other one.
//!
//! A runtime of several threads wakes a second one whenever there is something to do, in case there is more. At a few
//! hundred requests per second that costs as much as the requests.

use crate::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// Runs until it is dropped. Tasks in flight are dropped then.
pub(super) struct Threads {
    pub places: Vec<Place>,
    _stop: Vec<oneshot::Sender<()>>,
}

/// A thread that connections can be given to.
#[derive(Clone)]
pub(super) struct Place {
    pub runtime: Handle,
    connections: Arc<AtomicUsize>,
}

/// A connection counts until this is dropped.
pub(super) struct Counted(Arc<AtomicUsize>);

impl Threads {
    /// `blocking`: threads that each may have for what computes or waits for a disk.
    ///
    /// # Errors
    /// [`Error::Run`].
    pub(super) fn start(threads: usize, blocking: usize) -> Result<Threads, Error> {
        let failed = || Error::run("start the threads of the HTTP server");
        let (mut places, mut stop) = (Vec::with_capacity(threads), Vec::with_capacity(threads));
        for _ in 0..threads {
            let mut runtime = Builder::new_current_thread();
            runtime.max_blocking_threads(blocking).thread_name("http-work").enable_io().enable_time();
            let runtime = runtime.build().map_err(failed())?;
            places.push(Place { runtime: runtime.handle().clone(), connections: Arc::default() });
            let (dropped, stopped) = oneshot::channel::<()>();
            stop.push(dropped);
            let run = move || {
                // An error says that the other end was dropped.
                let _ = runtime.block_on(stopped);
                runtime.shutdown_background();
            };
            thread::Builder::new().name("http".into()).spawn(run).map_err(failed())?;
        }
        Ok(Threads { places, _stop: stop })
    }
}

impl Place {
    /// Returns the one with the fewest connections, the first of several.
    pub(super) fn emptiest(places: &[Place]) -> Option<&Place> {
        places.iter().min_by_key(|place| place.connections.load(Ordering::Relaxed))
    }

    pub(super) fn count(&self) -> Counted {
        self.connections.fetch_add(1, Ordering::Relaxed);
        Counted(Arc::clone(&self.connections))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
