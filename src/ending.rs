//! How a process ends at once, from any thread: the log cannot be trusted any more, a signal came, the terminal is gone.
//!
//! The library does not end its process by itself. The binary says how, once, before anything else; without that, the
//! thread panics.

use std::sync::OnceLock;

static HOW: OnceLock<fn(i32) -> !> = OnceLock::new();

/// Says how [`end`] ends the process. Only the first call counts.
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
