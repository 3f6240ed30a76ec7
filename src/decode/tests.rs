//! What holds for all formats; each of them has its own tests.

use super::*;
use crate::config::{self, Overrides};

#[test]
fn a_record_above_the_limit_of_its_source_is_a_dead_letter_with_its_first_bytes_and_the_others_go_on() {
    let text = "events = { max_bytes = 20 }\nsource = [{ name = 'a', kind = 'http' }]";
    let overrides = Overrides { without_files: true, ..Overrides::default() };
    let plan = Arc::new(config::parse("a.toml", text, std::path::Path::new("/"), &overrides).unwrap());
    let header: Arc<[u8]> = Arc::from(&b"user,time"[..]);
    let long = "x".repeat(40);
    for (format, framing, large, small) in [
        (Format::Json, Framing::Lines, format!("{{\"user\":\"{long}\"}}"), "{\"user\":\"a\"}"),
        (Format::Json, Framing::JsonValues, format!("{{\"user\":\n\"{long}\"}}"), "{\"user\":\n\"a\"}"),
        (Format::Csv, Framing::Csv, format!("{long},1"), "a,1"),
        (Format::Clf, Framing::Lines, format!("- - {long}"), ""),
    ] {
        let bytes = format!("{small}\n{large}\n{small}\n");
        let mut batch = Batch::default();
        let position = Position { source: 0, part: 3, offset: 100 };
        let block = Block { position, format, framing, header: Some(&header), received: None, bytes: bytes.as_bytes() };
        Decoder::new(Arc::clone(&plan), interpret::Range::default()).decode(&block, &mut batch);
        let expected = DeadLetter {
            position: Position { offset: 100 + small.len() as u64 + 1, ..position },
            reason: Reason::TooLarge,
            message: format!("the record has {} bytes, more than the limit of 20", large.len()),
            payload: large.as_bytes()[..20].to_vec(),
            length: large.len() as u64,
        };
        assert_eq!(batch.dead_letters, [expected], "{framing:?}");
        assert_eq!(batch.input.records.len(), if small.is_empty() { 0 } else { 2 });
    }
}
