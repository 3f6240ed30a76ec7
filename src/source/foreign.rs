//! Files that are no logs which headwater reads, recognised by their first bytes: what they are, and what to do.

/// What a file is, and what to do with it.
pub type Foreign = (&'static str, &'static str);

const CONVERT: &str =
    "convert it to CSV or JSON Lines first, such as with DuckDB: `COPY (FROM 'FILE') TO 'events.csv'`";
const UNPACK: &str = "unpack it first, and name the files in it";
const UNPACK_TAR: &str = "unpack it, and name the folder: `mkdir logs && tar -xf FILE -C logs`";
const EXPORT: &str = "export it as CSV or JSON Lines";

/// Magic numbers at the start, after the `file` utility and the specifications of the formats.
const MAGIC: &[(&[u8], Foreign)] = &[
    (
        b"\xfd7zXZ\0",
        ("it is compressed with xz", "decompress it first: `xz -d`, or compress with gzip or zstd instead"),
    ),
    (
        b"LZIP\x01",
        ("it is compressed with lzip", "decompress it first: `lzip -d`, or compress with gzip or zstd instead"),
    ),
    (b"\x04\x22\x4d\x18", ("it is compressed with lz4", LZ4)),
    (b"\x02\x21\x4c\x18", ("it is compressed with lz4", LZ4)),
    (
        b"\xff\x06\0\0sNaPpY",
        ("it is compressed with snappy", "decompress it first, or compress with gzip or zstd instead"),
    ),
    (b"\x1f\x9d", ("it is compressed with compress", "decompress it first: `gzip -d` reads it too")),
    (b"PK\x03\x04", ("it is a zip archive", UNPACK)),
    (b"PK\x05\x06", ("it is an empty zip archive", UNPACK)),
    (b"7z\xbc\xaf\x27\x1c", ("it is a 7z archive", UNPACK)),
    (b"Rar!\x1a\x07", ("it is a rar archive", UNPACK)),
    (b"Obj\x01", ("it is an Avro file", CONVERT)),
    (b"ARROW1\0\0", ("it is an Arrow file", CONVERT)),
    (
        b"SQLite format 3\0",
        ("it is a SQLite database", "export its table: `sqlite3 -csv -header FILE 'select * from …'`"),
    ),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", ("it is a document of an old Office, such as a spreadsheet", EXPORT)),
    (b"\x89HDF\r\n\x1a\n", ("it is an HDF5 file", CONVERT)),
    (b"%PDF-", ("it is a PDF", "get the data that it was made from")),
    (b"ElfFile\0", ("it is a Windows event log", "export it: `wevtutil qe FILE /lf:true /f:text`, or as CSV")),
    (b"LPKSHHRH", ("it is a journal of systemd", "export it: `journalctl --file FILE -o json`")),
    (b"\xd4\xc3\xb2\xa1", ("it is a capture of network packets", "make a log of it first, such as with Zeek")),
    (b"\x7fELF", ("it is a program", "name the log")),
    (b"\x89PNG\r\n\x1a\n", ("it is a picture", "name the log")),
    (b"\xff\xfe\0\0", ("it is text in UTF-32", "convert it first: `iconv -f utf-32 -t utf-8`")),
    (b"\0\0\xfe\xff", ("it is text in UTF-32", "convert it first: `iconv -f utf-32 -t utf-8`")),
];

const LZ4: &str = "decompress it first: `lz4 -d`, or compress with gzip or zstd instead";

/// Returns what a file is that begins with `head` (decompressed), if it cannot be a log in any format.
pub fn binary(head: &[u8]) -> Option<Foreign> {
    // Words that a text may begin with, but not before a control character.
    const WORDS: [(&[u8], Foreign); 2] =
        [(b"PAR1", ("it is a Parquet file", CONVERT)), (b"ORC", ("it is an ORC file", CONVERT))];
    let word = WORDS.into_iter().find(|(word, _)| {
        head.strip_prefix(*word).is_some_and(|rest| {
            rest.first().is_none_or(|byte| *byte < b'\t' || (0x0e..0x20).contains(byte) || *byte >= 0x80)
        })
    });
    let is_bzip2 = head.starts_with(b"BZh") && matches!(head.get(4..10), Some(b"1AY&SY" | b"\x17\x72\x45\x38\x50\x90"));
    if is_bzip2 {
        let advice = "decompress it first: `bzip2 -d`, or compress with gzip or zstd instead";
        return Some(("it is compressed with bzip2", advice));
    }
    if head.get(257..262) == Some(b"ustar") {
        return Some(("it is a tar archive", UNPACK_TAR));
    }
    word.or_else(|| MAGIC.iter().copied().find(|(magic, _)| head.starts_with(magic))).map(|(_, foreign)| foreign)
}

/// Returns what a text is that begins with `head` and was not recognised.
pub fn text(head: &[u8]) -> Option<Foreign> {
    let head = &head[..head.len().min(4096)];
    let text = String::from_utf8_lossy(head);
    let lower = text.trim_start().to_lowercase();
    let is_xes = lower.contains("<log") && (lower.contains("xes") || lower.contains("concept:name"));
    if lower.starts_with("<!doctype html") || lower.starts_with("<html") {
        return Some(("it is a web page", "it may be the answer of a server instead of the file that you asked for"));
    }
    if lower.starts_with('<') && is_xes {
        let advice = "convert it first: `pm4py` writes the events of such a log as CSV, with columns `case:concept:name`, \
                      `concept:name` and `time:timestamp`, which are known";
        return Some(("it is an event log in XES (XML)", advice));
    }
    if lower.starts_with("<?xml") || lower.starts_with('<') && lower.contains("</") {
        return Some(("it is XML", "convert its events to JSON Lines or CSV first"));
    }
    let is_key = |line: &str| {
        line.split_once(": ").is_some_and(|(key, _)| !key.is_empty() && !key.contains([' ', '{', '"', ',']))
    };
    let mut lines = text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
    let first = lines.next().unwrap_or_default();
    let second = lines.next().unwrap_or_default();
    if first.trim_end() == "---" || first.starts_with("- ") && is_key(&first[2..]) && is_key(second.trim_start()) {
        return Some(("it is YAML", "convert it to JSON first: `yq -o json`"));
    }
    if lower.starts_with("insert into") || lower.starts_with("-- mysql dump") || lower.starts_with("-- postgresql") {
        return Some(("it is a dump of a database", "export its table as CSV with a header"));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_log_is_named() {
        let mut tar = vec![0; 512];
        tar[257..262].copy_from_slice(b"ustar");
        let cases: [(&[u8], &str); 7] = [
            (b"\xfd7zXZ\0\0", "it is compressed with xz"),
            (b"BZh91AY&SY....", "it is compressed with bzip2"),
            (b"PAR1\x15\x04", "it is a Parquet file"),
            (b"ORC\x0a\x03", ""),
            (b"ORC\x08\x03", "it is an ORC file"),
            (&tar, "it is a tar archive"),
            (b"PAR1,ORC\n1,2\n", ""),
        ];
        for (head, expected) in cases {
            assert_eq!(binary(head).map_or("", |(what, _)| what), expected, "{head:?}");
        }
        for (magic, (what, advice)) in MAGIC {
            assert_eq!(binary(&[magic, &b"rest"[..]].concat()), Some((*what, *advice)));
        }
        let cases = [
            ("<?xml version=\"1.0\"?>\n<log xes.version=\"1.0\">", "it is an event log in XES (XML)"),
            ("<events><event/></events>", "it is XML"),
            ("<!DOCTYPE html><p>Not found", "it is a web page"),
            ("---\nuser: u1\n", "it is YAML"),
            ("- user: u1\n  time: 2024-05-01\n", "it is YAML"),
            ("some prose: with a colon\n", ""),
            ("", ""),
        ];
        for (head, expected) in cases {
            assert_eq!(text(head.as_bytes()).map_or("", |(what, _)| what), expected, "{head}");
        }
    }
}
