//! [`LogReader`] and [`PairsReader`]: any layout and any line are read without a panic, and what a server writes in a
//! layout is read back.
//!
//! The first byte of the input says whether the rest is a layout and a line, with a line feed between them, or chooses
//! the fields of a line.

use super::Choices;
use headwater_decode::log::named::Named;
use headwater_decode::log::{Heading, LogReader};
use headwater_decode::pairs::{Pairs, PairsReader};
use headwater_decode::path::Path;
use headwater_decode::path_set::PathSet;
use headwater_decode::prefix::Prefix;
use headwater_decode::reading::Reading;
use std::sync::Arc;

const NAMES: [&str; 6] = ["host", "vhost", "time", "path", "agent", "x_id"];

pub fn check(data: &[u8]) {
    let Some((options, rest)) = data.split_first() else { return };
    match options % 4 {
        0 => rendered(&mut Choices(rest)),
        1 => {
            let mut halves = rest.splitn(2, |byte| *byte == b'\n');
            let layout = String::from_utf8_lossy(halves.next().unwrap_or_default()).into_owned();
            lines(layout, options >> 2, halves.next().unwrap_or_default());
        }
        2 => lines(Named::ALL[usize::from(options >> 2) % Named::ALL.len()].name().into(), options >> 4, rest),
        _ => pairs(rest),
    }
}

fn paths() -> Arc<PathSet> {
    let mut paths = PathSet::default();
    NAMES.iter().for_each(|name| _ = paths.add(&Path::parse(name).unwrap()));
    Arc::new(paths)
}

fn lines(layout: String, prefix: u8, line: &[u8]) {
    let prefix = Prefix::NAMED.get(usize::from(prefix)).cloned();
    let heading = Heading { layout, prefix };
    assert_eq!(Heading::parse(heading.text().as_bytes()).text(), heading.text());
    let Ok(mut reader) = LogReader::new(&heading, &paths()) else { return };
    let mut reading = Reading::default();
    match reader.read(line, &mut reading) {
        Ok(()) => assert!(reading.shape.is_some()),
        Err(fault) => assert!(reading.is_empty() && reading.shape.is_none() && !fault.message.is_empty()),
    }
}

fn pairs(line: &[u8]) {
    for pairs in [Pairs::Ltsv, Pairs::Logfmt, Pairs::Text] {
        let mut reading = Reading::default();
        let read = PairsReader::new(pairs, &paths(), 64).read(line, &mut reading);
        assert_eq!(read.is_ok(), reading.shape.is_some());
        if let Ok(text) = std::str::from_utf8(line) {
            assert!(pairs == Pairs::Text || !pairs.fits(text) || pairs.of(text).count() > 1);
        }
    }
}

/// A line in the layout of Apache and nginx, with what is in quotes escaped.
fn rendered(choices: &mut Choices) {
    const TEXTS: [&str; 7] = ["a", "/x", "b c", "\"q\"", "\\", "é", "[y] 200"];
    let host = choices.of(&["203.0.113.5", "::1", "u"]);
    let vhost = choices.of(&["shop.example:443", "shop"]);
    let path = format!("/{}", choices.of(&TEXTS));
    let agent = choices.of(&TEXTS).to_owned() + choices.of(&TEXTS);
    let escape = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
    let time = "17/May/2015:10:05:03 +0000";
    let line = format!("{vhost} {host} [{time}] \"GET {} HTTP/1.1\" 200 \"{}\" 7", escape(&path), escape(&agent));
    let layouts = [
        r#"%v %h %t "%r" %>s "%{User-Agent}i" %{X-Id}i"#,
        r#"$host $remote_addr [$time_local] "$request" $status "$http_user_agent" $http_x_id"#,
    ];
    for layout in layouts {
        let heading = Heading { layout: layout.into(), prefix: None };
        let mut reading = Reading::default();
        LogReader::new(&heading, &paths()).unwrap().read(line.as_bytes(), &mut reading).unwrap();
        let read: Vec<&str> = (0..6).map(|slot| reading.first(slot).map_or("", |value| value.text)).collect();
        assert_eq!(read, [host, vhost, time, &path, &agent, "7"], "{line}");
    }
}
