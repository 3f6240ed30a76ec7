//! Ends a process at once, from any thread: the log cannot be trusted any more, a signal came, or the terminal is gone.
//!
//! The library does not end its process by itself. The binary sets the way to end, once, before anything else. Without
//! that, the thread panics.

use std::sync::OnceLock;

static HOW: OnceLock<fn(i32) -> !> = OnceLock::new();

/// Sets the way in which [`end`] ends the process. Only the first call counts.
pub fn ends_by(how: fn(i32) -> !) {
    HOW.get_or_init(|| how);
}

/// Ends the process with this exit code. No destructor runs.
///
/// # Panics
/// If [`ends_by`] was not called.
pub fn end(code: i32) -> ! {
    match HOW.get() {
        Some(how) => how(code),
        None => panic!("the process has to end with code {code}, and nothing says how"),
    }
}
