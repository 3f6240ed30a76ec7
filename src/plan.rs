//! The configuration after every check, as plain printable data. [`crate::config`] makes it, and everything else reads
//! it.

mod actions;
mod counts;
mod hosts;
mod identity;
pub mod lint;
mod sequences;
pub mod shown;
mod sinks;
mod tables;

pub use actions::{
    ActionBegins, ActionPlan, Do, EVENTS, Edge, GatePlan, Looked, LooksUp, On, Otherwise, Replay, Timing,
};
pub use counts::{ByColumn, CountBegins, CountPlan, Counted, RowGroups};
pub use hosts::{HostsFiles, HostsPlan};
pub use identity::IdentityPlan;
pub use sequences::{SequenceBegins, SequencePlan};
pub use sinks::{ChangeKind, Envelope, HeaderValue, HttpTarget, KafkaTarget, SinkPlan, SinkStart, SinkTarget, When};
pub use tables::{TableColumn, TableFormat, TablePlan};

use crate::collections::count::CountSchema;
use crate::collections::sequences::SequenceSchema;
use crate::collections::sessions::SessionSchema;
use crate::collections::state::StateSchema;
use crate::collections::{Naming, Schemas};
use dataflows::EventTime;
use dataflows::ingest::Dedupe;
use dataflows::learn::Learning;
use dataflows::pipeline::Settings;
use dataflows::rules::{Rule, Test};
use dataflows::sequence::Sequences;
use dataflows::sessionize::{EndedBy, Policies};
use dataflows::state::{self, States};
use headwater_decode::spec::{
    ActionSpec, CountSpec, CueSpec, EventsPlan, FieldPlan, Format, Spec, StateInput, StateSpec,
};
use headwater_decode::syntax::Syntax;
use headwater_log::output::Retention;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Memory for the ids of all workers together. When it is full, the ids of the oldest events are forgotten, and
/// records as old as these are counted as not checked.
const DEDUPE_BYTES: usize = 2 << 30;

/// The whole program.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The file that it came from.
    pub config: PathBuf,
    /// Worker threads in each process.
    pub workers: usize,
    /// Processes of a run, on one host or on several. A replay is always one.
    pub processes: usize,
    /// Of a run on several hosts: the files that say which ones.
    pub hosts: Option<HostsFiles>,
    /// Log, state, landing, outputs. Relative paths of the configuration are resolved against its folder.
    pub data_dir: PathBuf,
    pub log: LogPlan,
    pub http: HttpPlan,
    /// Of a cluster that runs; `None`: nothing lands.
    pub landing: Option<LandingPlan>,
    pub sources: Vec<SourcePlan>,
    /// Named fields first, in the order of the configuration; then, named by their own text, the paths that rules,
    /// sums and carries use directly.
    pub fields: Vec<FieldPlan>,
    pub sessions: SessionPlan,
    /// Every atomic test that a rule makes, without repeats.
    pub tests: Vec<Test>,
    pub rules: Vec<Rule>,
    /// Whether events get a class from others that are like them, if no rule and no type gives one.
    pub learn: bool,
    /// Of a run: classes that people have given to shapes, as rows of `shapes` write them.
    pub labels: BTreeMap<String, String>,
    /// Of a run also those that have ended, as long as they have rows.
    pub sequences: Vec<SequencePlan>,
    pub states: Vec<StatePlan>,
    pub counts: Vec<CountPlan>,
    /// Which ids are one person, if that is asked for.
    pub identity: Option<IdentityPlan>,
    /// Of a cluster that runs.
    pub tables: Vec<TablePlan>,
    /// Of a cluster that runs.
    pub actions: Vec<ActionPlan>,
    /// The fields that decisions on events show: those of `[fields]`.
    pub shown: Vec<usize>,
    /// Of a cluster that runs.
    pub sinks: Vec<SinkPlan>,
}

impl Plan {
    /// Returns the number of processes of a run on this host.
    pub fn own_processes(&self) -> usize {
        if self.hosts.is_some() { 1 } else { self.processes }
    }

    /// Returns the number of worker threads of all processes of a run.
    pub fn all_workers(&self) -> usize {
        self.workers * self.processes
    }

    /// Returns the settings that the graph of a replay depends on. A running process adds a clock.
    pub fn graph(&self) -> Settings {
        let dedupe = self.sources.iter().any(|source| source.events.dedupe.is_some());
        let ids = DEDUPE_BYTES / Dedupe::BYTES_PER_ID;
        let policies = self.sessions.policies.as_ref().map(|policies| policies.graph);
        let sequences = self.sequences.iter().map(|sequence| sequence.definition.clone()).collect();
        let learning = self.learn.then(Learning::default);
        let definitions = self.states.iter().map(|state| Arc::clone(&state.definition)).collect();
        Settings {
            gap: self.sessions.gap,
            policies,
            dedupe: dedupe.then_some(Dedupe { ids }),
            learning,
            sequences: Sequences::new(sequences),
            states: States { definitions, now: None },
            identities: self.identity.as_ref().map(|identity| identity.rules),
            look_ups: None,
            counts: self.graph_counts(),
            keeps: false,
            clock: false,
        }
    }

    /// Returns the part that decoding reads.
    pub fn spec(&self) -> Spec {
        let states: Vec<StateSpec> = (0..).zip(&self.states).filter_map(|(number, state)| state.spec(number)).collect();
        let actions: Vec<ActionSpec> =
            (0..).zip(&self.actions).filter_map(|(number, action)| action.spec(number)).collect();
        let counts: Vec<CountSpec> = (0..).zip(&self.counts).filter_map(|(number, count)| count.spec(number)).collect();
        let of_counts = counts.iter().any(CountSpec::names_classes);
        let classes =
            of_counts || !actions.is_empty() || self.names_classes() || states.iter().any(StateSpec::names_classes);
        Spec {
            sources: self.sources.iter().map(|source| source.events.clone()).collect(),
            syntaxes: self.sources.iter().map(|source| Arc::clone(&source.syntax)).collect(),
            fields: self.fields.clone(),
            tests: self.tests.clone(),
            rules: if classes { self.rules.clone() } else { Vec::new() },
            sums: self.sessions.sums.iter().map(|(_, field)| *field).collect(),
            carry: self.sessions.carry.clone(),
            cues: self.sessions.policies.as_ref().map(|policies| policies.cues.clone()),
            sequences: self.sequences.iter().map(SequencePlan::spec).collect(),
            states,
            counts,
            links: self.identity.as_ref().and_then(IdentityPlan::spec),
            shown: if actions.is_empty() { Vec::new() } else { self.shown.clone() },
            actions,
        }
    }

    /// Returns whether decoding depends on the class of an event, states apart.
    fn names_classes(&self) -> bool {
        self.sessions.name_classes()
            || self.sequences.iter().any(SequencePlan::counts)
            || self.rules.iter().any(|rule| !rule.sessions)
    }

    /// Returns the columns of `sessions` that depend on the configuration.
    pub fn session_schema(&self) -> SessionSchema {
        self.sessions.schema(&self.fields)
    }

    /// Returns what the rows of sequences name.
    pub fn sequence_schemas(&self) -> Vec<SequenceSchema> {
        self.sequences.iter().map(SequencePlan::schema).collect()
    }

    /// Returns what rows say that the graph does not know.
    pub fn naming(&self) -> Naming {
        let since = |ms: i64| EventTime::from_micros(ms.saturating_mul(1000));
        let states = self.states.iter().map(|state| (state.schema.collection(), state.partial_since().and_then(since)));
        let counts = self
            .counts
            .iter()
            .map(|count| (count.schema.clone(), count.schema.collection(), self.counts_since(count).and_then(since)));
        Naming {
            gap: self.sessions.gap,
            sequences: self.sequence_schemas(),
            identity: self.identity.as_ref().map(IdentityPlan::schema),
            states: states.collect(),
            counts: counts.collect(),
        }
    }

    /// Returns the columns of all collections.
    pub fn schemas(&self) -> Schemas {
        let schemas = Schemas::new(&self.session_schema(), !self.sequences.is_empty(), &self.state_schemas());
        schemas.with_identities(self.identity.is_some()).with_counts(&self.count_schemas())
    }

    /// Returns the columns of counts.
    pub fn count_schemas(&self) -> Vec<CountSchema> {
        self.counts.iter().map(|count| count.schema.clone()).collect()
    }

    /// Returns the columns of states.
    pub fn state_schemas(&self) -> Vec<StateSchema> {
        self.states.iter().map(|state| state.schema.clone()).collect()
    }
}

#[derive(Clone, Debug)]
pub struct SourcePlan {
    pub name: String,
    pub kind: SourceKind,
    /// Files, folders and globs, as absolute as they can be made. None for a source that has none of the files that the
    /// command line gives.
    pub paths: Vec<PathBuf>,
    /// Of kind [`SourceKind::Kafka`].
    pub kafka: Option<KafkaPlan>,
    /// Detected from the content when absent.
    pub format: Option<Format>,
    pub syntax: Arc<Syntax>,
    pub events: EventsPlan,
    /// The configuration has no `[[source]]`: the command line alone says what to read.
    pub is_implied: bool,
}

impl SourcePlan {
    /// Returns whether only a run reads all of it.
    pub fn is_of_run(&self) -> bool {
        self.kind != SourceKind::File { follow: false }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceKind {
    /// Files are read from beginning to end; with `follow`, and a cluster that runs, also what is added to them.
    File { follow: bool },
    /// The events that clients post to a run. A replay has none of them.
    Http,
    /// The records of topics, which a run reads. A replay has none of them.
    Kafka,
}

/// The topics of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KafkaPlan {
    /// Addresses, with commas between them.
    pub brokers: String,
    /// Names, and patterns with `*`, `?` or `[`.
    pub topics: Vec<String>,
    pub start: KafkaStart,
    pub gaps: Gaps,
    /// Of librdkafka, checked.
    pub settings: Vec<(String, String)>,
    /// Settings of librdkafka, and the files that have their values.
    pub secrets: Vec<(String, PathBuf)>,
}

/// Where a source of Kafka begins at its first start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KafkaStart {
    Earliest,
    Latest,
    /// With the first record that is not before this time, in milliseconds since 1970-01-01T00:00:00Z.
    Time(i64),
}

/// What a source of Kafka does when records are gone that it has not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gaps {
    Halt,
    /// Goes on behind a gap that is there when it begins to read, and halts before others.
    AcceptAtStart,
    /// Goes on behind each gap.
    Accept,
}

/// The settings for the log of a run: ticks, snapshots, segments and retention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogPlan {
    /// Ticks follow each other no faster: what gathers meanwhile shares one sync, and one round of the graph.
    pub tick: Duration,
    /// A snapshot is taken when so much time has passed since the last one and something has happened.
    pub snapshot: Duration,
    /// Bytes of a file of the log. Only whole files are removed, once two snapshots lie behind them.
    pub segment: u64,
    /// How long changes are kept for subscribers.
    pub retention: Retention,
    /// Bytes of disk that are set aside for what has been acknowledged; 0: none.
    pub reserve: u64,
}

/// The tables of raw events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LandingPlan {
    /// The folder that the tables lie in.
    pub path: PathBuf,
    /// Rows wait at most so long for a commit.
    pub visible_every: Duration,
    /// Bytes of rows in memory at which a commit is not waited for, and of a file that others are joined into.
    pub target_file: u64,
    /// Rows of days that are older are removed. `None`: they stay.
    pub retain_for: Option<Duration>,
    /// Files that are no longer in the table stay on disk for so long.
    pub vacuum_after: Duration,
    /// Bytes of the queue that may wait for the landing. With more, the queue is released without it.
    pub hold: u64,
    /// Classes that have a folder of their own, at most.
    pub folders: usize,
    /// The first fields of the plan, those that have a name, have a column.
    pub fields: usize,
}

/// The HTTP server of a cluster that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpPlan {
    /// Host and port.
    pub listen: String,
    /// Names, in lower case, that requests may address besides IP literals and `localhost`.
    pub hosts: Vec<String>,
    /// The file of tokens. Only on a loopback address can there be none.
    pub tokens: Option<PathBuf>,
    /// Bytes of the body of a request, as sent and decompressed. At most 15 MiB.
    pub max_body: usize,
    /// Requests per second of one token; of all that come without one together. `None`: as many as there are.
    pub rate: Option<u32>,
    /// Web pages of these origins may post events.
    pub origins: Vec<String>,
}

#[derive(Clone, Debug)]
pub struct SessionPlan {
    /// Microseconds. Two neighbouring events belong together iff they are at most this far apart.
    pub gap: i64,
    /// Name of the sum and index of the field.
    pub sums: Vec<(String, usize)>,
    /// Indexes of the fields whose first and last value a session keeps.
    pub carry: Vec<usize>,
    /// What ends sessions beside the gap, if anything does.
    pub policies: Option<PolicyPlan>,
}

/// Session policies: what ends a session beside the gap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyPlan {
    /// Those that the graph knows of; the others are in what decoding says of an event.
    pub graph: Policies,
    /// What decoding looks at.
    pub cues: CueSpec,
}

impl SessionPlan {
    /// Returns what ends sessions beside the gap, by the keys of the configuration.
    pub fn policy_names(&self) -> Vec<&'static str> {
        let Some(PolicyPlan { graph, cues }) = &self.policies else { return Vec::new() };
        let asked = [
            (!cues.class_gaps.is_empty(), "gap_by_class"),
            (!cues.source_gaps.is_empty(), "gap_by_source"),
            (!cues.end.is_empty(), EndedBy::End.code()),
            (!cues.start.is_empty(), EndedBy::Start.code()),
            (cues.split_on.is_some(), EndedBy::SplitOn.code()),
            (cues.split_at.is_some(), EndedBy::SplitAt.code()),
            (graph.max_duration.is_some(), EndedBy::MaxDuration.code()),
            (graph.max_events.is_some(), EndedBy::MaxEvents.code()),
        ];
        asked.into_iter().filter(|(asked, _)| *asked).map(|(_, key)| key).collect()
    }

    /// Returns whether classes matter to where sessions begin and end.
    fn name_classes(&self) -> bool {
        self.policies.as_ref().is_some_and(|policies| policies.cues.names_classes())
    }

    /// Returns the columns that these sums and carried fields add to `sessions`.
    pub fn schema(&self, fields: &[FieldPlan]) -> SessionSchema {
        SessionSchema {
            sums: self.sums.iter().map(|(name, _)| name.clone()).collect(),
            carried: self.carry.iter().map(|field| fields[*field].name.clone()).collect(),
            ended_by: self.policies.is_some(),
        }
    }
}

/// A state: what is kept of each entity.
#[derive(Clone, Debug, PartialEq)]
pub struct StatePlan {
    pub schema: StateSchema,
    /// The field whose values are the entities; `None`: users are.
    pub per: Option<usize>,
    /// By aggregate of the definition.
    pub inputs: Vec<StateInput>,
    pub definition: Arc<state::Definition>,
    /// A run publishes how its rows change.
    pub changes: bool,
    /// Of a run.
    pub begins: Option<StateBegins>,
}

/// Since when events count for a state of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StateBegins {
    /// Not yet: the events at hand came before the state was in the configuration.
    Later,
    Since {
        /// Milliseconds since 1970; `None`: since the first event of the data folder.
        ms: Option<i64>,
        /// Tells this beginning from others, and from those of other definitions.
        id: [u8; 16],
    },
}

impl StatePlan {
    /// Returns what decoding reads; `None`: events do not count yet.
    fn spec(&self, number: u16) -> Option<StateSpec> {
        let counts = self.begins != Some(StateBegins::Later);
        counts.then(|| StateSpec { number, entity: self.per, inputs: self.inputs.clone() })
    }

    /// Returns whether the class of an event matters.
    pub fn names_classes(&self) -> bool {
        self.inputs.iter().any(|input| input.when.as_ref().is_some_and(|when| !when.classes.is_empty()))
    }

    /// Returns whether values change all the time, without an event.
    pub fn decays(&self) -> bool {
        self.definition.aggregates.iter().any(|aggregate| matches!(aggregate.fold, state::Fold::Decay { .. }))
    }

    /// Returns the time since which events count, in milliseconds since 1970; `None`: all do.
    pub fn partial_since(&self) -> Option<i64> {
        match &self.begins {
            Some(StateBegins::Since { ms, .. }) => *ms,
            Some(StateBegins::Later) | None => None,
        }
    }
}
