//! The synchronisation primitives: std's and tokio's. The models of `crate::models` replace them with those of
//! `shuttle`, which tries one schedule after the other. No other build does.

#[cfg(not(all(test, feature = "models")))]
mod real {
    pub use std::sync::{Condvar, Mutex, MutexGuard, atomic, mpsc};
    pub use std::thread;
    pub use tokio::task::spawn_blocking;
    pub use tokio::time::{sleep, sleep_until};
}

#[cfg(all(test, feature = "models"))]
mod modelled;

#[cfg(all(test, feature = "models"))]
pub use modelled::*;
#[cfg(not(all(test, feature = "models")))]
pub use real::*;
