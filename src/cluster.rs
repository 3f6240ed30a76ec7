//! Several processes of one run, on one host or on several: the sockets between them, and the ports of workers in other
//! processes than the desk.
//!
//! ```text
//!                 supervisor ── makes the sockets of one host, hands them on, starts and ends all processes together
//!                 ╱        ╲
//! process 0: log, sequencer, publisher, server, sources, sinks, workers
//!     ║ link: messages of ports         ║ mesh: timely's records and progress
//! process 1, 2 …: workers alone; they read the queue's files by themselves
//! ```
//! On one host nothing listens: a socket pair has no address. Several hosts have one process each. They come together by
//! themselves ([`join`]), over connections that are authenticated and encrypted ([`sealed`]), and read the queue of the
//! first host through one more connection ([`files`]):
//!
//! ```text
//! join ─▶ gate ─▶ greet ─▶ sealed        accepts, makes the handshake, carries bytes
//! ```

pub mod files;
pub mod gate;
pub mod greet;
pub mod join;
pub mod link;
pub mod mesh;
pub mod sealed;
pub mod socket;
