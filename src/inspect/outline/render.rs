//! An outline for a person: within 80 columns, but for names that are longer.

use super::{ANY, Candidates, FileOutline, HttpOutline, Outline, SinkOutline, SourceOutline};
use crate::text::{BOLD, COLUMNS, DIM, Text, plural, printable, span, wrap};
use indicatif::{BinaryBytes, DecimalBytes, HumanCount};
use std::fmt::{self, Write};

/// Files of a source that are shown; the others are counted. JSON has them all.
const FILES_SHOWN: usize = 5;
/// Longest label that others are aligned with.
const LABEL_WIDTH: usize = 24;

impl Outline {
    pub fn render(&self, color: bool) -> String {
        let mut text = Text::new(color);
        // Writing into a string does not fail.
        let _ = self.write(&mut text);
        text.out
    }

    fn write(&self, text: &mut Text) -> fmt::Result {
        text.heading(&format!("plan of {}", self.config))?;
        let files = format!("{} {}, {}", HumanCount(self.files), plural(self.files, "file"), DecimalBytes(self.bytes));
        table(
            text,
            &[
                ("reads", files),
                ("workers", self.workers.to_string()),
                ("gap", span(self.gap_s)),
                ("data_dir", self.data_dir.clone()),
            ],
        )?;
        if self.sources.iter().any(|source| source.posted_to.is_some()) {
            self.http.write(text)?;
        }
        for source in &self.sources {
            source.write(text)?;
        }
        if !self.fields.is_empty() {
            section(text, "fields", "the first path that is present gives the values")?;
            let rows: Vec<_> = self.fields.iter().map(|field| (field.name.as_str(), field.paths.join(", "))).collect();
            table(text, &rows)?;
        }
        if !self.policies.is_empty() {
            section(text, "policies", "what ends a session beside the gap")?;
            let rows: Vec<_> = self.policies.iter().map(|(key, value)| (*key, value.clone())).collect();
            table(text, &rows)?;
        }
        if !self.sum.is_empty() || !self.carry.is_empty() {
            section(text, "sessions", "what their rows keep")?;
            let sums: Vec<_> = self.sum.iter().map(|(sum, field)| format!("{sum} of {field}")).collect();
            let rows = [("sum", sums.join(", ")), ("carry", self.carry.join(", "))];
            table(text, &rows.into_iter().filter(|(_, value)| !value.is_empty()).collect::<Vec<_>>())?;
        }
        section(text, "rules", "in the order tried; the first that holds gives the class")?;
        let mut rows: Vec<_> = self
            .rules
            .iter()
            .map(|rule| (rule.class.as_str(), format!("priority {}: {}", rule.priority, rule.when.join(" and "))))
            .collect();
        rows.push(("(else)", "the type of the event, or unclassified".to_owned()));
        table(text, &rows)?;
        for fault in self.rule_faults.iter().chain(&self.applied) {
            for (number, line) in wrap(&printable(fault), COLUMNS - 4).into_iter().enumerate() {
                writeln!(text.out, "{}{line}", if number == 0 { "  - " } else { "    " })?;
            }
        }
        section(text, "stages", "of the graph")?;
        table(text, &self.stages.iter().map(|stage| (stage.name, stage.does.clone())).collect::<Vec<_>>())?;
        section(text, "outputs", "")?;
        for output in &self.outputs {
            let remark = if output.exists { "  replaces the one that is there" } else { "" };
            writeln!(text.out, "  {}{remark}", printable(&output.path))?;
        }
        self.actions.iter().try_for_each(|action| action.write(text))?;
        self.sinks.iter().try_for_each(|sink| sink.write(text))?;
        let Some(why) = &self.run_refuses else { return Ok(()) };
        section(text, "run", "a run refuses what this replay takes")?;
        table(text, &[("why", why.clone())])
    }
}

impl SinkOutline {
    fn write(&self, text: &mut Text) -> fmt::Result {
        section(text, &format!("sink {}", self.name), "of a run; a replay has none of them")?;
        let rows = match self.changes {
            "added" => "rows that are added",
            "removed" => "rows that are removed",
            _ => "rows that are added or removed",
        };
        let to = match self.kind {
            "http" => "posts to",
            "kafka" => "writes to",
            _ => "appends to",
        };
        let mut table_rows = vec![(to, self.to.clone()), ("takes", format!("{rows}, of {}", self.collection))];
        table_rows.extend(self.when.iter().map(|when| ("when", when.clone())));
        if !self.headers.is_empty() {
            table_rows.push(("headers", self.headers.join(", ")));
        }
        let from = match self.from {
            "now" => "at its first start, with what is published next",
            _ => "at its first start, with the oldest tick that is kept",
        };
        table_rows.push(("begins", from.to_owned()));
        table(text, &table_rows)
    }
}

impl HttpOutline {
    fn write(&self, text: &mut Text) -> fmt::Result {
        section(text, "http", "where a run takes events in; a replay has none of them")?;
        let rate = self.rate.map_or("any number of requests".into(), |rate| format!("{rate} requests a second"));
        let body = format!("{} a request, {rate}", BinaryBytes(self.max_body as u64));
        let mut rows = vec![("listen", self.listen.clone()), ("limits", body)];
        rows.push((
            "tokens",
            self.tokens.clone().unwrap_or_else(|| "none: every client that reaches it may post".into()),
        ));
        if !self.hosts.is_empty() {
            rows.push(("hosts", self.hosts.join(", ")));
        }
        if !self.origins.is_empty() {
            rows.push(("origins", self.origins.join(", ")));
        }
        table(text, &rows)
    }
}

impl SourceOutline {
    fn write(&self, text: &mut Text) -> fmt::Result {
        section(text, &format!("source {}", self.name), "")?;
        let count = self.files.len() as u64;
        let files = format!("{} {}, {}", HumanCount(count), plural(count, "file"), DecimalBytes(self.bytes));
        let mut rows = vec![("kind", self.kind.to_owned())];
        rows.extend(self.posted_to.iter().map(|path| ("posted to", format!("POST {path}"))));
        if let Some(brokers) = &self.brokers {
            rows.extend([("brokers", brokers.clone()), ("topics", self.topics.join(", "))]);
        }
        if self.follow {
            rows.push(("follow", "a run goes on with what is added to its files".to_owned()));
        }
        match (count, self.follow) {
            (0, true) => rows.push(("files", "none yet".to_owned())),
            (0, false) if self.posted_to.is_some() || self.brokers.is_some() => {}
            _ => rows.push(("files", files)),
        }
        rows.extend(self.files.iter().take(FILES_SHOWN).map(|file| ("", file.line())));
        if self.files.len() > FILES_SHOWN {
            rows.push(("", format!("{} more", HumanCount((self.files.len() - FILES_SHOWN) as u64))));
        }
        rows.push(("format", self.formats()));
        let candidates = [("user", &self.user), ("time", &self.time), ("type", &self.kind_of_event), ("id", &self.id)];
        for (name, candidates) in candidates {
            rows.extend(candidates.rows(name));
        }
        rows.push((
            "dedupe",
            match self.dedupe_s {
                Some(horizon) => format!("an id again within {} of event time is a duplicate", span(horizon)),
                None => "off: every record counts".to_owned(),
            },
        ));
        rows.extend(self.explode.iter().map(|path| ("explode", format!("each element of {path} is an event"))));
        rows.push(("zone", format!("{}, for times that carry none", self.zone)));
        let limits = format!(
            "{} a record, {} levels, {} keys",
            BinaryBytes(self.max_bytes as u64),
            self.max_depth,
            HumanCount(self.max_keys as u64)
        );
        rows.push(("limits", limits));
        table(text, &rows)
    }

    /// Returns the formats of the files, with the number of each if they differ.
    fn formats(&self) -> String {
        let mut kinds: Vec<(String, usize)> = Vec::new();
        for kind in self.files.iter().map(FileOutline::kind) {
            match kinds.iter_mut().find(|(known, _)| *known == kind) {
                Some((_, count)) => *count += 1,
                None => kinds.push((kind, 1)),
            }
        }
        if kinds.is_empty() {
            return match (&self.posted_to, self.format) {
                (Some(_), _) => "json (the only one that can be posted)".to_owned(),
                (None, Some(format)) => format!("{format} (configured)"),
                (None, None) => "told by the content".to_owned(),
            };
        }
        let told = if self.format.is_some() { "configured" } else { "told by the content" };
        match kinds.as_slice() {
            [(only, _)] => format!("{only} ({told})"),
            several => {
                let several = several.iter().map(|(kind, count)| format!("{count} × {kind}"));
                format!("{} ({told})", several.collect::<Vec<_>>().join(", "))
            }
        }
    }
}

impl FileOutline {
    fn line(&self) -> String {
        let not_yet = self.not_yet.as_ref().map(|why| format!("  not yet: {why}")).unwrap_or_default();
        format!("{}  {}{not_yet}", self.path, DecimalBytes(self.bytes))
    }

    fn kind(&self) -> String {
        let (Some(format), Some(framing)) = (self.format, self.framing) else { return "not looked into".to_owned() };
        let framing = match (format, framing) {
            ("json", "lines") => ", one object a line",
            ("json", _) => ", objects over lines or in arrays",
            ("csv", _) => ", rows below a header",
            _ => ", lines of a web server",
        };
        let compression = self.compression.map(|name| format!(", {name}")).unwrap_or_default();
        format!("{format}{framing}{compression}")
    }
}

/// Built-in names that the text shows.
const BUILT_IN_SHOWN: usize = 8;

impl Candidates {
    fn rows<'n>(&self, name: &'n str) -> Vec<(&'n str, String)> {
        if self.paths.is_empty() {
            return vec![(name, "none configured".to_owned())];
        }
        let row = |(index, (format, paths)): (usize, (&&str, &Vec<String>))| {
            let of = if *format == ANY || self.paths.len() == 1 { String::new() } else { format!(" of {format}") };
            // The built-in ones are many. JSON has them all.
            let shown = if self.from == "built-in" { paths.len().min(BUILT_IN_SHOWN) } else { paths.len() };
            let more = match paths.len() - shown {
                0 => String::new(),
                more => format!(" and {more} more names, each in every spelling"),
            };
            (if index == 0 { name } else { "" }, format!("{}{more} ({}{of})", paths[..shown].join(", "), self.from))
        };
        self.paths.iter().enumerate().map(row).collect()
    }
}

pub(super) fn section(text: &mut Text, name: &str, remark: &str) -> fmt::Result {
    let ((bold, plain), (dim, _)) = (text.style(BOLD), text.style(DIM));
    write!(text.out, "\n{bold}{}{plain}", printable(name))?;
    if !remark.is_empty() {
        write!(text.out, "  {dim}{remark}{plain}")?;
    }
    writeln!(text.out)
}

/// Labels and values, aligned; values go on below themselves.
pub(super) fn table(text: &mut Text, rows: &[(&str, String)]) -> fmt::Result {
    let rows: Vec<_> = rows.iter().map(|(label, value)| (printable(label), value)).collect();
    let widths = rows.iter().map(|(label, _)| label.chars().count());
    // The sections of a plan look alike: most labels are shorter than this.
    let width = widths.filter(|width| *width <= LABEL_WIDTH).max().unwrap_or(0).max(11);
    rows.iter().try_for_each(|(label, value)| text.row(label, width, value))
}
