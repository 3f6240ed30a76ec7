//! The text of a configuration for files that have none: what `replay` used, and what `init` proposes.

use headwater_decode::path::Path;
use headwater_decode::spec::{Candidate, Format};
use headwater_decode::transform::Transform;
use std::fmt::Write;

/// A configuration in the making.
#[derive(Clone, Debug, Default)]
pub struct Sketch {
    /// Lines above everything, without `#`.
    pub head: Vec<String>,
    pub sources: Vec<SourceSketch>,
    /// As typed, with a remark.
    pub gap: String,
    pub gap_remark: String,
    /// Lines at the end, without `#`.
    pub tail: Vec<String>,
}

#[derive(Clone, Debug)]
pub struct SourceSketch {
    pub name: String,
    pub paths: Vec<String>,
    pub format: Format,
    pub unwrap: Option<String>,
    pub explode: Option<String>,
    pub time_formats: Vec<String>,
    pub user: Role,
    pub time: Role,
    pub kind: Role,
}

/// The candidates of a role.
#[derive(Clone, Debug, Default)]
pub struct Role {
    pub candidates: Vec<Candidate>,
    pub remark: String,
}

impl Sketch {
    /// Returns the text. It is a configuration that reads as the sketch says.
    pub fn text(&self) -> String {
        let mut out = String::new();
        // Writing into a string does not fail.
        let _ = self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        for line in &self.head {
            writeln!(out, "{}", format!("# {}", one_line(line)).trim_end())?;
        }
        for source in &self.sources {
            if !out.is_empty() {
                writeln!(out)?;
            }
            writeln!(out, "[[source]]\nname = {}", quoted(&source.name))?;
            let paths: Vec<String> = source.paths.iter().map(|path| quoted(path)).collect();
            writeln!(out, "paths = [{}]", paths.join(", "))?;
            writeln!(out, "format = {}", quoted(source.format.name()))?;
            if let Some(field) = &source.unwrap {
                writeln!(out, "unwrap = {}   # the text of this field is the event", quoted(field))?;
            }
            writeln!(out, "\n[source.events]")?;
            if let Some(explode) = &source.explode {
                writeln!(out, "explode = {}   # each element of this array is an event", quoted(explode))?;
            }
            for (name, role) in [("user", &source.user), ("time", &source.time), ("type", &source.kind)] {
                let remark =
                    if role.remark.is_empty() { String::new() } else { format!("   # {}", one_line(&role.remark)) };
                match role.candidates.is_empty() {
                    true => writeln!(out, "# {name} = \"…\"{remark}")?,
                    false => writeln!(out, "{name} = {}{remark}", candidates(&role.candidates))?,
                }
            }
            if !source.time_formats.is_empty() {
                let formats: Vec<String> = source.time_formats.iter().map(|format| quoted(format)).collect();
                writeln!(out, "time_format = [{}]", formats.join(", "))?;
            }
        }
        let remark = if self.gap_remark.is_empty() { String::new() } else { format!("   # {}", self.gap_remark) };
        writeln!(out, "\n[sessions]\ngap = {}{remark}", quoted(&self.gap))?;
        if !self.tail.is_empty() {
            writeln!(out)?;
        }
        for line in &self.tail {
            writeln!(out, "{}", format!("# {}", one_line(line)).trim_end())?;
        }
        Ok(())
    }
}

pub(crate) fn one_line(text: &str) -> String {
    crate::text::printable(text)
}

/// Returns candidates as a configuration has them.
fn candidates(all: &[Candidate]) -> String {
    let each: Vec<String> = all
        .iter()
        .map(|candidate| match candidate.parts.as_slice() {
            [only] => path(only),
            parts => format!("[{}]", parts.iter().map(path).collect::<Vec<_>>().join(", ")),
        })
        .collect();
    match (each.as_slice(), all) {
        ([one], [candidate]) if candidate.parts.len() == 1 => one.clone(),
        _ => format!("[{}]", each.join(", ")),
    }
}

/// Returns a path, as a table if it has transforms that `as` can name.
fn path(path: &Path) -> String {
    let names: Option<Vec<String>> = path
        .transforms()
        .iter()
        .map(|transform| match transform {
            Transform::Map(_) | Transform::Regex(_) => None,
            plain => Some(quoted(&plain.to_string())),
        })
        .collect();
    match names {
        Some(names) if !names.is_empty() => {
            format!("{{ path = {}, as = [{}] }}", quoted(&path.without_transforms().to_string()), names.join(", "))
        }
        _ => quoted(&path.to_string()),
    }
}

/// Returns a text as a basic string of TOML: the escapes of JSON are among its own.
pub(crate) fn quoted(text: &str) -> String {
    let json = serde_json::to_string(text).unwrap_or_default();
    json.replace('\u{7f}', "\\u007f")
}
