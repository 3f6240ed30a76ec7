//! The promises of headwater: one test binary, one module per promise.

#![allow(clippy::unwrap_used, reason = "a test says what it expects by failing")]

mod cases;
mod cluster;
mod command_line;
mod configuration;
mod crash;
mod datasets;
mod decoding;
mod doctor;
mod fuzz;
mod generate;
mod guides;
mod headwater;
mod kinds;
mod live;
mod outline;
mod patience;
mod reader;
mod sequences;
mod values;
