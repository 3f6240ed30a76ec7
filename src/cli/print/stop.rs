//! Stops on a signal: finishes the write in flight first, within a bounded time.

use crate::ending::end;
use signal_hook::iterator::Signals;
use std::io;
use std::sync::{Mutex, MutexGuard, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

/// The time that a write in flight may take after the signal. The reader of the output may have stopped reading.
const GRACE: Duration = Duration::from_secs(1);

/// Handles signals on a thread of its own. `handle` returns the code to exit with, or `None` to go on.
pub(super) fn on_signals(
    signals: &[i32],
    mut handle: impl FnMut(i32) -> Option<i32> + Send + 'static,
) -> io::Result<()> {
    let mut signals = Signals::new(signals)?;
    thread::Builder::new().name("signals".into()).spawn(move || {
        for signal in signals.forever() {
            if let Some(code) = handle(signal) {
                end(code);
            }
        }
    })?;
    Ok(())
}

/// Takes the lock, unless it stays taken for too long.
pub(super) fn lock_soon<T>(mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    let began = Instant::now();
    loop {
        match mutex.try_lock() {
            Ok(guard) => return Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => return Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) if began.elapsed() > GRACE => return None,
            Err(TryLockError::WouldBlock) => thread::sleep(Duration::from_millis(5)),
        }
    }
}
