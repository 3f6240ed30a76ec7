//! What headwater promises: one test binary, one module per promise.

mod configuration;
mod views;
