//! `headwater plan`: shows what a replay would read and do, and what a run would take in. Looks at the files, reads no
//! event, writes nothing.

mod actions;
mod applied;
mod render;

use crate::collections::place::SourceIndex;
use crate::error::Error;
use crate::plan::lint::{Lint, lint};
use crate::plan::{
    Envelope, IdentityPlan, Plan, PolicyPlan, SequencePlan, SinkPlan, SinkStart, SinkTarget, SourceKind, SourcePlan,
    shown,
};
use crate::replay;
use crate::run;
use crate::source::{self, SourceError};
use crate::tables::{
    DEAD_LETTERS_FILE, OutputFormat, Table, activity_table, count_table, counts_table, funnel_table, identity_table,
    session_table, shape_table, state_table, user_table,
};
use crate::text::{plural, span};
use actions::ActionOutline;
use dataflows::classify::Definitions;
use dataflows::rules::{Rule, UNCLASSIFIED};
use headwater_decode::defaults;
use headwater_decode::detect::Detected;
use headwater_decode::framing::Framing;
use headwater_decode::path::Path;
use headwater_decode::spec::{Candidate, EventsPlan, Format};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// A plan with what its files are, as printable data. Its fields are an interface: add to them, don't rename them.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Outline {
    pub config: String,
    pub workers: usize,
    pub data_dir: String,
    pub gap_s: f64,
    pub files: u64,
    /// As stored.
    pub bytes: u64,
    /// Of a run.
    pub http: HttpOutline,
    /// In the order in which they are read.
    pub sources: Vec<SourceOutline>,
    pub fields: Vec<FieldOutline>,
    /// Name and field.
    pub sum: BTreeMap<String, String>,
    pub carry: Vec<String>,
    /// What ends sessions beside the gap: key and value.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub policies: BTreeMap<&'static str, String>,
    /// In the order in which they are tried.
    pub rules: Vec<RuleOutline>,
    /// What is wrong with rules, whatever the events.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rule_faults: Vec<String>,
    /// What there is to say of rules that were applied to a run with this data folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub applied: Option<String>,
    /// Of the graph, in the order of the flow.
    pub stages: Vec<StageOutline>,
    pub outputs: Vec<OutputOutline>,
    /// Of a run.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub actions: Vec<ActionOutline>,
    pub sinks: Vec<SinkOutline>,
    /// Of a plan that can be replayed: why it cannot be run.
    pub run_refuses: Option<String>,
}

/// The server that takes events in while `headwater run` does.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HttpOutline {
    pub listen: String,
    /// Names that requests may address besides IP addresses and `localhost`.
    pub hosts: Vec<String>,
    /// `None`: no client needs one.
    pub tokens: Option<String>,
    pub max_body: usize,
    /// Requests a second; `None`: as many as there are.
    pub rate: Option<u32>,
    pub origins: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SourceOutline {
    pub name: String,
    pub kind: &'static str,
    /// A run goes on with what is added to the files.
    pub follow: bool,
    /// Of a source that a run takes events of over HTTP: the path.
    pub posted_to: Option<String>,
    /// Files, folders and globs.
    pub paths: Vec<String>,
    /// Of a source of Kafka.
    pub brokers: Option<String>,
    pub topics: Vec<String>,
    /// As configured; `None`: told from the content of each file.
    pub format: Option<&'static str>,
    pub bytes: u64,
    /// In the order in which they are read.
    pub files: Vec<FileOutline>,
    pub user: Candidates,
    pub time: Candidates,
    #[serde(rename = "type")]
    pub kind_of_event: Candidates,
    pub id: Candidates,
    pub zone: String,
    /// `None`: every record counts.
    pub dedupe_s: Option<f64>,
    pub max_future_s: f64,
    pub explode: Option<String>,
    pub max_bytes: usize,
    pub max_depth: usize,
    pub max_keys: usize,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FileOutline {
    pub path: String,
    pub bytes: u64,
    /// `None` of what is no regular file, such as a pipe.
    pub format: Option<&'static str>,
    pub framing: Option<&'static str>,
    pub compression: Option<&'static str>,
    /// Of a file that is followed: why it cannot be read yet. A run tells it in its log and tries again.
    pub not_yet: Option<String>,
}

/// The paths of a value: the first that is present gives it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Candidates {
    /// `configured`, `built-in`, or `none`.
    pub from: &'static str,
    /// By format, unless they are configured: `any`.
    pub paths: BTreeMap<&'static str, Vec<String>>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FieldOutline {
    pub name: String,
    pub paths: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RuleOutline {
    pub class: String,
    pub priority: i64,
    /// All have to hold.
    pub when: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StageOutline {
    pub name: &'static str,
    pub does: String,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OutputOutline {
    pub path: String,
    pub columns: Vec<String>,
    /// There is such a file, which would be replaced.
    pub exists: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SinkOutline {
    pub name: String,
    pub kind: &'static str,
    /// The file, or the address.
    pub to: String,
    pub collection: &'static str,
    /// `added`, `removed` or `all`.
    pub changes: &'static str,
    /// `None`: every row.
    pub when: Option<String>,
    pub batch: usize,
    /// The place where a new sink begins: `now` or `start`.
    pub from: &'static str,
    /// Of the headers that it sends.
    pub headers: Vec<String>,
}

const ANY: &str = "any";

impl RuleOutline {
    fn of(plan: &Plan, rule: &Rule) -> RuleOutline {
        RuleOutline { class: rule.name.clone(), priority: rule.priority, when: shown::all(plan, rule) }
    }
}

impl Outline {
    /// Looks into the files of the plan. `out` and `format` are those of the replay; so are files that the command line
    /// has given.
    ///
    /// # Errors
    /// Each error that would end a replay before its first record: a file that is missing or may not be read, or whose
    /// format is not recognised. If a source is only read by a run, also what a start refuses ([`run::check`]).
    pub fn of(
        plan: &Plan,
        files_given: bool,
        out: Option<&std::path::Path>,
        format: OutputFormat,
    ) -> Result<Outline, Error> {
        let run_refuses = match run::check(plan) {
            Err(error) if !files_given && plan.sources.iter().any(SourcePlan::is_of_run) => return Err(error),
            checked => checked.err().map(|error| error.to_string()),
        };
        let posted = plan.sources.iter().filter(|source| source.kind == SourceKind::Http).count();
        let sources =
            (0..).map(SourceIndex).zip(&plan.sources).map(|(index, source)| source_outline(index, source, posted > 1));
        let sources: Vec<SourceOutline> = sources.collect::<Result<_, _>>()?;
        let paths = |candidates: &[Path]| candidates.iter().map(Path::to_string).collect();
        let name = |field: usize| plan.fields[field].name.clone();
        let definitions = Definitions::new(plan.rules.clone(), &BTreeSet::new());
        Ok(Outline {
            config: plan.config.display().to_string(),
            workers: plan.workers,
            data_dir: plan.data_dir.display().to_string(),
            gap_s: seconds(plan.sessions.gap),
            files: sources.iter().map(|source| source.files.len() as u64).sum(),
            bytes: sources.iter().map(|source| source.bytes).sum(),
            http: HttpOutline {
                listen: plan.http.listen.clone(),
                hosts: plan.http.hosts.clone(),
                tokens: plan.http.tokens.as_ref().map(|path| path.display().to_string()),
                max_body: plan.http.max_body,
                rate: plan.http.rate,
                origins: plan.http.origins.clone(),
            },
            sources,
            fields: plan
                .fields
                .iter()
                .map(|field| FieldOutline { name: field.name.clone(), paths: paths(&field.candidates) })
                .collect(),
            sum: plan.sessions.sums.iter().map(|(sum, field)| (sum.clone(), name(*field))).collect(),
            carry: plan.sessions.carry.iter().map(|field| name(*field)).collect(),
            policies: policies(plan),
            rules: definitions.rules().iter().map(|rule| RuleOutline::of(plan, rule)).collect(),
            rule_faults: lint(plan).iter().map(Lint::message).collect(),
            applied: applied::applied(plan),
            stages: stages(plan),
            outputs: outputs(plan, out, format),
            actions: plan.actions.iter().map(|action| ActionOutline::of(plan, action)).collect(),
            sinks: plan.sinks.iter().map(sink_outline).collect(),
            run_refuses,
        })
    }

    /// Returns one JSON object on one line.
    pub fn json(&self) -> serde_json::Result<String> {
        serde_json::to_string(self)
    }
}

/// `named`: requests have to say which source their events are of.
fn source_outline(index: SourceIndex, source: &SourcePlan, named: bool) -> Result<SourceOutline, Error> {
    let events = &source.events;
    let mut files = Vec::new();
    for part in parts_of(index, source)? {
        let path = part.path.display().to_string();
        let probed = match source::probe(&part, events.limits.event_bytes) {
            Ok(probed) => probed,
            Err(error) if source.kind == (SourceKind::File { follow: true }) => {
                let bytes = std::fs::metadata(&part.path).map_or(0, |metadata| metadata.len());
                let not_yet = Some(error.to_string());
                files.push(FileOutline { path, bytes, format: None, framing: None, compression: None, not_yet });
                continue;
            }
            Err(error) => return Err(Error::run("read the sources")(error)),
        };
        files.push(FileOutline {
            path,
            bytes: probed.bytes,
            format: probed.content.map(|Detected { format, .. }| format.name()),
            framing: probed.content.map(|Detected { framing, .. }| framing_name(framing)),
            compression: probed.compression,
            not_yet: None,
        });
    }
    let mut formats = Vec::from(Format::ALL);
    match (files.is_empty(), source.kind) {
        (false, _) => {
            formats.retain(|format| files.iter().any(|file| file.format.is_none_or(|name| name == format.name())));
        }
        (true, SourceKind::Http) => formats = vec![Format::Json],
        // It can still become any.
        (true, SourceKind::File { .. } | SourceKind::Kafka) => {
            formats.retain(|format| source.format.is_none_or(|only| only == *format))
        }
    }
    let candidates = |configured: &Option<Vec<Candidate>>, built_in: fn(Format) -> Vec<&'static str>| match configured {
        Some(configured) => chosen("configured", [(ANY, texts(configured, events))]),
        None => {
            let names = |format: &Format| built_in(*format).into_iter().map(str::to_owned).collect();
            let by_format = formats.iter().map(|format| (format.name(), names(format)));
            chosen("built-in", by_format)
        }
    };
    let id = match events.id.is_empty() {
        true => chosen("none", []),
        false => chosen("configured", [(ANY, texts(&events.id, events))]),
    };
    Ok(SourceOutline {
        name: source.name.clone(),
        kind: match source.kind {
            SourceKind::File { .. } => "file",
            SourceKind::Http => "http",
            SourceKind::Kafka => "kafka",
        },
        follow: source.kind == SourceKind::File { follow: true },
        posted_to: (source.kind == SourceKind::Http).then(|| match named {
            true => format!("/v1/events?source={}", source.name),
            false => "/v1/events".into(),
        }),
        paths: source.paths.iter().map(|path| path.display().to_string()).collect(),
        brokers: source.kafka.as_ref().map(|kafka| kafka.brokers.clone()),
        topics: source.kafka.as_ref().map_or(Vec::new(), |kafka| kafka.topics.clone()),
        format: source.format.map(Format::name),
        bytes: files.iter().map(|file| file.bytes).sum(),
        user: candidates(&events.user, defaults::user_names),
        time: candidates(&events.time, defaults::time_names),
        kind_of_event: candidates(&events.kind, defaults::kind_names),
        id,
        zone: events.zone.clone(),
        dedupe_s: events.dedupe.map(seconds),
        max_future_s: seconds(events.max_future),
        explode: events.explode.as_ref().map(Path::to_string),
        max_bytes: events.limits.event_bytes,
        max_depth: events.limits.depth,
        max_keys: events.limits.keys,
        files,
    })
}

/// Returns the files of a source. Of one that is followed, none has to be there yet.
fn parts_of(index: SourceIndex, source: &SourcePlan) -> Result<Vec<source::Part>, Error> {
    match source::expand(&source.paths) {
        Err(SourceError::NoMatch { .. }) if source.kind == SourceKind::File { follow: true } => Ok(Vec::new()),
        _ => replay::parts_of(index, source),
    }
}

fn chosen(from: &'static str, paths: impl IntoIterator<Item = (&'static str, Vec<String>)>) -> Candidates {
    Candidates { from, paths: paths.into_iter().collect() }
}

/// Returns the parts of a composed candidate with what joins them.
fn texts(candidates: &[Candidate], events: &EventsPlan) -> Vec<String> {
    let join = |parts: &[Path]| parts.iter().map(Path::to_string).collect::<Vec<_>>();
    candidates.iter().map(|one| join(&one.parts).join(&format!(" + \"{}\" + ", events.join))).collect()
}

/// Returns the graph as it would be built for this plan (`dataflows::pipeline`).
fn stages(plan: &Plan) -> Vec<StageOutline> {
    let stage = |name, does: String| StageOutline { name, does };
    let dedupe = plan.sources.iter().any(|source| source.events.dedupe.is_some());
    let ingest = if dedupe { "one record for each event id counts" } else { "every record counts" };
    let learned = if plan.learn { "else that of events like it, " } else { "" };
    let classify = match plan.rules.len() {
        0 => format!("the type is the class, {learned}or {UNCLASSIFIED}"),
        rules => format!("by {}, else the type, {learned}else {UNCLASSIFIED}", counted(rules, "rule")),
    };
    let sums = plan.sessions.sums.len();
    let details = [("sum", sums), ("carried field", plan.sessions.carry.len())];
    let details = details.into_iter().filter(|(_, count)| *count > 0).map(|(noun, count)| counted(count, noun));
    let details = details.collect::<Vec<_>>().join(" and ");
    let with = if details.is_empty() { "" } else { ", with " };
    let split = if plan.sessions.policies.is_some() { "the gap and by policies" } else { "the gap" };
    let mut decode = "records to events: user, time, type".to_owned();
    if !plan.fields.is_empty() {
        decode += &format!(", {}", counted(plan.fields.len(), "field"));
    }
    if !plan.tests.is_empty() {
        decode += &format!("; {} for the rules", counted(plan.tests.len(), "test"));
    }
    let mut stages = vec![
        stage("decode", decode),
        stage("ingest", ingest.into()),
        stage("classify", classify),
        stage("counts", "events by class and hour".into()),
        stage("shapes", "events by the structure of the payload, with its classes".into()),
        stage("sessionless", "events without user or time, by reason".into()),
        stage("sessionize", format!("events of a user, split by {split}{with}{details}")),
    ];
    stages.extend(plan.identity.iter().map(|identity| stage("stitch", identity_outline(identity))));
    stages.extend(plan.sequences.iter().map(|sequence| stage("sequence", sequence_outline(plan, sequence))));
    stages
}

/// Returns identities in a line: `anonymous_id = user, at most 64 ids of a person, one user`.
fn identity_outline(identity: &IdentityPlan) -> String {
    let name = |kind: u8| identity.kinds[usize::from(kind)].as_str();
    let links = identity.spec.links.iter().map(|[one, other]| format!("{} = {}", name(*one), name(*other)));
    let links = links.collect::<Vec<_>>().join(", ");
    let unique: String = identity.unique().map(|kind| format!(", one {kind}")).collect();
    format!("{links}, at most {} ids of a person{unique}", identity.rules.cap)
}

/// Returns a sequence in a line: `checkout: cart, shipping?, purchase within 1h, per user`.
fn sequence_outline(plan: &Plan, sequence: &SequencePlan) -> String {
    let steps = sequence.spec.steps.iter().zip(sequence.definition.is_optional());
    let steps: Vec<_> = steps.map(|(class, optional)| format!("{class}{}", if optional { "?" } else { "" })).collect();
    let within = span(seconds(sequence.definition.within()));
    let per = sequence.spec.per.map_or("user", |field| plan.fields[field].name.as_str());
    format!("{}: {} within {within}, per {per}", sequence.name, steps.join(", "))
}

/// Returns the session policies as they are typed, and for classes when they are looked at.
fn policies(plan: &Plan) -> BTreeMap<&'static str, String> {
    let Some(PolicyPlan { graph, cues }) = &plan.sessions.policies else { return BTreeMap::new() };
    let classes = |names: &[String]| {
        (!names.is_empty()).then(|| format!("{}, by the rules at the time of reading an event", names.join(", ")))
    };
    let gaps = |gaps: Vec<(&str, u8)>| {
        let one = |(name, number): &(&str, u8)| {
            format!("{name} {}", span(seconds(graph.gaps.all()[usize::from(*number) - 1])))
        };
        (!gaps.is_empty()).then(|| gaps.iter().map(one).collect::<Vec<_>>().join(", "))
    };
    let of_sources = cues.source_gaps.iter().map(|(of, gap)| (plan.sources[usize::from(*of)].name.as_str(), *gap));
    let all = [
        ("start", classes(&cues.start)),
        ("end", classes(&cues.end)),
        ("keepalive", classes(&cues.keepalive)),
        ("gap_by_class", gaps(cues.class_gaps.iter().map(|(class, gap)| (class.as_str(), *gap)).collect())),
        ("gap_by_source", gaps(of_sources.collect())),
        ("split_on", cues.split_on.map(|field| plan.fields[field].name.clone())),
        ("split_at", cues.split_at.as_ref().map(|zone| format!("midnight, {zone}"))),
        ("max_duration", graph.max_duration.map(|most| span(seconds(most)))),
        ("max_events", graph.max_events.map(|most| most.to_string())),
    ];
    all.into_iter().filter_map(|(key, value)| Some((key, value?))).collect()
}

fn counted(count: usize, noun: &str) -> String {
    format!("{count} {}", plural(count as u64, noun))
}

fn outputs(plan: &Plan, out: Option<&std::path::Path>, format: OutputFormat) -> Vec<OutputOutline> {
    let folder = out.unwrap_or(&plan.data_dir);
    let output = |name: &str, columns| {
        let path = folder.join(name);
        OutputOutline { path: path.display().to_string(), columns, exists: path.exists() }
    };
    let table =
        |table: Table| output(&format.file(table.name), table.columns.into_iter().map(|column| column.name).collect());
    let dead_letters = ["source", "path", "offset", "reason", "message", "length", "payload"].map(str::to_owned);
    let of_sequences = [activity_table(), funnel_table()].into_iter().filter(|_| !plan.sequences.is_empty());
    let states = plan.state_schemas();
    let counts = plan.count_schemas();
    let of_identities = plan.identity.iter().map(|_| identity_table());
    let others = of_sequences.chain(of_identities).chain(states.iter().map(state_table));
    let others = others.chain(counts.iter().map(count_table));
    let fixed = [
        table(counts_table()),
        output(DEAD_LETTERS_FILE, dead_letters.to_vec()),
        table(session_table(&plan.session_schema())),
        table(shape_table()),
        table(user_table()),
    ];
    fixed.into_iter().chain(others.map(table)).collect()
}

fn sink_outline(sink: &SinkPlan) -> SinkOutline {
    let (kind, to, headers) = match &sink.target {
        SinkTarget::File(path) => ("file", path.display().to_string(), Vec::new()),
        SinkTarget::Kafka(kafka) => {
            let records = match kafka.envelope {
                Envelope::Upsert => "a record for each row, under its key",
                Envelope::Changes => "a record for each change",
            };
            ("kafka", format!("the topic {} at {}: {records}", kafka.topic, kafka.brokers), Vec::new())
        }
        SinkTarget::Http(http) => {
            ("http", http.url.clone(), http.headers.iter().map(|(name, _)| name.clone()).collect())
        }
    };
    SinkOutline {
        name: sink.name.clone(),
        kind,
        to,
        collection: sink.collection.name(),
        changes: sink.changes.name(),
        when: sink.when.as_ref().map(|when| when.text.clone()),
        batch: sink.batch,
        from: match sink.from {
            SinkStart::Now => "now",
            SinkStart::Start => "start",
        },
        headers,
    }
}

fn framing_name(framing: Framing) -> &'static str {
    match framing {
        Framing::Lines | Framing::CrLines => "lines",
        Framing::JsonValues => "values",
        Framing::Rows(_) => "rows",
    }
}

fn seconds(micros: i64) -> f64 {
    micros as f64 / 1e6
}
