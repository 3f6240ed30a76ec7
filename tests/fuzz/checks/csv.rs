//! Rows: [`Framing::Rows`] and [`CsvReader`] against a parser that goes through a file character by character.
//!
//! The first byte of the input chooses the delimiter and limits, and whether the rest keeps delimiters of other kinds.

use dataflows::{PathHash, Reason, ShapeId, ValueKind};
use headwater_decode::csv::{CsvReader, delimiter};
use headwater_decode::framing::{Dialect, Framing};
use headwater_decode::path::Path;
use headwater_decode::path_set::PathSet;
use headwater_decode::reading::Reading;
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
    // What framing skips before rows is checked beside the other framings.
    file.iter_mut().filter(|byte| matches!(**byte, 0 | 0xef)).for_each(|byte| *byte = b'x');
    let dialect = |delimiter| Dialect { delimiter, ..Dialect::default() };
    let rows: Vec<(usize, &[u8])> = Framing::Rows(dialect(separator)).records(&file).collect();
    assert_eq!(rows, split(&file, separator));

    let Some(((_, header), rows)) = rows.split_first() else { return };
    if options & GUESS != 0 {
        separator = delimiter(header);
        assert!(DELIMITERS.contains(&separator));
    }
    let names = match names(bare(header), separator, limits.keys) {
        Ok(names) => names,
        Err(reason) => {
            let refused = CsvReader::new(header, dialect(separator), &PathSet::default(), &limits).map(|_| ());
            assert_eq!(refused.map_err(|fault| fault.reason), Err(reason));
            return;
        }
    };
    let mut paths = PathSet::default();
    for (slot, name) in names.iter().enumerate() {
        let quoted = format!("\"{}\"", name.replace('\\', r"\\").replace('"', "\\\""));
        assert_eq!(paths.add(&Path::parse(&quoted).unwrap()) as usize, slot);
    }
    let mut reader = CsvReader::new(header, dialect(separator), &paths, &limits).unwrap();
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
        // A field that spans lines is closed by what can close one only; the reader takes any quote.
        let broken = |row: &[u8]| !row.contains(&b'\n') && cells(row, separator).is_err();
        let whole = rows.split_last().map_or(rows, |(_, whole)| whole);
        assert!(!whole.iter().any(|(_, row)| broken(row)));
    }
}

/// A header and a row may come with or without a line end: so what ends like one is one.
fn bare(row: &[u8]) -> &[u8] {
    let row = row.strip_suffix(b"\n").unwrap_or(row);
    row.strip_suffix(b"\r").unwrap_or(row)
}

/// The rows of a file that are not blank, without line ends: by definition, one byte after the other.
fn split(file: &[u8], separator: u8) -> Vec<(usize, &[u8])> {
    let mut rows = Vec::new();
    let (mut start, mut quoted, mut field_start) = (0, false, true);
    let (mut at, mut lines) = (0, 0);
    while at < file.len() {
        let byte = file[at];
        at += 1;
        if quoted {
            field_start = false;
            lines += usize::from(byte == b'\n');
            if byte != b'"' {
                continue;
            }
            // Of two quotes the second belongs to the field.
            if file.get(at) == Some(&b'"') {
                at += 1;
                continue;
            }
            // Once a field spans lines, what follows has to show that it ends.
            let closes = match &file[at..] {
                [] | [b'\n', ..] | [b'\r', b'\n', ..] | [b'\r'] => true,
                [next, ..] => *next == separator,
            };
            quoted = lines > 0 && !closes;
            continue;
        }
        quoted = byte == b'"' && field_start;
        lines = 0;
        field_start = byte == b'\n' || byte == separator;
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
    let mut names = cells(String::from_utf8_lossy(header).as_bytes(), separator)?;
    if names.len() > most {
        return Err(Reason::TooManyKeys);
    }
    for index in 0..names.len() {
        if names[index].is_empty() {
            names[index] = format!("column_{}", index + 1);
        }
        let name = names[index].clone();
        let mut number = 1;
        while names[..index].contains(&names[index]) {
            number += 1;
            names[index] = format!("{name}_{number}");
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
