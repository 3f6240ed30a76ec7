//! Tests wait for an event, for up to minutes. A slow machine is not a failure. An event that never comes is one.

use std::thread::sleep;
use std::time::{Duration, Instant};

/// Bounds every wait of a test. On a machine whose disk and cores are busy, one sync may take half a minute.
pub const PATIENCE: Duration = Duration::from_secs(300);

/// Asks again and again until there is an answer, which is returned.
///
/// # Panics
/// After [`PATIENCE`], with what was awaited.
#[track_caller]
pub fn eventually<T>(awaited: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(began.elapsed() < PATIENCE, "not within {PATIENCE:?}: {awaited}");
        sleep(Duration::from_millis(1));
    }
}

/// Waits until a condition holds; see [`eventually`].
#[track_caller]
pub fn wait_until(awaited: &str, mut holds: impl FnMut() -> bool) {
    eventually(awaited, || holds().then_some(()));
}
