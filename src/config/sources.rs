//! `[[source]]`: the places that events come from. Also assigns the files of the command line to the sources.

use super::argument::STANDARD_INPUT;
use super::error::{ConfigError, Problems, choose};
use super::events::Keys;
use super::kafka;
use super::syntax;
use super::typed::{File, OneOrMany, Source};
use crate::plan::{Gaps, SourceKind, SourcePlan};
use crate::source::{follow, kafka as topics};
use glob::{MatchOptions, Pattern};
use headwater_decode::spec::{FieldPlan, Format};
use headwater_decode::syntax::Syntax;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use toml::Spanned;

const KINDS: [&str; 5] = ["file", "kafka", "http", "landing", "generator"];
/// Rows of it are read as JSON.
const PARQUET: &str = "parquet";
const READS: &str =
    "this version reads kind = \"file\" with `paths`, kind = \"http\", and kind = \"kafka\" with `topics`";
/// A format of records of Kafka that asks for a registry of schemas.
const AVRO: &str = "avro";
const AVRO_HELP: &str = "let the producer write JSON, or let a connector convert the topic into another one, and write \
                         format = \"json\"";
const READABLE: &str =
    "this version reads json, csv, clf, log, ltsv and logfmt, plain or compressed with gzip or zstd, and parquet";

/// Name of the source that a configuration without `[[source]]` has.
const FILES: &str = "files";

/// `needs_paths`: the command line does not say which files to read, and it has to be known.
pub(super) fn check(
    typed: &[Spanned<Source>],
    base: &Keys,
    folder: &Path,
    needs_paths: bool,
    problems: &mut Problems,
) -> Vec<SourcePlan> {
    if typed.is_empty() {
        base.check_dedupe(base.has_id(), problems);
        let events = Keys::default().over(base);
        let kind = SourceKind::File { follow: false };
        let (paths, kafka, format, syntax) = (Vec::new(), None, None, Arc::default());
        let is_implied = true;
        return vec![SourcePlan { name: FILES.into(), kind, paths, kafka, format, syntax, events, is_implied }];
    }
    let mut names = HashSet::new();
    let mut any_id = base.has_id();
    let mut sources = Vec::new();
    for source in typed {
        let keys = Keys::check(&source.get_ref().events, problems);
        keys.check_dedupe(keys.has_id() || base.has_id(), problems);
        any_id |= keys.has_id();
        let name = name(source, &mut names, problems);
        let kind = kind(source, problems);
        let format = source.get_ref().format.as_ref().and_then(|typed| {
            let format = check_format(typed, kind, problems);
            if kind == SourceKind::Http && format.is_some_and(|format| format != Format::Json) {
                problems.push(typed.span(), "events are posted as JSON only", "leave `format` out");
            }
            format
        });
        let kafka = match kind {
            SourceKind::Kafka => Some(kafka::check(source, format, folder, problems)),
            _ => {
                kafka::refuse(source.get_ref(), problems);
                None
            }
        };
        // What a message holds is not recognised: there is no file that would stay as it is.
        let format = format.or((kind == SourceKind::Kafka).then_some(Format::Json));
        if let (Some(unwrap), Some(_)) = (&source.get_ref().unwrap, &keys.explode) {
            problems.push(unwrap.span(), "a source has `unwrap` or `explode`, not both", "leave one of them out");
        }
        sources.push(SourcePlan {
            name,
            kind,
            kafka,
            paths: paths(source, folder, needs_paths, problems),
            format,
            syntax: Arc::new(syntax::check(source.get_ref(), format, problems)),
            events: keys.over(base),
            is_implied: false,
        });
    }
    base.check_dedupe(any_id, problems);
    if typed.len() > usize::from(u16::MAX) {
        problems.push(
            typed[usize::from(u16::MAX)].span(),
            "more than 65,535 sources",
            "use globs and folders in `paths`",
        );
    }
    sources
}

/// Reports what a replay takes and a run refuses: records of files that fit into no delivery.
pub(super) fn check_for_run(typed: &File, sources: &[SourcePlan], problems: &mut Problems) {
    let mut told = HashSet::new();
    let own = typed.source.0.iter().map(|source| source.get_ref().events.max_bytes.as_ref());
    for (plan, own) in sources.iter().zip(own.chain(std::iter::once(None))) {
        let Some(max_bytes) = own.or(typed.events.max_bytes.as_ref()) else { continue };
        let (limit, of) = match plan.kind {
            SourceKind::File { .. } => (follow::EVENT_BYTES, "files"),
            SourceKind::Kafka => (topics::EVENT_BYTES, "topics"),
            SourceKind::Http => continue,
        };
        if plan.events.limits.event_bytes > limit && told.insert(max_bytes.span().start) {
            let message = format!("a run takes at most {limit} bytes a record from {of}");
            problems.push(max_bytes.span(), message, "write at most \"15MiB\"");
        }
    }
}

fn name<'t>(source: &'t Spanned<Source>, names: &mut HashSet<&'t str>, problems: &mut Problems) -> String {
    let Some(name) = &source.get_ref().name else {
        problems.push(source.span(), "a [[source]] without `name`", "add name = \"...\"");
        return String::new();
    };
    if name.get_ref().is_empty() {
        problems.push(name.span(), "the name of the source is empty", "write a name that reports can use");
    } else if !names.insert(name.get_ref()) {
        problems.push(
            name.span(),
            format!("two sources have the name `{}`", name.get_ref()),
            "give each source a name of its own",
        );
    }
    name.get_ref().clone()
}

fn kind(source: &Spanned<Source>, problems: &mut Problems) -> SourceKind {
    let Source { kind, follow, .. } = source.get_ref();
    let follow = follow.as_ref().filter(|follow| *follow.get_ref());
    match kind.as_ref().map(|kind| (kind.get_ref().as_str(), kind.span())) {
        None | Some(("file", _)) => SourceKind::File { follow: follow.is_some() },
        Some(("http", _)) => {
            if let Some(follow) = follow {
                problems.push(follow.span(), "only files can be followed", "leave `follow` out");
            }
            SourceKind::Http
        }
        Some(("kafka", _)) => {
            if let Some(follow) = follow {
                problems.push(
                    follow.span(),
                    "only files can be followed",
                    "leave `follow` out: a run always goes on with what is added to topics",
                );
            }
            SourceKind::Kafka
        }
        Some((kind, span)) => {
            if KINDS.contains(&kind) {
                problems.push(span, format!("a source of kind `{kind}` cannot be read"), READS);
            } else {
                problems.push(span, format!("unknown kind of source `{kind}`"), choose(kind, &KINDS, READS));
            }
            SourceKind::Http
        }
    }
}

fn check_format(format: &Spanned<String>, kind: SourceKind, problems: &mut Problems) -> Option<Format> {
    let name = format.get_ref().as_str();
    let known = Format::ALL.into_iter().find(|known| known.name() == name);
    if known.is_none() && name == AVRO && kind == SourceKind::Kafka {
        problems.push(format.span(), "records of format `avro` cannot be read", AVRO_HELP);
    } else if name == PARQUET && matches!(kind, SourceKind::File { .. }) {
        return Some(Format::Json);
    } else if known.is_none() {
        let names = Format::ALL.map(Format::name);
        let names = [&names[..], &[PARQUET]].concat();
        problems.push(format.span(), format!("unknown format `{name}`"), choose(name, &names, READABLE));
    }
    known
}

/// Adds what the settings of each source and the fields ask for: a row that names none of it is no header.
pub(super) fn want(sources: &mut [SourcePlan], fields: &[FieldPlan]) {
    for source in sources {
        let wanted = source.events.wanted(fields);
        source.syntax = Arc::new(Syntax { wanted, ..(*source.syntax).clone() });
    }
}

fn paths(source: &Spanned<Source>, folder: &Path, needed: bool, problems: &mut Problems) -> Vec<PathBuf> {
    const HELP: &str = "name files, folders or globs, such as paths = [\"logs/**/*.jsonl.gz\"]";
    let is_file = source.get_ref().kind.as_ref().is_none_or(|kind| kind.get_ref() == "file");
    let Some(typed) = &source.get_ref().paths else {
        if needed && is_file {
            problems.push(source.span(), "a [[source]] of files without `paths`", HELP);
        }
        return Vec::new();
    };
    let texts: Vec<_> = match typed.get_ref() {
        OneOrMany::One(text) => vec![(text, typed.span())],
        OneOrMany::Many(texts) => texts.iter().map(|text| (text.get_ref(), text.span())).collect(),
    };
    if !is_file {
        problems.push(typed.span(), "only a source of files has `paths`", "leave `paths` out");
        return Vec::new();
    }
    if texts.is_empty() {
        problems.push(typed.span(), "no paths: the list is empty", HELP);
    }
    let mut paths = Vec::new();
    for (text, span) in texts {
        if text.is_empty() {
            problems.push(span, "an empty path", HELP);
        } else if let Err(wrong) = Pattern::new(text) {
            problems.push(span, format!("`{text}` is no glob: {}", wrong.msg), HELP);
        } else {
            paths.push(resolve(text, folder));
        }
    }
    paths
}

/// `text` as it is meant in `folder`, whose own name is never a pattern.
fn resolve(text: &str, folder: &Path) -> PathBuf {
    let is_glob = text.contains(['*', '?', '[']);
    if is_glob && Path::new(text).is_relative() {
        PathBuf::from(Pattern::escape(&folder.to_string_lossy())).join(text)
    } else {
        folder.join(text)
    }
}

/// Files of the command line replace the paths of the sources. A single source reads them all; of several, each file
/// belongs to the one whose `paths` it fits.
pub(super) fn assign(files: &[PathBuf], sources: &mut [SourcePlan]) -> Result<(), ConfigError> {
    if files.is_empty() {
        return Ok(());
    }
    let absolute = |file: &PathBuf| match file.as_os_str() == STANDARD_INPUT {
        true => PathBuf::from("/dev/stdin"),
        false => std::path::absolute(file).unwrap_or_else(|_| file.clone()),
    };
    let configured: Vec<Vec<PathBuf>> = sources.iter_mut().map(|source| std::mem::take(&mut source.paths)).collect();
    for file in files.iter().map(absolute) {
        let fitting: Vec<usize> = match sources.len() {
            1 => vec![0],
            several => (0..several).filter(|index| configured[*index].iter().any(|path| fits(&file, path))).collect(),
        };
        let named = |indexes: &mut dyn Iterator<Item = usize>| {
            indexes.map(|index| format!("`{}`", sources[index].name)).collect::<Vec<_>>().join(", ")
        };
        match fitting.as_slice() {
            [only] => sources[*only].paths.push(file),
            [] => {
                let sources = named(&mut (0..sources.len()));
                return Err(ConfigError::UnmatchedFile { file, sources });
            }
            several => {
                let sources = named(&mut several.iter().copied());
                return Err(ConfigError::AmbiguousFile { file, sources });
            }
        }
    }
    Ok(())
}

/// Lets the sources of these names go on behind a gap.
pub(super) fn accept_gaps(names: &[String], sources: &mut [SourcePlan]) -> Result<(), ConfigError> {
    for name in names {
        let found = sources.iter_mut().find(|source| source.name == *name).and_then(|source| source.kafka.as_mut());
        let Some(kafka) = found else {
            let of_kafka = sources.iter().filter(|source| source.kind == SourceKind::Kafka);
            let sources = of_kafka.map(|source| format!("`{}`", source.name)).collect::<Vec<_>>().join(", ");
            return Err(ConfigError::NoGap { name: name.clone(), sources });
        };
        if kafka.gaps == Gaps::Halt {
            kafka.gaps = Gaps::AcceptAtStart;
        }
    }
    Ok(())
}

/// Returns whether `file` is `path`, lies in that folder, or matches that glob.
pub(super) fn fits(file: &Path, path: &Path) -> bool {
    let options = MatchOptions { require_literal_separator: true, ..MatchOptions::default() };
    file.starts_with(path)
        || Pattern::new(&path.to_string_lossy()).is_ok_and(|pattern| pattern.matches_path_with(file, options))
}
