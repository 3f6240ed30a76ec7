//! The common parts of the benches: clocks, tables, command lines, generated inputs, and the graph around one operator.
//!
//! Every bench prints Markdown, ready for README.md. Times are of the process (all its threads), per event, in
//! microseconds; of several runs the one with the median CPU time is shown.
#![allow(clippy::unwrap_used, reason = "a bench that fails has to stop")]

pub mod auctions;
pub mod clock;
pub mod graph;
pub mod job;
pub mod plain;
pub mod sessions;
pub mod table;
pub mod visits;

/// That of the binary.
#[global_allocator]
static ALLOC: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The command line, without the flag that `cargo bench` adds.
pub fn arguments<A: clap::Parser>() -> A {
    A::parse_from(std::env::args_os().filter(|argument| argument != "--bench"))
}
