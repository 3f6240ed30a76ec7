//! Bounds of a tick, in memory and in time: constants, which tests make small.

use crate::error::Error;
use crate::worker::MEMORY_BYTES;
use headwater_log::partition::Limits;
use serde::Deserialize;
use std::env;
use std::time::Duration;

/// Set by tests: JSON with any of the fields of [`Bounds`].
const VARIABLE: &str = "HEADWATER_TEST_BOUNDS";

/// Bounds of one tick. All starts on a data folder need the same `piece`: keys of sinks follow the order within pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Bounds {
    /// Bytes of rows that a worker gathers in memory.
    pub memory: usize,
    /// Bytes of rows at which a block ends.
    pub block: usize,
    /// Bytes of rows at which a piece ends.
    pub piece: usize,
    /// A tick that takes longer, in milliseconds, and whose workers give no sign of life, has got stuck.
    pub stuck_ms: u64,
}

impl Default for Bounds {
    fn default() -> Bounds {
        let Limits { block_bytes, piece_bytes, .. } = Limits::default();
        Bounds { memory: MEMORY_BYTES, block: block_bytes, piece: piece_bytes, stuck_ms: 30_000 }
    }
}

impl Bounds {
    /// # Errors
    /// If the variable of tests is set, and cannot be read.
    pub fn of_environment() -> Result<Bounds, Error> {
        let Some(text) = env::var_os(VARIABLE) else { return Ok(Bounds::default()) };
        let text = text.to_string_lossy();
        let bounds = serde_json::from_str(&text).map_err(Error::run(format!("read {VARIABLE}=`{text}`")))?;
        tracing::warn!(?bounds, "bounds of tests are in force");
        Ok(bounds)
    }

    pub fn limits(&self, segment_bytes: u64) -> Limits {
        Limits { segment_bytes, block_bytes: self.block, piece_bytes: self.piece, ..Limits::default() }
    }

    pub fn stuck(&self) -> Duration {
        Duration::from_millis(self.stuck_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_test_leaves_out_is_as_always() {
        let read = |text| serde_json::from_str::<Bounds>(text).ok();
        assert_eq!(read("{}"), Some(Bounds::default()));
        assert_eq!(read(r#"{"memory":9}"#), Some(Bounds { memory: 9, ..Bounds::default() }));
        assert_eq!(read(r#"{"blocks":9}"#), None);
        assert_eq!(Bounds::default().limits(64 << 20), Limits::default());
        // Data folders hold positions that follow it.
        assert_eq!(Limits::default().piece_bytes, 16 << 20);
    }
}
