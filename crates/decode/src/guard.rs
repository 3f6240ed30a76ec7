//! Calls that may panic without ending the process. Any other panic does.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

thread_local! {
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Runs `call`. What it has changed when it panics stays as it is, perhaps half done.
///
/// # Errors
/// What the panic said.
pub fn guarded<R>(call: impl FnOnce() -> R) -> Result<R, String> {
    let outer = GUARDED.replace(true);
    let outcome = catch_unwind(AssertUnwindSafe(call));
    GUARDED.set(outer);
    outcome.map_err(|panic| words(&*panic))
}

/// Returns whether a panic of this thread would end in [`guarded`]: for the panic hook, which runs before.
pub fn is_guarded() -> bool {
    GUARDED.get()
}

fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no words").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_with_its_words_and_what_is_around_stays_guarded() {
        assert!(!is_guarded());
        let outer = guarded(|| {
            let number = guarded(|| 1 + u8::from(is_guarded()));
            let formatted = guarded(|| -> () { panic!("{} of {}", 1, 2) });
            (number, guarded(|| -> () { panic!("literal") }), formatted, is_guarded())
        });
        assert_eq!(outer, Ok((Ok(2), Err("literal".into()), Err("1 of 2".into()), true)));
        assert!(!is_guarded());
        assert_eq!(guarded(|| -> () { std::panic::panic_any(7) }), Err("no words".into()));
    }
}
