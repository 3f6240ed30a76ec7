//! Bytes of a segment file: a header, then frames. Integers are little-endian; `docs/log.md` has the table.
//!
//! ```text
//! header  crc32c 4 │ "HWL1" 4 │ version 2 │ role 1 │ 0 1 │ part 4 │ log id 16 │ epoch 8 │ base 8 │ low 8
//! frame   crc32c 4 │ length of payload 4 │ offset 8 │ received ms 8 │ kind 1 │ payload
//! ```
//!
//! Each checksum covers everything behind it. Those of frames start from a seed of log, role, part and base. So a frame
//! of another segment, or one that a payload contains, is not a frame here.

use super::vfs::Role;
use serde::{Deserialize, Serialize};

/// Bytes of the header of a segment.
pub const HEADER: usize = 56;
/// Bytes of a frame besides its payload.
pub const FRAME: usize = 25;
/// Bytes of a seal, all of it.
pub(crate) const SEAL: usize = FRAME + 16;
/// Largest payload in bytes. A larger one is refused: it would be read into memory as a whole.
pub const PAYLOAD_BYTES: usize = 256 << 20;

const MAGIC: &[u8; 4] = b"HWL1";
const VERSION: u16 = 1;
/// The sparse index has a position per this number of bytes. It bounds what a read from any offset skips.
const INDEX_BYTES: u64 = 64 << 10;

/// Identity of a log: no file of another log is taken for one of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogId(pub [u8; 16]);

/// A frame's kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Takes one offset.
    Record,
    /// Payload: how many bytes of this segment had been synced when the mark was written. Takes no offset.
    Mark,
    /// Payload: the low watermark. Takes no offset.
    Low,
    /// A segment that ends with it is whole: see [`Seal`]. Takes no offset.
    Seal,
}

/// The facts about a segment without reading it. It was complete when the seal was written behind its last record. Only
/// the next segment shows whether more was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seal {
    /// Offset after the last record.
    pub next: u64,
    /// Received time of the last record; the least there is without any.
    pub received_ms: i64,
    /// The byte that the seal begins at.
    pub at: u64,
    /// The low watermark of the partition.
    pub low: u64,
}

impl Seal {
    pub fn encode(&self, out: &mut Vec<u8>, seed: u32) {
        let mut payload = [0; 16];
        payload[..8].copy_from_slice(&self.at.to_le_bytes());
        payload[8..].copy_from_slice(&self.low.to_le_bytes());
        encode(out, seed, Kind::Seal, self.next, self.received_ms, &payload);
    }

    /// Returns the seal at the end of a segment of `size` bytes, the last [`SEAL`] of which are `bytes`, if there is
    /// one.
    pub fn decode(bytes: &[u8; SEAL], header: &Header, size: u64) -> Option<Seal> {
        let seal = decode(bytes, header.seed()).ok()?.seal()?;
        (seal.at + SEAL as u64 == size && seal.next >= header.base && seal.low <= seal.next).then_some(seal)
    }
}

/// One record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Its number in the partition.
    pub offset: u64,
    /// When it was received: milliseconds since 1970-01-01T00:00:00Z.
    pub received_ms: i64,
    /// As it was appended.
    pub payload: &'a [u8],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub role: Role,
    pub part: u32,
    pub id: LogId,
    /// Generation that created the segment.
    pub epoch: u64,
    /// Offset of the first record.
    pub base: u64,
    /// Low watermark of the partition when the segment was created.
    pub low: u64,
}

impl Header {
    pub fn encode(&self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[4..8].copy_from_slice(MAGIC);
        bytes[8..10].copy_from_slice(&VERSION.to_le_bytes());
        bytes[10] = self.role.code();
        bytes[12..16].copy_from_slice(&self.part.to_le_bytes());
        bytes[16..32].copy_from_slice(&self.id.0);
        bytes[32..40].copy_from_slice(&self.epoch.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.base.to_le_bytes());
        bytes[48..56].copy_from_slice(&self.low.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[4..]);
        bytes[..4].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Returns the header of a segment that should be of `role` and `part`; else what is wrong with it.
    pub fn decode(bytes: &[u8], role: Role, part: u32) -> Result<Header, String> {
        let Some(bytes) = bytes.first_chunk::<HEADER>() else { return Err("the header is incomplete".into()) };
        if crc32c::crc32c(&bytes[4..]) != u32_at(bytes, 0) {
            return Err("the checksum of the header does not match".into());
        }
        if &bytes[4..8] != MAGIC {
            return Err("this is no segment of a log".into());
        }
        let version = u16::from_le_bytes([bytes[8], bytes[9]]);
        if version != VERSION {
            return Err(format!("the format has version {version}, this program knows {VERSION}"));
        }
        if bytes[10] != role.code() || u32_at(bytes, 12) != part {
            return Err("this is a segment of another partition".into());
        }
        let mut id = [0; 16];
        id.copy_from_slice(&bytes[16..32]);
        Ok(Header {
            role,
            part,
            id: LogId(id),
            epoch: u64_at(bytes, 32),
            base: u64_at(bytes, 40),
            low: u64_at(bytes, 48),
        })
    }

    /// Returns the seed of the checksums of this segment's frames.
    pub fn seed(&self) -> u32 {
        let mut bytes = [0; 29];
        bytes[..16].copy_from_slice(&self.id.0);
        bytes[16..24].copy_from_slice(&self.base.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.part.to_le_bytes());
        bytes[28] = self.role.code();
        crc32c::crc32c(&bytes)
    }
}

/// Appends a frame to `out`.
pub(crate) fn encode(out: &mut Vec<u8>, seed: u32, kind: Kind, offset: u64, received_ms: i64, payload: &[u8]) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    out.extend_from_slice(&offset.to_le_bytes());
    out.extend_from_slice(&received_ms.to_le_bytes());
    out.push(match kind {
        Kind::Record => 0,
        Kind::Mark => 1,
        Kind::Low => 2,
        Kind::Seal => 3,
    });
    out.extend_from_slice(payload);
    let crc = crc32c::crc32c_append(seed, &out[start + 4..]);
    out[start..start + 4].copy_from_slice(&crc.to_le_bytes());
}

pub(crate) struct Frame<'a> {
    pub kind: Kind,
    pub record: Record<'a>,
    /// Length in bytes, all of it.
    pub size: usize,
}

impl Frame<'_> {
    /// Returns the number in a mark or a low watermark.
    fn value(&self) -> Option<u64> {
        Some(u64::from_le_bytes(self.record.payload.try_into().ok()?))
    }

    fn seal(&self) -> Option<Seal> {
        let Record { offset: next, received_ms, payload } = self.record;
        let payload: &[u8; 16] = payload.try_into().ok().filter(|_| self.kind == Kind::Seal)?;
        Some(Seal { next, received_ms, at: u64_at(payload, 0), low: u64_at(payload, 8) })
    }
}

/// Why there is no frame at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The bytes end before the frame does; it has this size.
    Short(usize),
    Checksum,
    /// The checksum is right, the content is not: written by something that is not this program.
    Content(&'static str),
}

impl Fault {
    pub fn what(self) -> &'static str {
        match self {
            Fault::Short(_) => "a record is cut off",
            Fault::Checksum => "the checksum of a record does not match",
            Fault::Content(what) => what,
        }
    }
}

/// Returns the frame that `bytes` begin with.
pub(crate) fn decode(bytes: &[u8], seed: u32) -> Result<Frame<'_>, Fault> {
    let Some(head) = bytes.first_chunk::<FRAME>() else { return Err(Fault::Short(FRAME)) };
    let length = u32_at(head, 4) as usize;
    if length > PAYLOAD_BYTES {
        return Err(Fault::Checksum);
    }
    let size = FRAME + length;
    let Some(frame) = bytes.get(..size) else { return Err(Fault::Short(size)) };
    if crc32c::crc32c_append(seed, &frame[4..]) != u32_at(head, 0) {
        return Err(Fault::Checksum);
    }
    let kind = match head[24] {
        0 => Kind::Record,
        1 => Kind::Mark,
        2 => Kind::Low,
        3 => Kind::Seal,
        _ => return Err(Fault::Content("a record of an unknown kind: was it written by a newer version?")),
    };
    let record = Record { offset: u64_at(head, 8), received_ms: u64_at(head, 16) as i64, payload: &frame[FRAME..] };
    Ok(Frame { kind, record, size })
}

/// The content of a segment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scan {
    /// Bytes up to the end of the last frame.
    pub end: u64,
    /// Offset after the last record.
    pub next: u64,
    pub low: u64,
    /// The number of bytes that were durable, by the marks.
    pub durable: u64,
    /// Received time of the last record.
    pub received_ms: i64,
    pub index: SparseIndex,
    /// At `end`, if the bytes go on there.
    pub fault: Option<Fault>,
}

/// Reads all frames of a segment whose `bytes` begin with `header`.
pub(crate) fn scan(bytes: &[u8], header: &Header) -> Scan {
    let seed = header.seed();
    let mut scan = Scan {
        end: HEADER as u64,
        next: header.base,
        low: header.low,
        received_ms: i64::MIN,
        index: SparseIndex::complete(),
        ..Scan::default()
    };
    while (scan.end as usize) < bytes.len() {
        let frame = match decode(&bytes[scan.end as usize..], seed) {
            Ok(frame) if frame.record.offset != scan.next => {
                scan.fault = Some(Fault::Content("a record has the wrong offset"));
                break;
            }
            Ok(frame) => frame,
            Err(fault) => {
                scan.fault = Some(fault);
                break;
            }
        };
        match (frame.kind, frame.value()) {
            (Kind::Record, _) => {
                scan.index.note(scan.next, scan.end);
                scan.next += 1;
                scan.received_ms = frame.record.received_ms;
            }
            (Kind::Mark, Some(durable)) if durable <= scan.end => scan.durable = durable,
            (Kind::Low, Some(low)) if low <= scan.next => scan.low = scan.low.max(low),
            (Kind::Seal, _) if frame.seal().is_some_and(|seal| seal.at == scan.end && seal.low <= scan.next) => {
                scan.low = scan.low.max(frame.seal().map_or(0, |seal| seal.low));
            }
            _ => {
                scan.fault = Some(Fault::Content("a mark, a low watermark or a seal that cannot be"));
                break;
            }
        }
        scan.end += frame.size as u64;
    }
    scan
}

/// Returns whether a mark behind `at` covers `at`. If so, wrong bytes there are damage, not a torn write.
pub(crate) fn was_durable(bytes: &[u8], at: u64, header: &Header) -> bool {
    const SIZE: usize = FRAME + 8;
    let seed = header.seed();
    let bytes = &bytes[(at as usize).min(bytes.len())..];
    bytes.windows(SIZE).any(|window| {
        u32_at(window, 4) == 8
            && window[24] == 1
            && decode(window, seed).is_ok_and(|mark| mark.value().is_some_and(|durable| durable > at))
    })
}

/// Where some records of a segment lie: one in each [`INDEX_BYTES`], from its beginning as far as it has been read.
#[derive(Clone, Debug, Default)]
pub(crate) struct SparseIndex {
    places: Vec<(u64, u64)>,
    complete: bool,
}

impl SparseIndex {
    /// Returns an index that has all records of a segment, and will have all later ones.
    pub fn complete() -> SparseIndex {
        SparseIndex { places: Vec::new(), complete: true }
    }

    /// Returns whether it reaches to the end of the segment.
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// Adds that record `offset` begins at byte `at`, unless a known record is close to it.
    pub fn note(&mut self, offset: u64, at: u64) {
        if self.places.last().is_none_or(|(_, last)| at >= last + INDEX_BYTES) {
            self.places.push((offset, at));
        }
    }

    /// Takes what was noted from a place on that is known here.
    pub fn extend(&mut self, noted: &SparseIndex) {
        noted.places.iter().for_each(|(offset, at)| self.note(*offset, *at));
        self.complete |= noted.complete;
    }

    /// Forgets the records from `offset` on.
    pub fn cut(&mut self, offset: u64) {
        self.places.truncate(self.places.partition_point(|(at, _)| *at < offset));
    }

    /// Returns the first record that is known to begin at byte `at` or later.
    pub fn beyond(&self, at: u64) -> Option<u64> {
        let after = self.places.partition_point(|(_, start)| *start < at);
        self.places.get(after).map(|(offset, _)| *offset)
    }

    /// Returns a byte at or before record `offset` where a frame begins.
    pub fn before(&self, offset: u64) -> u64 {
        let after = self.places.partition_point(|(at, _)| *at <= offset);
        if after == 0 { HEADER as u64 } else { self.places[after - 1].1 }
    }
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut value = [0; 8];
    value.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(value)
}
