//! The primitives of the models, in place of std's and tokio's. Time does not pass: a wait without a notification never
//! ends, and `shuttle` reports a deadlock. So no model passes because a time-out hides a lost notification.

pub use shuttle::sync::{Condvar, Mutex, MutexGuard, atomic};
pub use shuttle::thread;
use std::convert::Infallible;
use std::future::{Future, pending};
use std::time::Duration;
use tokio::time::Instant;

pub mod mpsc {
    //! As `std::sync::mpsc`, but a receiver that is patient for a time looks again and again.

    use shuttle::sync::mpsc::{self, TryRecvError};
    pub use shuttle::sync::mpsc::{RecvTimeoutError, SyncSender, TrySendError};
    use std::time::Duration;

    pub struct Receiver<T>(mpsc::Receiver<T>);

    pub fn sync_channel<T>(bound: usize) -> (SyncSender<T>, Receiver<T>) {
        let (sender, receiver) = mpsc::sync_channel(bound);
        (sender, Receiver(receiver))
    }

    impl<T> Receiver<T> {
        /// Its time-outs are a part of what it does: by them the hub finds the ticks that it has missed.
        pub fn recv_timeout(&self, _: Duration) -> Result<T, RecvTimeoutError> {
            shuttle::thread::yield_now();
            self.0.try_recv().map_err(|error| match error {
                TryRecvError::Empty => RecvTimeoutError::Timeout,
                TryRecvError::Disconnected => RecvTimeoutError::Disconnected,
            })
        }
    }
}

/// The others are given a turn.
pub fn sleep(_: Duration) -> impl Future<Output = ()> {
    shuttle::future::yield_now()
}

/// The time never comes.
pub fn sleep_until(_: Instant) -> impl Future<Output = ()> {
    pending()
}

pub async fn spawn_blocking<R>(work: impl FnOnce() -> R) -> Result<R, Infallible> {
    Ok(work())
}
