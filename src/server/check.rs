//! Finds the good events of a body with the decoder of the graph. So a rejection has the reason of the later dead
//! letter.

use crate::collections::place::SourceIndex;
use crate::plan::Plan;
use dataflows::Position;
use headwater_decode::detect::{HEAD_BYTES, framing_of_json, is_object};
use headwater_decode::fault::Fault;
use headwater_decode::framing::Framing;
use headwater_decode::interpret::{Interpreter, Range};
use headwater_decode::spec::Format;
use headwater_decode::{Block, Decoder, Harvest, Read};
use memchr::{memchr, memrchr};
use serde::Serialize;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// Rejected records that an answer lists; of the others it says how many there are.
const LISTED: usize = 100;

/// The faults of the records of a body.
#[derive(Debug, Default, Serialize)]
pub(super) struct Rejections {
    #[serde(rename = "rejected")]
    listed: Vec<Rejected>,
    #[serde(rename = "rejected_total")]
    pub total: u64,
}

#[derive(Debug, Serialize)]
struct Rejected {
    /// Which record of the body, counted from 0. Several faults of one record are those of events in it.
    index: usize,
    reason: &'static str,
    message: String,
}

#[derive(Debug, Default)]
pub(super) struct Verdict {
    /// Events that are good.
    pub accepted: u64,
    pub rejected: Rejections,
}

/// Returns the framing of a body. `lines`: the client says that they are lines.
pub(super) fn framing_of(lines: bool, body: &[u8]) -> Framing {
    let text = body.trim_ascii();
    let first = memchr(b'\n', text).map_or(text, |end| &text[..end]);
    let last = memrchr(b'\n', text).map_or(text, |end| &text[end + 1..]);
    if lines || (is_object(first) && is_object(last)) {
        return Framing::Lines;
    }
    framing_of_json(&body[..body.len().min(HEAD_BYTES)])
}

/// Reads every event of a body of the plan's source number `source`.
pub(super) fn check(decoder: &mut Decoder, source: SourceIndex, framing: Framing, body: &[u8]) -> Verdict {
    let position = Position { source: source.0, part: 0, offset: 0 };
    let block = Block { position, format: Format::Json, framing, header: None, received: None, bytes: body };
    let mut tally = Tally::default();
    decoder.read(&block, &mut tally);
    let rejected = Rejections { listed: Vec::with_capacity(tally.listed.len()), total: tally.rejected };
    let mut verdict = Verdict { accepted: tally.accepted, rejected };
    let mut ends = framing.records(body).map(|(at, record)| at + record.len());
    let mut record = (0, 0);
    for (offset, fault) in tally.listed {
        while record.1 <= offset {
            let Some(end) = ends.next() else { break };
            record = (record.0 + 1, end);
        }
        let (reason, message) = (fault.reason.code(), fault.message);
        verdict.rejected.listed.push(Rejected { index: record.0 - 1, reason, message });
    }
    verdict
}

/// The events of a body, counted.
#[derive(Default)]
struct Tally {
    accepted: u64,
    rejected: u64,
    /// The places of the first of these, with their faults.
    listed: Vec<(usize, Fault)>,
}

impl Harvest for Tally {
    type Mark = [u64; 2];

    fn event(&mut self, _: &mut Interpreter, read: Read<'_>, position: Position, _: &[u8]) {
        match read {
            Ok(_) => self.accepted += 1,
            Err(fault) => {
                self.rejected += 1;
                if self.listed.len() < LISTED {
                    self.listed.push((position.offset as usize, fault));
                }
            }
        }
    }

    fn mark(&self) -> [u64; 2] {
        [self.accepted, self.rejected]
    }

    fn back_to(&mut self, mark: [u64; 2]) {
        [self.accepted, self.rejected] = mark;
        self.listed.truncate(self.rejected as usize);
    }
}

/// The decoders of all requests: as many as there are cores, since more of them would only take turns and be cold.
pub(super) struct Decoders {
    idle: Mutex<Vec<Decoder>>,
    returned: Condvar,
}

impl Decoders {
    pub(super) fn new(plan: &Arc<Plan>) -> Decoders {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let idle = (0..cores).map(|_| Decoder::new(plan.spec(), Range::default())).collect();
        Decoders { idle: Mutex::new(idle), returned: Condvar::new() }
    }

    /// Waits for a decoder: the one that was used last, as it is the warmest.
    pub(super) fn lend(&self) -> Lent<'_> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let mut idle = self.returned.wait_while(idle, |idle| idle.is_empty()).unwrap_or_else(PoisonError::into_inner);
        Lent { decoder: idle.pop(), home: self }
    }

    /// As [`Decoders::lend`], if one is idle.
    pub(super) fn try_lend(&self) -> Option<Lent<'_>> {
        // It is held for a moment only.
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let decoder = idle.pop()?;
        Some(Lent { decoder: Some(decoder), home: self })
    }
}

/// Goes back when it is dropped.
pub(super) struct Lent<'d> {
    /// Always there until then.
    decoder: Option<Decoder>,
    home: &'d Decoders,
}

impl Deref for Lent<'_> {
    type Target = Decoder;

    fn deref(&self) -> &Decoder {
        self.decoder.as_ref().expect("it goes back when it is dropped")
    }
}

impl DerefMut for Lent<'_> {
    fn deref_mut(&mut self) -> &mut Decoder {
        self.decoder.as_mut().expect("it goes back when it is dropped")
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        self.home.idle.lock().unwrap_or_else(PoisonError::into_inner).extend(self.decoder.take());
        self.home.returned.notify_one();
    }
}
