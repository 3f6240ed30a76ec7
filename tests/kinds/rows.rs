//! Rows of delimited text: quotes, headers, what stands above them, and what is no table.

use super::{counts, property, refused, replay, skipped};
use proptest::prelude::*;

fn of_rows(more: &str) -> String {
    format!("[[source]]\nname = 'a'\npaths = 'x'\nformat = 'csv'\n{more}\n")
}

/// A quote that is never closed harms its row, wherever that is, and however many rows follow.
#[test]
fn a_lost_quote_harms_one_row() {
    let row = |number: usize| format!("u{},2024-05-01T10:{:02}:00Z,view,item {number}\n", number % 3, number % 60);
    let rows: String = (0..60_000).map(row).collect();
    let found = replay(
        "",
        "big.csv",
        format!("user_id,ts,event,q\n{}u1,2024-05-01T10:00:00Z,search,\"blue shoes\n{rows}", row(1)),
    );
    assert_eq!(counts(&found), (60_001, 3, 1));

    let cell =
        prop::sample::select(vec!["x", "\"a, b\"", "\"say \"\"hi\"\"\"", "\"two\nlines\"", "5\" pipe", "", "a;\"b"]);
    let input =
        (prop::collection::vec(cell, 1..12), any::<prop::sample::Index>(), prop::sample::select(vec!["\n", "\r\n"]));
    property(&input, |(cells, lost, line_end)| {
        let mut rows: Vec<String> = (cells.iter().enumerate())
            .map(|(number, cell)| format!("u{},2024-05-01T10:{number:02}:00Z,{cell},e", number % 3))
            .collect();
        let good = rows.len() as u64;
        rows.insert(lost.index(rows.len() + 1), "u1,2024-05-01T10:00:00Z,\"blue shoes,e".into());
        let text = format!("user_id,ts,q,event{line_end}{}{line_end}", rows.join(line_end));
        let found = replay("", "app.csv", &text);
        prop_assert_eq!((found.number("events"), found.number("dead_letters")), (good, 1), "{}", text);
        Ok(())
    });
}

#[test]
fn rows_are_read_in_the_dialect_of_their_file() {
    let cases = [
        // Quotes behind what is no delimiter here.
        (
            "user_id,ts,event,agent\nu1,1714557600,view,text/html;\"q=1\"\nu1,1714557601,view,x|\"a\nu2,1714557602,buy,z\"\n",
            3,
        ),
        ("user_id, ts, event, item\nu1, 1714557600, view, \"a, b\"\nu2, 1714557601, view, \"c\"\n", 2),
        (
            "user_id,ts,event,props\nu1,1714557600,view,\"{\\\"a\\\":1,\\\"b\\\":2}\"\nu2,1714557601,buy,\"say \\\"hi\\\"\"\nu2,1714557602,buy,\"\"\n",
            3,
        ),
        ("user_id\tts\tevent\nu1\t1714557600\t\"blue shoes\nu2\t1714557601\tview\n", 2),
        ("\"user_id\"\t\"ts\"\t\"event\"\n\"u1\"\t\"1714557600\"\t\"a\tb\"\n\"u2\"\t\"1714557601\"\t\"c\"\n", 2),
    ];
    for (text, events) in cases {
        assert_eq!(counts(&replay("", "app.csv", text)), (events, 2, 0), "{text}");
    }
    let found =
        replay(&of_rows("quote = ''"), "app.csv", "user_id,ts,event\nu1,1714557600,\"view\nu2,1714557601,buy\n");
    assert_eq!((counts(&found), found.numbers("classes").len()), ((2, 2, 0), 2));
    let found =
        replay(&of_rows("delimiter = '^'\nquote = \"'\""), "app.csv", "user_id^ts^event\n'u^1'^1714557600^view\n");
    assert_eq!((counts(&found), found.sessions[0]["user"].as_str()), ((1, 1, 0), "u^1"));
}

#[test]
fn what_stands_above_a_header_is_no_row() {
    let rows = "user_id;ts;event\nu1;2024-05-01T10:00:00Z;a\nu1;2024-05-01T10:01:00Z;b\n";
    for config in ["", &of_rows("")] {
        for above in
            ["", "sep=;\n", "\"sep=;\"\r\n", "# exported 2024-05-01, by tool\n", "# a\n#b\n\n", "\u{feff}\n \n"]
        {
            let found = replay(config, "app.csv", format!("{above}{rows}"));
            assert_eq!(counts(&found), (2, 1, 0), "{above:?} {config}");
        }
        let marked = replay(config, "app.csv", format!("#{rows}"));
        assert_eq!(counts(&marked), (2, 1, 0));
        let repeated = replay(config, "app.csv", format!("{rows}{rows}{rows}"));
        assert_eq!((counts(&repeated), skipped(&repeated, "headers")), ((6, 1, 0), 17 + 2 * 16));
    }
    let config = of_rows("skip = 2\ncomment = ';'\ndelimiter = ','");
    let text = "Report\n\nuser_id,ts,event\n;note, with \"quotes\nu1,2024-05-01T10:00:00Z,a\n";
    let found = replay(&config, "app.csv", text);
    assert_eq!((counts(&found), skipped(&found, "lines_above"), skipped(&found, "comments")), ((1, 1, 0), 8, 19));
}

#[test]
fn rows_without_a_header_are_told_or_read() {
    let rows = "u1,2024-05-01T10:00:00Z,a\nu2,2024-05-01T10:01:00Z,b\n";
    refused("", "app.csv", rows, &["rows of 3 fields", "header = false"]);
    let numbers = rows.replace('u', "");
    refused("", "app.csv", &numbers, &["rows of 3 fields", "header = false"]);
    let events = "[events]\nuser = 'column_1'\ntime = 'column_2'\ntype = 'column_3'\n";
    for config in
        [of_rows(""), of_rows("header = false"), "[[source]]\nname = 'a'\npaths = 'x'\nheader = false\n".into()]
    {
        assert_eq!(counts(&replay(&format!("{config}{events}"), "app.csv", rows)), (2, 2, 0), "{config}");
    }
    let named = of_rows("header = ['user_id', 'ts', 'event']");
    assert_eq!(counts(&replay(&named, "app.csv", rows)), (2, 2, 0));
    // It is there all the same.
    assert_eq!(counts(&replay(&named, "app.csv", format!("user_id,ts,event\n{rows}"))), (2, 2, 0));
}

#[test]
fn a_name_that_comes_twice_gets_a_number() {
    let config = "[fields]\nsecond = 'tag_2'\n[sessions]\ncarry = 'second'";
    let found = replay(config, "app.csv", "user_id,ts,event,tag,tag\nu1,2024-05-01T10:00:00Z,a,x,y\n");
    assert_eq!((counts(&found), found.sessions[0]["entry_second"].as_str()), ((1, 1, 0), "y"));
    assert!(found.summary["notes"][0]["message"].as_str().unwrap().ends_with("`tag_2`"), "{}", found.summary);
}

#[test]
fn prose_is_no_table() {
    let cases = [
        "track({\"user_id\":\"u1\",\"ts\":1714557600,\"event\":\"a\"});\n",
        "WARN 2024-05-01T10:00:00Z worker-0 lost heartbeat, retrying\n",
        "From: a, b\nTo: c, d\nHello, world\nBye, now\n",
        "Dear all, we met, and agreed, that user, time and event matter\n",
        "key; value; other\nx; y; z\n",
    ];
    for text in cases {
        refused("", "notes.txt", text.repeat(3), &["cannot detect the format"]);
    }
}
