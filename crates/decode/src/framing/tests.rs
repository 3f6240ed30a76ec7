use super::oracle::{separators, spans};
use super::*;
use proptest::prelude::*;

const ROWS: Framing = Framing::Rows(Dialect {
    delimiter: b',',
    quote: Some(b'"'),
    escape: None,
    spaced: false,
    comment: None,
    line_end: b'\n',
    fields: 0,
    limit: 1 << 20,
});
const ALL: [Framing; 4] = [Framing::Lines, Framing::CrLines, ROWS, Framing::JsonValues];

fn rows(fields: u32) -> Framing {
    Framing::Rows(Dialect { fields, ..Dialect::default() })
}

fn texts(framing: Framing, text: &str) -> Vec<&str> {
    framing.records(text.as_bytes()).map(|(_, record)| std::str::from_utf8(record).unwrap()).collect()
}

#[test]
fn lines_end_in_lf_or_crlf_or_with_the_input() {
    assert_eq!(texts(Framing::Lines, "a\r\n\n  \t\r\n b \nc"), ["a", " b ", "c"]);
    assert_eq!(Framing::Lines.records(b"\na\r\nb").collect::<Vec<_>>(), [(1, &b"a"[..]), (4, b"b")]);
    assert_eq!(Framing::Lines.boundary(b"a\nb"), Some(2));
    assert_eq!(Framing::Lines.boundary(b"a"), None);
    assert_eq!(texts(Framing::CrLines, "a\r\rb\rc"), ["a", "b", "c"]);
}

#[test]
fn a_line_end_inside_of_quotes_does_not_end_a_row() {
    let text = "a,\"b\nc\"\r\n\"say \"\"x\ny\"\"\",d\n\n  \n5\" pipe,e\n";
    assert_eq!(texts(ROWS, text), ["a,\"b\nc\"", "\"say \"\"x\ny\"\"\",d", "  ", "5\" pipe,e"]);
    assert_eq!(texts(rows(2), text), texts(ROWS, text));
    assert_eq!(ROWS.boundary(b"a,b\nc,\"d\n"), Some(4));
    assert_eq!(ROWS.boundary(b"\"a\n"), None);
}

#[test]
fn only_the_delimiter_of_the_rows_lets_a_quote_open_a_field() {
    assert_eq!(texts(rows(2), "a,b;\"c\nd,e|\"f\ng,\"h;\ni\"\n"), ["a,b;\"c", "d,e|\"f", "g,\"h;\ni\""]);
    let spaced = Framing::Rows(Dialect { fields: 2, spaced: true, ..Dialect::default() });
    assert_eq!(texts(spaced, "a, \"b\nc\"\nd, e\n"), ["a, \"b\nc\"", "d, e"]);
    let escaped = Framing::Rows(Dialect { fields: 2, escape: Some(b'\\'), ..Dialect::default() });
    assert_eq!(texts(escaped, "a,\"\\\"b\nc\\\"\"\nd,e\n"), ["a,\"\\\"b\nc\\\"\"", "d,e"]);
    let unquoted = Framing::Rows(Dialect { fields: 2, quote: None, ..Dialect::default() });
    assert_eq!(texts(unquoted, "a,\"b\nc,d\n"), ["a,\"b", "c,d"]);
    let commented = Framing::Rows(Dialect { fields: 2, comment: Some(b'#'), ..Dialect::default() });
    assert_eq!(texts(commented, "#a,\"b\nc,d\n"), ["#a,\"b", "c,d"]);
}

#[test]
fn a_quote_that_is_lost_harms_one_row() {
    let cases: [(&str, &[&str]); 8] = [
        ("a,b,\"c\nd,e,f\ng,h,i\n", &["a,b,\"c", "d,e,f", "g,h,i"]),
        // What is part of the bad row is part of it.
        ("a,b,\"c\nc2\nd,e,f\n", &["a,b,\"c\nc2", "d,e,f"]),
        // A later quote does not close it.
        ("a,b,\"c\nd,e,f\ng,\"h\",i\nj,k,l\n", &["a,b,\"c", "d,e,f", "g,\"h\",i", "j,k,l"]),
        ("a,b,\"c\nd,e,\"f\ng,h,i\n", &["a,b,\"c", "d,e,\"f", "g,h,i"]),
        // One that could, behind rows that are whole, does not either.
        (
            "a,b,\"c\nd,e,1\nd,e,2\nd,e,3\nd,e,4\nd,e,5\"\ng,h,i\n",
            &["a,b,\"c", "d,e,1", "d,e,2", "d,e,3", "d,e,4", "d,e,5\"", "g,h,i"],
        ),
        // A text may hold lines that look like rows.
        (
            "a,b,\"Hi, all, there\nI like, the, product\nbye\"\nd,e,f\n",
            &["a,b,\"Hi, all, there\nI like, the, product\nbye\"", "d,e,f"],
        ),
        ("a,\"x,\ny,z\",c\nd,e,f\n", &["a,\"x,\ny,z\",c", "d,e,f"]),
        // At the end there is nothing else.
        ("a,b,c\nd,e,\"f", &["a,b,c", "d,e,\"f"]),
    ];
    for (text, expected) in cases {
        assert_eq!(texts(rows(3), text), expected, "{text:?}");
    }
    // Without an end in sight it takes some lines, and not all.
    let text = "a,b,\"c\n".to_owned() + &"d,e,f\n".repeat(40);
    assert!(rows(3).boundary(text.as_bytes()).is_some_and(|end| end == text.len()));
    assert_eq!(rows(3).boundary(&text.as_bytes()[..100]), None);
    let limited = Framing::Rows(Dialect { fields: 3, limit: 50, ..Dialect::default() });
    let prose = "a,b,\"c\n".to_owned() + &"prose\n".repeat(20);
    assert_eq!(limited.end(prose.as_bytes(), false), Some(55));
}

#[test]
fn json_values_are_split_wherever_they_stand() {
    assert_eq!(
        texts(Framing::JsonValues, "[{\"a\": \"}]\\\"\"},\n {\"b\":\n [[{}]]}\n]{}{\"c\":1}\u{1e}{ }"),
        ["{\"a\": \"}]\\\"\"}", "{\"b\":\n [[{}]]}", "{}", "{\"c\":1}", "{ }"],
    );
    assert_eq!(texts(Framing::JsonValues, " [ ]\n[\"x,{y\", 1, null ]"), ["\"x,{y\"", "1", "null"]);
    assert_eq!(Framing::JsonValues.boundary(b"[{},{\"a\":"), Some(3));
    assert_eq!(Framing::JsonValues.boundary(b"[{"), None);
}

#[test]
fn what_is_no_value_is_a_record_and_harms_no_other() {
    assert_eq!(
        texts(Framing::JsonValues, "nonsense {\"a\":1}\nmore of it\r\n}{\"b\":2}"),
        ["nonsense", "{\"a\":1}", "more of it", "}", "{\"b\":2}"],
    );
    assert_eq!(texts(Framing::JsonValues, "{\"a\":\"lost}\n{\"b\":2}"), ["{\"a\":\"lost}", "{\"b\":2}"]);
    assert_eq!(texts(Framing::JsonValues, "{\"a\":\"\\\n{\"b\":2}"), ["{\"a\":\"\\", "{\"b\":2}"]);
    assert_eq!(texts(Framing::JsonValues, "{\"a\":1},\n{\"b\": [1, "), ["{\"a\":1}", "{\"b\": [1,"]);
}

#[test]
fn nul_bytes_and_marks_around_records_are_no_part_of_them() {
    for framing in ALL {
        let line_end = if framing == Framing::CrLines { '\r' } else { '\n' };
        let texts = |text: &str| {
            let text = text.replace('\n', &line_end.to_string());
            framing
                .records(text.as_bytes())
                .map(|(_, record)| String::from_utf8(record.to_vec()).unwrap())
                .collect::<Vec<_>>()
        };
        for nuls in ["\0", "\0\0\0", &"\0".repeat(5000)] {
            assert_eq!(texts(&format!("{nuls}{{}}\n{nuls}{{}}{nuls}\n{{}}\n{nuls}")), ["{}"; 3], "{framing:?}");
        }
        assert_eq!(texts("\u{feff}{}\n\u{feff}\0\u{feff}{}\n"), ["{}"; 2], "{framing:?}");
        // A crash cuts a record, and the next one follows what was never written.
        assert_eq!(texts("{\"a\"\0\0\0\0\0\0{}\n{}"), ["{\"a\"", "{}", "{}"], "{framing:?}");
        // Fewer of them are data.
        if framing != Framing::JsonValues {
            assert_eq!(texts("a\0\0b\n"), ["a\0\0b"], "{framing:?}");
        }
    }
    assert_eq!(texts(rows(2), "a,\"b\0\0\0\0c,d\n"), ["a,\"b", "c,d"]);
}

/// Texts in which each mark of each framing is frequent.
fn texts_of_all() -> impl Strategy<Value = String> {
    "([\\[\\]{},:;\" \\\\\n\r]|\r\n|\"\"|a|\u{1e}|\\{\"a\":1\\}|,\"|\0|\0\0\0\0\0|\u{feff}|a,b\n){0,40}"
}

proptest! {
    #[test]
    fn records_are_those_of_the_definition(text in texts_of_all()) {
        let bytes = text.as_bytes();
        for framing in ALL {
            let ends = spans(framing, bytes);
            prop_assert_eq!(framing.boundary(bytes), ends.last().copied(), "{:?}", framing);
            let mut from = 0;
            let mut expected = Vec::new();
            for end in ends.into_iter().chain([bytes.len()]) {
                let start = from + separators(framing, &bytes[from..end]);
                let mut record = &bytes[start..end];
                if framing != Framing::JsonValues {
                    record = record.strip_suffix(b"\n").map_or(record, |line| line);
                    record = record.strip_suffix(b"\r").unwrap_or(record);
                }
                while let [rest @ .., 0] = record {
                    record = rest;
                }
                match framing {
                    Framing::JsonValues => record = record.trim_ascii_end(),
                    Framing::Rows(_) => {}
                    _ if record.trim_ascii().is_empty() => record = &[],
                    _ => {}
                }
                if !record.is_empty() {
                    expected.push((start, record));
                }
                from = end;
            }
            prop_assert_eq!(framing.records(bytes).collect::<Vec<_>>(), expected, "{:?}", framing);
        }
    }

    #[test]
    fn a_stream_may_be_cut_at_any_boundary(text in texts_of_all(), fields in 0..4_u32, limit in prop_oneof![Just(5_u32), Just(1000)]) {
        let bytes = text.as_bytes();
        let rows = Framing::Rows(Dialect { fields, limit, ..Dialect::default() });
        for framing in [Framing::Lines, Framing::CrLines, rows, Framing::JsonValues] {
            let records: Vec<_> = framing.records(bytes).collect();
            let mut end = 0;
            while let Some(length) = framing.end(&bytes[end..], false) {
                end += length;
                let (left, right) = bytes.split_at(end);
                let halves = framing.records(left).chain(framing.records(right).map(|(at, record)| (at + end, record)));
                prop_assert_eq!(&halves.collect::<Vec<_>>(), &records, "{:?} at {}", framing, end);
            }
            prop_assert_eq!(framing.boundary(bytes).unwrap_or(0), end);

            // Nothing is lost: what is in no record separates records.
            let mut rest = bytes.to_vec();
            for (at, record) in &records {
                prop_assert_eq!(&bytes[*at..at + record.len()], *record);
                rest[*at..at + record.len()].fill(b' ');
            }
            let blank: &[u8] = if framing == Framing::JsonValues { b" \n\r\t,[]\x1e" } else { b" \n\r\t" };
            let rest = String::from_utf8(rest).unwrap().replace(['\0', '\u{feff}'], "");
            prop_assert!(rest.bytes().all(|byte| blank.contains(&byte)), "{:?} {:?}", framing, rest);
        }
    }

    /// A record that is too large ends where it ends when it is seen whole.
    #[test]
    fn a_large_record_ends_in_pieces_where_it_ends_as_a_whole(text in texts_of_all(), piece in 1..8_usize) {
        let bytes = text.as_bytes();
        let limit = 3;
        let rows = Framing::Rows(Dialect { limit, ..Dialect::default() });
        for framing in [Framing::Lines, Framing::CrLines, rows, Framing::JsonValues] {
            let separators = framing.separators(bytes);
            let end = framing.end(bytes, false);
            let is_large = end.unwrap_or(bytes.len()) - separators > limit as usize + 2;
            // A mark that is cut in two is no part of a large record in practice: sources look at whole ones first.
            if !is_large || separators > 0 {
                continue;
            }
            let mut scanner = Scanner::new(framing);
            let mut found = None;
            for (index, piece_bytes) in bytes.chunks(piece).enumerate() {
                if let Some(length) = scanner.end(piece_bytes) {
                    found = Some(index * piece + length);
                    break;
                }
            }
            prop_assert_eq!(found, end, "{:?}", framing);
        }
    }

    /// Rows of an RFC 4180 writer are found again, whatever is in them, and a lost quote among them takes one row.
    #[test]
    fn what_was_written_is_found(
        rows in prop::collection::vec(prop::collection::vec("[ab,\" \n]{0,6}", 3), 1..12),
        lost in any::<prop::sample::Index>(),
    ) {
        let write = |cell: &String| format!("\"{}\"", cell.replace('"', "\"\""));
        let rows: Vec<String> = rows.iter().map(|row| row.iter().map(write).collect::<Vec<_>>().join(",")).collect();
        let framing = Framing::Rows(Dialect { fields: 3, ..Dialect::default() });
        let text = rows.join("\n") + "\n";
        prop_assert_eq!(texts(framing, &text), rows.iter().map(String::as_str).collect::<Vec<_>>());

        let plain: Vec<String> = (0..rows.len() + 3).map(|row| format!("u{row},{row},x")).collect();
        let mut with = plain.clone();
        with.insert(lost.index(plain.len()), "u,1,\"blue shoes".into());
        let text = with.join("\n") + "\n";
        prop_assert_eq!(texts(framing, &text), with);
    }

    #[test]
    fn a_dialect_is_the_same_after_the_queue(
        bytes in any::<[u8; 4]>(), flags in any::<[bool; 4]>(), fields: u32, limit: u32
    ) {
        let [delimiter, quote, escape, comment] = bytes;
        let dialect = Dialect {
            delimiter,
            quote: flags[0].then_some(quote),
            escape: flags[1].then_some(escape),
            spaced: flags[2],
            comment: flags[3].then_some(comment),
            line_end: b'\n',
            fields,
            limit,
        };
        prop_assert_eq!(Dialect::decode(&dialect.encode()), Some(dialect));
    }
}
