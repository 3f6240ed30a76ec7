//! The specification of decoding: the paths of each source's events, the values that are taken from them, and the
//! tests. It is plain data, already checked.

use crate::bucket::Bucket;
use crate::defaults;
use crate::path::Path;
use crate::syntax::Syntax;
use crate::time::{TimeSpec, TimeUnit};
use crate::wanted::Wanted;
use dataflows::rules::{Conditions, Predicate, Rule, Test};
use std::sync::Arc;

pub use crate::format::Format;
pub use crate::path::Candidate;

/// Everything that decoders read of a configuration.
#[derive(Clone, Debug, Default)]
pub struct Spec {
    /// By source.
    pub sources: Vec<EventsPlan>,
    /// By source; the default where there is none.
    pub syntaxes: Vec<Arc<Syntax>>,
    /// The values that tests, sums and carried fields name by index.
    pub fields: Vec<FieldPlan>,
    /// Made of every event, in this order.
    pub tests: Vec<Test>,
    /// The rules, if one of them keeps its class out of sessions, or if session policies, sequences, states or actions name classes.
    pub rules: Vec<Rule>,
    /// The fields that are summed.
    pub sums: Vec<usize>,
    /// The fields whose first and last value a session keeps.
    pub carry: Vec<usize>,
    /// What session policies look at, if there are any.
    pub cues: Option<CueSpec>,
    /// What sequences look at.
    pub sequences: Vec<SequenceSpec>,
    /// What events contribute to states.
    pub states: Vec<StateSpec>,
    /// What events add to counts.
    pub counts: Vec<CountSpec>,
    /// The actions that events may call.
    pub actions: Vec<ActionSpec>,
    /// The fields whose first value decisions show.
    pub shown: Vec<usize>,
    /// The ids of persons, if they are joined.
    pub links: Option<LinkSpec>,
}

/// What identities look at in an event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkSpec {
    /// By kind: the field whose first value is an id; `None`: the user.
    pub kinds: Vec<Option<usize>>,
    /// The kinds of which an event may have both.
    pub links: Vec<[u8; 2]>,
    /// Values that are no ids.
    pub block: Vec<String>,
}

/// A count over events.
#[derive(Clone, Debug, PartialEq)]
pub struct CountSpec {
    /// Index of the count in the configuration.
    pub number: u16,
    /// The events that count; `None`: all.
    pub when: Option<StateWhen>,
    /// The key columns of a group.
    pub by: Vec<By>,
    /// The fields that are summed: of an event all values.
    pub sums: Vec<usize>,
}

/// A key column of a count over events.
#[derive(Clone, Debug, PartialEq)]
pub enum By {
    /// The first value of a field.
    Field(usize),
    /// The user.
    User,
    /// The class that rules and types give.
    Class,
    /// The type.
    Type,
    /// The part of time that has the time of the event.
    Time(Bucket),
}

impl CountSpec {
    /// Returns whether the class of an event matters.
    pub fn names_classes(&self) -> bool {
        self.by.contains(&By::Class) || self.when.as_ref().is_some_and(|when| !when.classes.is_empty())
    }
}

/// An action on events.
#[derive(Clone, Debug, PartialEq)]
pub struct ActionSpec {
    /// Index of the action in the configuration.
    pub number: u16,
    /// The events that call it; `None`: all.
    pub when: Option<StateWhen>,
    /// The field whose first value is the entity that it looks up; `None`: the user.
    pub entity: Option<usize>,
}

/// What a sequence looks at in an event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SequenceSpec {
    /// The class of each step.
    pub steps: Vec<String>,
    /// The class of each exception.
    pub excepts: Vec<String>,
    /// The field whose values the sequence is followed for; `None`: for users.
    pub per: Option<usize>,
    /// The fields by which activities are broken down.
    pub by: Vec<usize>,
}

/// What events contribute to one state.
#[derive(Clone, Debug, PartialEq)]
pub struct StateSpec {
    /// Index of the state in the graph.
    pub number: u16,
    /// The field whose first value is the entity; `None`: the user.
    pub entity: Option<usize>,
    /// By aggregate of the state's definition. At most 64.
    pub inputs: Vec<StateInput>,
}

/// What an event gives to one aggregate.
#[derive(Clone, Debug, PartialEq)]
pub struct StateInput {
    /// The events that count; `None`: all.
    pub when: Option<StateWhen>,
    /// The values that count.
    pub take: Take,
}

/// Values that an aggregate takes, of the field of this index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Take {
    /// That there is an event.
    Event,
    /// Each number, and each value that is none.
    Numbers(usize),
    /// The first text.
    Text(usize),
    /// Each text.
    Texts(usize),
}

impl Take {
    /// Returns the field that values are taken of.
    pub fn field(self) -> Option<usize> {
        match self {
            Take::Event => None,
            Take::Numbers(field) | Take::Text(field) | Take::Texts(field) => Some(field),
        }
    }
}

/// A condition on events that may also ask for their class.
#[derive(Clone, Debug, PartialEq)]
pub struct StateWhen {
    /// Tests from [`StateWhen::CLASSES`] on are those of `classes`.
    pub conditions: Conditions,
    /// Asked of the class.
    pub classes: Vec<Predicate>,
}

impl StateWhen {
    /// The number of the first test of the class. No plan has as many others.
    pub const CLASSES: u32 = 1 << 30;

    /// `answers` are those to the tests of the specification.
    pub fn holds(&self, answers: &[bool], class: &str) -> bool {
        self.conditions.hold_by(&|test| match test.checked_sub(Self::CLASSES) {
            None => answers.get(test as usize).copied(),
            Some(of_class) => self.classes.get(of_class as usize).map(|predicate| predicate.holds(class)),
        })
    }
}

impl StateSpec {
    /// Returns whether the class of an event matters.
    pub fn names_classes(&self) -> bool {
        self.inputs.iter().any(|input| input.when.as_ref().is_some_and(|when| !when.classes.is_empty()))
    }
}

/// What session policies look at in an event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CueSpec {
    /// The field whose change splits.
    pub split_on: Option<usize>,
    /// The zone whose midnight splits: an IANA name or an offset, checked.
    pub split_at: Option<String>,
    /// Classes whose events start sessions.
    pub start: Vec<String>,
    /// Classes whose events end sessions.
    pub end: Vec<String>,
    /// Classes whose events extend sessions and start none.
    pub keepalive: Vec<String>,
    /// Classes with a gap of their own, and the number of that gap.
    pub class_gaps: Vec<(String, u8)>,
    /// Sources with a gap of their own, by index, and the number of that gap. That of the class goes first.
    pub source_gaps: Vec<(u16, u8)>,
}

impl CueSpec {
    /// Returns whether the class of an event matters.
    pub fn names_classes(&self) -> bool {
        !(self.start.is_empty() && self.end.is_empty() && self.keepalive.is_empty() && self.class_gaps.is_empty())
    }
}

/// A field of the configuration.
#[derive(Clone, Debug)]
pub struct FieldPlan {
    /// As rules, sums and carried fields call it.
    pub name: String,
    /// The first that is present gives the values.
    pub candidates: Vec<Path>,
}

/// How to read an event of one source. `None` of candidates means the built-in ones of the format
/// ([`crate::defaults`]).
#[derive(Clone, Debug)]
pub struct EventsPlan {
    /// Whose event it is.
    pub user: Option<Vec<Candidate>>,
    /// When it happened.
    pub time: Option<Vec<Candidate>>,
    /// Its type.
    pub kind: Option<Vec<Candidate>>,
    /// Empty: no event ids.
    pub id: Vec<Candidate>,
    /// Joins the parts of a composed candidate.
    pub join: String,
    /// For times that carry none: an IANA name or an offset, checked. `"UTC"` by default.
    pub zone: String,
    /// Of epochs; `None`: by their magnitude.
    pub time_unit: Option<TimeUnit>,
    /// Formats of strftime, checked. They are tried before the forms that are recognised.
    pub time_formats: Vec<String>,
    /// Of times that name none.
    pub year: Option<i16>,
    /// Texts that stand for no user, time or id; `None`: the built-in list.
    pub absent: Option<Vec<String>>,
    /// De-duplication horizon in microseconds; `None`: every position counts.
    pub dedupe: Option<i64>,
    /// Largest skew of an event time after its received time, in microseconds.
    pub max_future: i64,
    /// The array whose elements are the events; `None`: a record is one event.
    pub explode: Option<Path>,
    /// The number that orders a user's events of the same time.
    pub order: Option<Path>,
    /// `None`: [`Ties::of`] the format.
    pub ties: Option<Ties>,
    /// Sizes above which a record is a dead letter.
    pub limits: Limits,
}

/// What orders a user's events of the same time, where no number does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ties {
    /// The place in the file.
    Log,
    /// What the events say.
    Content,
}

impl Ties {
    /// Both of them.
    pub const ALL: [Ties; 2] = [Ties::Log, Ties::Content];

    /// Returns its name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Ties::Log => "log",
            Ties::Content => "content",
        }
    }

    /// Returns the default of a format: times of access logs are whole seconds.
    pub fn of(format: Format) -> Ties {
        match format {
            Format::Clf | Format::Log | Format::Text => Ties::Log,
            Format::Json | Format::Csv | Format::Ltsv | Format::Logfmt => Ties::Content,
        }
    }
}

/// As without a configuration.
impl Default for EventsPlan {
    fn default() -> EventsPlan {
        EventsPlan {
            user: None,
            time: None,
            kind: None,
            id: Vec::new(),
            join: "/".into(),
            zone: "UTC".into(),
            time_unit: None,
            time_formats: Vec::new(),
            year: None,
            absent: None,
            dedupe: None,
            max_future: 24 * 3600 * 1_000_000,
            explode: None,
            order: None,
            ties: None,
            limits: Limits::default(),
        }
    }
}

impl EventsPlan {
    /// Returns how times are written.
    pub fn times(&self) -> TimeSpec {
        TimeSpec { zone: self.zone.clone(), unit: self.time_unit, formats: self.time_formats.clone(), year: self.year }
    }

    /// Returns the paths that these settings and the fields ask for.
    pub fn wanted(&self, fields: &[FieldPlan]) -> Wanted {
        let chosen = |configured: &Option<Vec<Candidate>>, built_in: fn(Format) -> Vec<Candidate>| {
            configured.clone().unwrap_or_else(|| built_in(Format::Csv))
        };
        let candidates = [
            chosen(&self.user, defaults::user),
            chosen(&self.time, defaults::time),
            chosen(&self.kind, defaults::kind),
            self.id.clone(),
        ];
        let fields = fields.iter().flat_map(|field| &field.candidates);
        Wanted::of(candidates.iter().flatten().flat_map(|candidate| &candidate.parts).chain(fields))
    }
}

/// Guards against hostile or broken records. Reaching one makes the record a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one record. Also bounds the memory that one record can take.
    pub event_bytes: usize,
    /// Objects and arrays inside each other.
    pub depth: usize,
    /// Keys of all objects of one event together.
    pub keys: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { event_bytes: 1 << 20, depth: 64, keys: 4096 }
    }
}
