//! Rows: [`Framing::Csv`] and [`CsvReader`] against a parser that goes through a file character by character.
//!
//! The first byte of the input chooses the delimiter and limits, and whether the rest keeps delimiters of other kinds.

use dataflows::{PathHash, Reason, ShapeId, ValueKind};
use headwater_decode::csv::{CsvReader, delimiter};
use headwater_decode::framing::Framing;
use headwater_decode::path::Path;
use headwater_decode::reading::{PathSet, Reading};
use headwater_decode::spec::Limits;

const DELIMITERS: [u8; 4] = [b',', b';', b'\t', b'|'];
const ONE_DELIMITER: u8 = 1 << 2;
const TIGHT: u8 = 1 << 3;
const GUESS: u8 = 1 << 4;

pub fn check(data: &[u8]) {
    let Some((options, rest)) = data.split_first() else { return };
    let mut separator = DELIMITERS[usize::from(options % 4)];
    let mut file = rest.to_vec();
    if options & ONE_DELIMITER != 0 {
        file.iter_mut().filter(|byte| DELIMITERS.contains(byte) && **byte != separator).for_each(|byte| *byte = b'x');
    }
    let limits = Limits { keys: if options & TIGHT != 0 { 3 } else { 64 }, ..Limits::default() };
    let rows: Vec<(usize, &[u8])> = Framing::Csv.records(&file).collect();
    assert_eq!(rows, split(&file));

    let Some(((_, header), rows)) = rows.split_first() else { return };
    if options & GUESS != 0 {
        separator = delimiter(header);
        assert!(DELIMITERS.contains(&separator));
    }
    let names = match names(bare(header), separator, limits.keys) {
        Ok(names) => names,
        Err(reason) => {
            let refused = CsvReader::new(header, separator, &PathSet::default(), &limits).map(|_| ());
            assert_eq!(refused.map_err(|fault| fault.reason), Err(reason));
            return;
        }
    };
    let mut paths = PathSet::default();
    for (slot, name) in names.iter().enumerate() {
        let quoted = format!("\"{}\"", name.replace('\\', r"\\").replace('"', "\\\""));
        assert_eq!(paths.add(&Path::parse(&quoted).unwrap()) as usize, slot);
    }
    let mut reader = CsvReader::new(header, separator, &paths, &limits).unwrap();
    let mut reading = Reading::default();
    for (index, (_, row)) in rows.iter().enumerate() {
        let behind = rows.get(index + 1).map_or(&b""[..], |(_, row)| row);
        // With each line end; and what no framing makes, but a caller could.
        let endings = [&b""[..], b"\n", b"\r\n"].map(|line_end| [row, line_end].concat());
        for row in endings.into_iter().chain([[b"\n", *row].concat(), [row, &b"\n"[..], behind].concat()]) {
            let found = reader.read(&row, &mut reading).map_err(|fault| fault.reason);
            let expected = cells(bare(&row), separator).and_then(|cells| match cells.len() == names.len() {
                true => Ok(cells),
                false => Err(Reason::WrongFieldCount),
            });
            assert_eq!(found, expected.as_ref().map(|_| ()).map_err(|reason| *reason), "{row:?}");
            assert_eq!(reading.shape.is_some(), found.is_ok());
            let Ok(cells) = expected else {
                assert!(reading.is_empty());
                continue;
            };
            let mut leaves = Vec::new();
            for (slot, (name, cell)) in names.iter().zip(&cells).enumerate() {
                let values: Vec<_> = reading.all(slot as u32).map(|value| (value.kind, value.text)).collect();
                let expected = (!cell.is_empty()).then_some((ValueKind::String, cell.as_str()));
                assert_eq!(values, expected.into_iter().collect::<Vec<_>>());
                let path = name.split('.').fold(PathHash::ROOT, |path, key| path.segment(key.as_bytes()));
                leaves.extend(expected.map(|_| path.leaf(ValueKind::String)));
            }
            assert_eq!(reading.shape, Some(ShapeId::of(&mut leaves)));
        }
    }
    if options & (ONE_DELIMITER | GUESS) == ONE_DELIMITER && std::str::from_utf8(&file).is_ok() {
        // With one delimiter, framing and reading mean the same quotes: only the end of the file may break a row.
        let broken = |row: &[u8]| cells(row, separator).is_err();
        let whole = rows.split_last().map_or(rows, |(_, whole)| whole);
        assert!(!whole.iter().any(|(_, row)| broken(row)));
    }
}

/// A header and a row may come with or without a line end: so what ends like one is one.
fn bare(row: &[u8]) -> &[u8] {
    let row = row.strip_suffix(b"\n").unwrap_or(row);
    row.strip_suffix(b"\r").unwrap_or(row)
}

/// The rows of a file that are not blank, without line ends: by definition, one byte after the other. A quote opens a
/// field behind any delimiter, as the framing does not know which one it is.
fn split(file: &[u8]) -> Vec<(usize, &[u8])> {
    let mut rows = Vec::new();
    let (mut start, mut quoted, mut field_start) = (0, false, true);
    let mut at = 0;
    while at < file.len() {
        let byte = file[at];
        at += 1;
        if quoted {
            // Of two quotes the second opens the field again.
            quoted = byte != b'"';
            if !quoted && file.get(at) == Some(&b'"') {
                (quoted, at) = (true, at + 1);
            }
            field_start = false;
            continue;
        }
        quoted = byte == b'"' && field_start;
        field_start = byte == b'\n' || DELIMITERS.contains(&byte);
        if byte == b'\n' {
            rows.push((start, &file[start..at - 1]));
            start = at;
        }
    }
    // An open quote does not make a line end at the end of the file a part of the row.
    let last = &file[start..];
    rows.push((start, last.strip_suffix(b"\n").unwrap_or(last)));
    let bare = |row: &mut (usize, &'_ [u8])| row.1.strip_suffix(b"\r").map_or(row.1.len(), <[u8]>::len);
    rows.iter_mut().for_each(|row| row.1 = &row.1[..bare(row)]);
    rows.retain(|(_, row)| !row.is_empty());
    rows
}

fn names(header: &[u8], separator: u8, most: usize) -> Result<Vec<String>, Reason> {
    let header = header.strip_prefix(b"\xef\xbb\xbf").unwrap_or(header);
    let mut names = cells(header, separator)?;
    if names.len() > most {
        return Err(Reason::TooManyKeys);
    }
    for index in 0..names.len() {
        if names[index].is_empty() {
            names[index] = format!("column_{}", index + 1);
        }
        if names[..index].contains(&names[index]) {
            return Err(Reason::DuplicateKey);
        }
    }
    Ok(names)
}

/// The fields of one row without its line end.
fn cells(row: &[u8], separator: u8) -> Result<Vec<String>, Reason> {
    enum At {
        Start,
        Plain,
        Quoted,
        Quote,
    }
    let row = std::str::from_utf8(row).map_err(|_| Reason::NotUtf8)?;
    let (mut cells, mut cell, mut at) = (Vec::new(), String::new(), At::Start);
    for char in row.chars() {
        at = match (at, char) {
            (At::Start, '"') => At::Quoted,
            (At::Quoted, '"') => At::Quote,
            (At::Quote, '"') => {
                cell.push('"');
                At::Quoted
            }
            (At::Quoted, other) => {
                cell.push(other);
                At::Quoted
            }
            (_, '\n') => return Err(Reason::WrongFieldCount),
            (_, end) if end == char::from(separator) => {
                cells.push(std::mem::take(&mut cell));
                At::Start
            }
            (_, other) => {
                cell.push(other);
                At::Plain
            }
        };
    }
    if matches!(at, At::Quoted) {
        return Err(Reason::WrongFieldCount);
    }
    cells.push(cell);
    Ok(cells)
}
