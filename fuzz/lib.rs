//! The checks that the targets run, which are those of the tests.

#[path = "../tests/fuzz/checks/mod.rs"]
pub mod checks;
