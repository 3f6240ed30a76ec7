//! [`Chunks`]: whatever a file holds, compressed, Parquet, in another encoding or as lines of a collector, it is refused
//! in words or read to its end, each byte is accounted for, and chunks of another size give the same.
//!
//! The first byte of the input chooses what is configured; the rest is the file.

use headwater::collections::place::SourceIndex;
use headwater::source::{Chunk, Chunking, Chunks, Next, Part};
use headwater_decode::Decoder;
use headwater_decode::account::Account;
use headwater_decode::interpret::{Batch, Range};
use headwater_decode::path::Path;
use headwater_decode::prefix::Prefix;
use headwater_decode::spec::{EventsPlan, Format, Limits, Spec};
use headwater_decode::syntax::{Encoding, Syntax};
use std::sync::Arc;

pub fn check(data: &[u8]) {
    let Some((options, content)) = data.split_first() else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("in");
    std::fs::write(&path, content).unwrap();
    let syntax = Syntax {
        encoding: Encoding::ALL[usize::from(options & 7) % Encoding::ALL.len()],
        unwrap: (options & 8 > 0).then(|| Path::parse("message").unwrap()),
        prefix: (options & 16 > 0).then_some(Prefix::Object),
        ..Syntax::default()
    };
    let format = (options & 32 > 0).then(|| Format::ALL[usize::from(options >> 6) % Format::ALL.len()]);
    let part = Part { source: SourceIndex(0), path, format, syntax: Arc::new(syntax), member: None };
    let small = read(&part, 64);
    assert_eq!(small, read(&part, 1 << 20));
}

/// Returns the number of events, that of dead letters, and the bytes that are accounted for; `None` if it is refused.
fn read(part: &Part, chunk_bytes: usize) -> Option<(usize, usize, u64)> {
    let limits = Limits { event_bytes: 256, ..Limits::default() };
    let spec = Spec {
        sources: vec![EventsPlan { limits, ..EventsPlan::default() }],
        syntaxes: vec![Arc::clone(&part.syntax)],
        ..Spec::default()
    };
    let mut decoder = Decoder::new(spec, Range::default());
    let chunking = Chunking { chunk_bytes, event_bytes: limits.event_bytes, ..Chunking::default() };
    let chunks = Chunks::open(vec![part.clone()], chunking).unwrap();
    let (mut batch, mut chunk, mut cut) = (Batch::default(), Chunk::default(), Account::default());
    let mut letters = 0;
    loop {
        match chunks.next(u64::MAX, &mut chunk) {
            Ok(Next::Chunk) => {}
            Ok(Next::End) => break,
            Ok(Next::Wait) => panic!("there is no limit"),
            Err(error) => {
                assert!(!error.to_string().is_empty());
                return None;
            }
        }
        letters += chunk.dead_letters.len();
        cut.add(&chunk.account);
        decoder.read(&chunk.block(), &mut batch);
    }
    cut.add(&batch.account);
    Some((batch.input.records.len(), letters + batch.dead_letters.len(), cut.total()))
}
