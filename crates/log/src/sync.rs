//! The locks that threads of the log share. With the feature `models` they are those of `shuttle`, which tries one
//! schedule after the other.

#[cfg(feature = "models")]
pub use shuttle::sync::{Condvar, Mutex, MutexGuard};
#[cfg(not(feature = "models"))]
pub use std::sync::{Condvar, Mutex, MutexGuard};
