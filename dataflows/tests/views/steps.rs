//! What goes into the graph: raw events and how they look to it.

use super::policies::Asked;
use dataflows::leaves::{Leaf, Leaves};
use dataflows::record::{Cue, Rank};
use dataflows::rules::{Condition, Conditions, Descriptor, Rule};
use dataflows::sessionize::{Replacement, Visit};
use dataflows::{Decimal, Details, EventId, EventTime, Measure, Record, ShapeId, SignatureId, UserKey, ValueKind};
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

/// Event times are few and lie a whole number of these apart, or almost. Four make a second, which deadlines lie on.
pub const UNIT: i64 = 250_000;
/// Of the first event; the epoch is amid the events.
pub const ORIGIN: i64 = -100 * UNIT;
pub const GAP: i64 = 10 * UNIT;
pub const HORIZON: i64 = 25 * UNIT;

/// One raw event.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Raw {
    pub user: Option<u8>,
    /// Microseconds.
    pub time: Option<i64>,
    /// 3 stands for no type.
    pub kind: u8,
    pub id: Option<u8>,
    pub price: Option<i64>,
    pub page: Option<u8>,
}

/// A replacement to be resolved against the sessions before its tick.
#[derive(Clone, Debug)]
pub struct Swap {
    pub user: u8,
    pub from: i64,
    pub to: i64,
    /// Bit n: the n-th event of the sessions survives.
    pub keep: u64,
    /// Survivors with odd numbers are moved by this much.
    pub shift: i64,
    /// Names a session that is not there.
    pub stale: bool,
}

/// What arrives in one tick.
#[derive(Clone, Debug, Default)]
pub struct Step {
    pub raws: Vec<Raw>,
    pub swaps: Vec<Swap>,
    /// How far the clock goes on; wall clocks are set back at times.
    pub passed_ms: i64,
    /// Replaces all rules by the set of this number.
    pub rules: Option<u8>,
    /// Begins to learn classes, or stops.
    pub learns: Option<bool>,
    /// Gives a class to all events of a shape that have none, or takes it back.
    pub label: Option<(ShapeId, Option<&'static str>)>,
}

/// One tick of the graph's inputs.
#[derive(Clone, Debug, Default)]
pub struct Input {
    pub records: Vec<Record>,
    pub names: Vec<(UserKey, Arc<str>)>,
    pub signatures: Vec<(SignatureId, Descriptor)>,
    pub shapes: Vec<(ShapeId, Arc<Leaves>)>,
    pub rules: Vec<(Rule, isize)>,
    pub learns: isize,
    pub labels: Vec<((ShapeId, Arc<str>), isize)>,
    pub replacements: Vec<Replacement>,
    pub now_ms: i64,
}

pub fn name(user: u8) -> String {
    format!("user {user}")
}

pub fn key(user: u8) -> UserKey {
    UserKey::of(&name(user))
}

pub fn time(micros: i64) -> EventTime {
    EventTime::from_micros(micros).expect("small")
}

/// Rule sets 0 to 3; test 0 asks whether there is a price, test 1 whether there is a page.
pub fn rules(set: u8) -> Vec<Rule> {
    let rule = |name: &str, priority, order, when: &[(u32, bool)]| Rule {
        name: name.into(),
        priority,
        order,
        when: when.iter().map(|&(test, answer)| Condition { test, answer }).collect(),
        sessions: true,
    };
    match set {
        0 => vec![],
        1 => vec![rule("priced", 0, 0, &[(0, true)])],
        2 => {
            let one = |test, answer| Conditions::One(Condition { test, answer });
            let either = Conditions::Any(vec![one(1, true), Conditions::All(vec![one(0, false), one(1, false)])]);
            vec![rule("priced", 0, 0, &[(0, true)]), Rule { when: either, ..rule("paged or bare", 0, 1, &[]) }]
        }
        // The later one goes first, by its priority.
        _ => vec![
            rule("priced", 0, 0, &[(0, true)]),
            rule("paged", 1, 1, &[(1, true)]),
            rule("bare", 0, 2, &[(0, false), (1, false)]),
        ],
    }
}

impl Raw {
    /// Of one to three, by what there is of price and page.
    pub fn shape(&self) -> ShapeId {
        ShapeId(1 + u64::from(self.price.is_some()) + u64::from(self.page.is_some()))
    }

    /// Those of the third shape are not known.
    pub fn leaves(&self) -> Option<Arc<Leaves>> {
        let path = ["neither", "either"].get(self.shape().0 as usize - 1)?;
        Some(Arc::new(Leaves::of(vec![Leaf { path: (*path).to_owned(), kind: ValueKind::Number }])))
    }

    pub fn descriptor(&self) -> Descriptor {
        let kind = (self.kind < 3).then(|| Arc::from(format!("kind {}", self.kind)));
        Descriptor { shape: self.shape(), kind, answers: vec![self.price.is_some(), self.page.is_some()] }
    }

    pub fn signature(&self) -> SignatureId {
        SignatureId::of(self.shape(), format!("{:?}", self.descriptor()).as_bytes())
    }

    pub fn details(&self, asked: Option<Asked>) -> Option<Box<Details>> {
        let price = match self.price {
            Some(price) if price < 0 => Measure { sum: Decimal::ZERO, numbers: 0, others: 1 },
            Some(price) => Measure { sum: Decimal::from_millionths(price.into()), numbers: 1, others: 0 },
            None => Measure::default(),
        };
        let page = self.page.map(|page| Arc::from(format!("page {page}")));
        let cue = asked.map_or_else(Cue::default, |asked| asked.cue(self));
        let (sums, carried) = ([price].into_iter().collect(), [page].into_iter().collect());
        Some(Box::new(Details { sums, carried, cue, rank: self.rank() }))
    }

    /// Events of user 2 have an order: first by page, those without one last, and then the kind is their place.
    fn rank(&self) -> Rank {
        let page = self.page.map(|page| 3 - 2 * i64::from(page));
        if self.user == Some(2) { Rank::new(Some(page), self.kind.into()) } else { Rank::default() }
    }

    /// What orders an event among those of its time: by hand, not as [`Rank`] is made.
    pub fn order(&self) -> (bool, i64, u8) {
        match self.user {
            Some(2) => (self.page.is_none(), self.page.map_or(0, |page| -i64::from(page)), self.kind),
            _ => (false, 0, 0),
        }
    }

    pub fn visit(&self, asked: Option<Asked>) -> Option<Visit> {
        let (user, at) = (key(self.user?), time(self.time?));
        Some(Visit { user, time: at, signature: self.signature(), details: self.details(asked) })
    }

    pub fn event_id(&self) -> Option<EventId> {
        Some(event_id(self.user, self.id?))
    }
}

/// Of few shards, so that ids compete for their room.
fn event_id(user: Option<u8>, id: u8) -> EventId {
    static IDS: LazyLock<BTreeMap<Option<u8>, Vec<EventId>>> = LazyLock::new(|| {
        let of_user = |user: Option<u8>| {
            let ids = (0..9999).map(|text: u32| EventId::of(user.map(key), &text.to_string()));
            (user, ids.filter(|id| id.shard() < 3).take(6).collect())
        };
        [None, Some(0), Some(1), Some(2)].map(of_user).into()
    });
    IDS[&user][usize::from(id)]
}
