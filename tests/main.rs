//! What headwater promises: one test binary, one module per promise.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

mod configuration;
mod views;
