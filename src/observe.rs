//! How a process says how it is: metrics, its status, the memory that it takes.

pub mod memory;
pub mod metrics;
pub mod status;
