//! Several processes of one run: the sockets between them, and the ports of workers in other processes than the desk.
//!
//! ```text
//!                 supervisor ── makes the sockets, hands them on, starts and ends all processes together
//!                 ╱        ╲
//! process 0: log, sequencer, publisher, server, sources, sinks, workers
//!     ║ link: messages of ports         ║ mesh: timely's records and progress
//! process 1, 2 …: workers alone; they read the queue's files by themselves
//! ```
//! Nothing listens: a socket pair has no address.

pub mod link;
pub mod mesh;
