//! Tests of the landing.
