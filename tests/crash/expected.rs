//! Computes the possible contents of a log after a crash from the calls before it.

use headwater_log::output::Block;
use headwater_log::remap::Uppers;
use headwater_log::vfs::model::Rng;
use std::collections::BTreeMap;

/// Of a partition of records.
#[derive(Clone, Debug, Default)]
pub struct Records {
    /// By offset: what was ever appended there. The last one is the one that counts, once acknowledged.
    pub appended: Vec<Vec<(i64, Vec<u8>)>>,
    /// Offsets below are acknowledged.
    pub acknowledged: u64,
    pub low: Low,
}

/// A low watermark: asked for, and acknowledged.
#[derive(Clone, Copy, Debug, Default)]
pub struct Low {
    pub asked: u64,
    pub reached: u64,
}

impl Records {
    pub fn append(&mut self, offset: u64, received_ms: i64, payload: Vec<u8>) {
        let offset = offset as usize;
        self.appended.resize_with(self.appended.len().max(offset + 1), Vec::new);
        self.appended[offset].push((received_ms, payload));
    }

    /// The last append there is not stored, and never will be.
    pub fn refuse(&mut self, offset: u64) {
        self.appended[offset as usize].pop();
    }
}

#[derive(Clone, Debug, Default)]
pub struct Expected {
    pub queue: Vec<Records>,
    pub control: Records,
    /// By tick: what was ever asked to be minted.
    pub ticks: Vec<Vec<(i64, Uppers)>>,
    /// Ticks below have happened.
    pub happened: u64,
    pub remap_low: Low,
    /// Workers of each tick that can be read.
    pub published: BTreeMap<u64, usize>,
    /// Ticks below can be read.
    pub upper: u64,
    pub output_low: Low,
}

/// The block of a tick: like any output, a function of the tick and the number of workers.
pub fn block(tick: u64, now_ms: i64, worker: usize, workers: usize) -> Block {
    let mut rng = Rng::new(tick << 16 | (workers << 8) as u64 | worker as u64);
    let mut block = Block::new(tick, now_ms);
    for name in ["sessions", "counts"] {
        let rows = (0..rng.below(4)).map(|row| (payload(&mut rng, 150), row as i64 - 1)).collect();
        block.add(name, rows).unwrap();
    }
    block
}

/// Up to `limit` bytes; often zeros, which look like what was never written.
pub fn payload(rng: &mut Rng, limit: u64) -> Vec<u8> {
    let size = rng.below(limit);
    let zeros = rng.below(4) == 0;
    (0..size).map(|_| if zeros { 0 } else { rng.next_u64() as u8 }).collect()
}
