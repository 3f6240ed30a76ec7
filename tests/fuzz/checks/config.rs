//! The configuration: any text becomes a plan that explains events, or errors with a place in the text.
//!
//! The input is the text itself.

use headwater::config::{self, ConfigError, Overrides};
use headwater::inspect::explain::explain;
use headwater::plan::Plan;
use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme, NarratableReportHandler};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const EVENTS: [&str; 4] = [
    r#"{"user_id":"u","a":{"b":[1,{"c":"2024-05-01"}]},"type":"x","ts":1714557600,"events":[{"type":"y"},7]}"#,
    "user_id,ts,type,a.b\nu,2024-05-01,x,1\nv,,,\n",
    "h - - [17/May/2015:10:05:03 +0000] \"GET /a HTTP/1.1\" 200 5 \"-\" \"a\"",
    "\u{1b}[31m",
];

pub fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let overrides = [
        Overrides::default(),
        Overrides { without_files: true, ..Overrides::default() },
        Overrides {
            workers: Some(2),
            gap: Some(5),
            files: vec![PathBuf::from("/srv/a/b.json")],
            without_files: false,
            ..Overrides::default()
        },
    ];
    let [plain, without_files, with_file] =
        overrides.map(|overrides| config::parse("fuzz.toml", text, Path::new("/srv"), &overrides));
    for result in [&plain, &without_files, &with_file] {
        match result {
            Ok(plan) => consistent(plan),
            Err(error) => shown(error, text),
        }
    }
    // A configuration that is enough for a replay is also enough where no files are needed.
    assert!(without_files.is_ok() || plain.is_err());
    let Ok(plan) = without_files else { return };
    if let Ok(with_file) = with_file {
        assert_eq!((with_file.workers, with_file.sessions.gap), (2, 5));
        assert_eq!(with_file.sources.iter().map(|source| source.paths.len()).sum::<usize>(), 1);
        assert_eq!(format!("{:?}", with_file.rules), format!("{:?}", plan.rules));
    }
    let plan = Arc::new(plan);
    for source in plan.sources.iter().take(2) {
        for event in EVENTS {
            _ = explain(&plan, Some(&source.name), event.as_bytes(), None, false);
        }
    }
}

/// Every index of a plan leads to something, and every number is within its limits.
fn consistent(plan: &Plan) {
    assert!(!format!("{plan:?}").is_empty());
    assert!((1..=1024).contains(&plan.workers) || plan.workers > 0);
    assert!(!plan.sources.is_empty() && plan.sessions.gap >= 0);
    assert!(plan.fields.iter().all(|field| !field.candidates.is_empty()));
    let fields = plan.sessions.sums.iter().map(|(_, field)| *field).chain(plan.sessions.carry.iter().copied());
    assert!(fields.chain(plan.tests.iter().map(|test| test.field)).all(|field| field < plan.fields.len()));
    for (order, rule) in plan.rules.iter().enumerate() {
        assert!(rule.order as usize == order && !rule.name.is_empty());
        rule.when.each(&mut |condition| assert!((condition.test as usize) < plan.tests.len()));
    }
    for source in &plan.sources {
        assert!(!source.name.is_empty());
        let events = &source.events;
        let candidates = [&events.user, &events.time, &events.kind].into_iter().flatten().chain([&events.id]);
        assert!(candidates.flatten().all(|candidate| !candidate.parts.is_empty()));
        assert!(events.user.as_ref().is_none_or(|candidates| !candidates.is_empty()));
        assert!(events.dedupe.is_none_or(|horizon| horizon >= 0) && (events.dedupe.is_none() || !events.id.is_empty()));
        assert!(events.max_future >= 0 && events.limits.event_bytes >= 1 && events.limits.event_bytes <= 1 << 30);
        assert!(headwater_decode::time::TimeReader::of(&events.times()).is_ok());
        assert!(events.explode.as_ref().is_none_or(headwater_decode::path::Path::is_plain));
    }
}

/// An error that has a place has it within the text, and can be shown, in colours and in words.
fn shown(error: &ConfigError, text: &str) {
    let mut places = 0;
    place(error, text, &mut places);
    if let ConfigError::Invalid(_) = error {
        assert!(places > 0, "{error}");
    }
    let mut report = String::new();
    GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor())
        .with_width(80)
        .render_report(&mut report, error)
        .unwrap();
    NarratableReportHandler::new().render_report(&mut report, error).unwrap();
    assert!(
        report.contains(&error.to_string().chars().take(10).collect::<String>())
            || error.to_string().contains(char::is_control)
    );
}

fn place(error: &dyn Diagnostic, text: &str, places: &mut usize) {
    assert!(!error.to_string().is_empty());
    assert!(error.help().is_none_or(|help| !help.to_string().is_empty()));
    for label in error.labels().into_iter().flatten() {
        let (start, end) = (label.offset(), label.offset() + label.len());
        assert!(text.get(start..end).is_some(), "{start}..{end} of {} bytes: {error}", text.len());
        *places += 1;
    }
    error.related().into_iter().flatten().for_each(|error| place(error, text, places));
}
