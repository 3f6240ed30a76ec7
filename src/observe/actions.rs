//! The counts and latencies of actions, and how often one missed its objective.

use super::quantiles::Quantiles;
use crate::text::printable;
use dataflows::Tick;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, OnceLock, PoisonError};

/// Ticks of which the time of publication is remembered. A sink that is further behind is the cause of a miss in any case.
const REMEMBERED: usize = 1 << 14;

/// The latency that an action is to keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Objective {
    pub within_ms: i64,
    pub from: Origin,
}

/// Where a latency begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The time of the cause.
    Event,
    /// The reception of its record.
    Arrival,
}

impl Origin {
    fn name(self) -> &'static str {
        match self {
            Origin::Event => "event",
            Origin::Arrival => "arrival",
        }
    }
}

/// The part of the way of a decision that took longest, where it missed its objective.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    /// The event came late.
    LateEvent,
    /// From reception to the clock of the tick.
    Queue,
    /// From the clock of the tick to its publication.
    Tick,
    /// From publication to the receiver.
    Sink,
}

impl Cause {
    const ALL: [Cause; 4] = [Cause::LateEvent, Cause::Queue, Cause::Tick, Cause::Sink];

    fn name(self) -> &'static str {
        match self {
            Cause::LateEvent => "late_event",
            Cause::Queue => "queue",
            Cause::Tick => "tick",
            Cause::Sink => "sink",
        }
    }
}

/// A decision, as far as it is measured. Times are in milliseconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decided {
    pub action: String,
    pub verdict: String,
    pub time_ms: Option<i64>,
    pub received_ms: Option<i64>,
    /// The clock of its tick.
    pub decided_ms: i64,
}

impl Decided {
    fn begins(&self, from: Origin) -> Option<i64> {
        match from {
            Origin::Event => self.time_ms,
            Origin::Arrival => self.received_ms,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByDecision {
    action: String,
    decision: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByAction {
    action: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByWay {
    action: String,
    from: &'static str,
    until: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByCause {
    action: String,
    cause: &'static str,
}

/// What is measured of actions.
#[derive(Debug)]
pub struct Actions {
    decisions: Family<ByDecision, Counter>,
    seconds: Family<ByWay, Histogram>,
    misses: Family<ByCause, Counter>,
    /// By action: its name and its objective.
    known: OnceLock<Vec<(String, Option<Objective>)>>,
    /// The verdicts that there are.
    verdicts: OnceLock<Vec<&'static str>>,
    /// By action, and by where a latency begins and ends: in milliseconds.
    latencies: Mutex<BTreeMap<(String, &'static str, &'static str), Quantiles>>,
    waiting: Family<ByAction, Gauge>,
    /// The same by action and worker.
    waiting_at: Mutex<BTreeMap<(String, usize), u64>>,
    /// When ticks were published, in order.
    published: Mutex<VecDeque<(Tick, i64)>>,
}

impl Default for Actions {
    fn default() -> Actions {
        Actions {
            decisions: Family::default(),
            // From 1 ms to 12 days.
            seconds: Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.001, 2.0, 31))),
            misses: Family::default(),
            known: OnceLock::new(),
            verdicts: OnceLock::new(),
            latencies: Mutex::default(),
            waiting: Family::default(),
            waiting_at: Mutex::default(),
            published: Mutex::default(),
        }
    }
}

/// An action in a report of the status, since the process started.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ActionReport {
    pub name: String,
    /// Number of decisions by what was decided, in the order of the text.
    pub decisions: Vec<(String, u64)>,
    /// Decisions that missed the objective.
    pub misses: u64,
    /// Causes that wait.
    #[serde(default)]
    pub waiting: u64,
    /// What it has been measured to take.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub latencies: Vec<LatencyReport>,
}

/// How long half and nearly all of the decisions of an action took, since the process started.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LatencyReport {
    /// `event` or `arrival`.
    pub from: String,
    /// `published` or `handed_over`.
    pub until: String,
    pub p50_ms: u64,
    pub p99_ms: u64,
}

impl ActionReport {
    /// Returns the number of decisions that were taken back, in time or not.
    pub fn taken_back(&self) -> u64 {
        let back = |what: &str| ["cancelled", "undo"].contains(&what);
        self.decisions.iter().filter(|(what, _)| back(what)).map(|(_, number)| number).sum()
    }

    /// Returns its lines of the list of actions.
    pub fn render_whole(&self) -> String {
        let mut text = format!("{}\n", printable(&self.name));
        let mut line = |label: &str, value: String| text += &format!("  {label:<14}{value}\n");
        let made = self.decisions.iter().filter(|(_, number)| *number > 0);
        let made: Vec<String> = made.map(|(what, number)| format!("{number} {}", what.replace('_', " "))).collect();
        line("decisions", if made.is_empty() { "none yet".to_owned() } else { made.join(", ") });
        if self.waiting > 0 {
            line("waiting", self.waiting.to_string());
        }
        if self.taken_back() > 0 {
            line("taken back", self.taken_back().to_string());
        }
        for LatencyReport { from, until, p50_ms, p99_ms } in &self.latencies {
            let until = until.replace('_', " ");
            line("latency", format!("p50 {p50_ms} ms, p99 {p99_ms} ms from {from} until {until}"));
        }
        if self.misses > 0 {
            line("missed", format!("the objective {} times", self.misses));
        }
        text
    }

    /// Returns its line of the status.
    pub(super) fn render(&self) -> String {
        let made = self.decisions.iter().filter(|(_, number)| *number > 0);
        let made: Vec<String> = made.map(|(what, number)| format!("{number} {}", what.replace('_', " "))).collect();
        let made = if made.is_empty() { "no decisions yet".to_owned() } else { made.join(", ") };
        let misses = if self.misses > 0 { format!(", {} missed the objective", self.misses) } else { String::new() };
        let waiting = if self.waiting > 0 { format!(", {} waiting", self.waiting) } else { String::new() };
        format!("action   {}: {made}{waiting}{misses}\n", printable(&self.name))
    }
}

impl Actions {
    /// Begins the series of these actions at 0.
    pub fn begin(&self, actions: Vec<(String, Option<Objective>)>, verdicts: Vec<&'static str>) {
        for (action, objective) in &actions {
            for decision in &verdicts {
                let by = ByDecision { action: action.clone(), decision: (*decision).to_owned() };
                drop(self.decisions.get_or_create(&by));
            }
            for cause in Cause::ALL.iter().filter(|_| objective.is_some()) {
                drop(self.misses.get_or_create(&ByCause { action: action.clone(), cause: cause.name() }));
            }
        }
        let _once = (self.known.set(actions), self.verdicts.set(verdicts));
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("action_decisions", "Decisions of an action", self.decisions.clone());
        let help = "From the time of the cause, or from its arrival, until its decision is published or handed over";
        registry.register_with_unit("action_latency", help, Unit::Seconds, self.seconds.clone());
        let help = "Decisions that missed the objective of their action, by the part that took longest";
        registry.register("action_misses", help, self.misses.clone());
        let help = "Causes that wait: at a gate, until a row has settled, or to be handed over with others";
        registry.register("action_waiting", help, self.waiting.clone());
    }

    /// Notes how much waits for an action at a worker.
    pub fn waiting(&self, worker: usize, action: &str, many: u64) {
        let mut all = self.waiting_at.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert((action.to_owned(), worker), many);
        let sum: u64 = all.iter().filter(|((of, _), _)| of == action).map(|(_, many)| many).sum();
        self.waiting.get_or_create(&ByAction { action: action.to_owned() }).set(sum as i64);
    }

    /// Measures the decisions of a tick, which was published at `wall_ms`.
    pub fn published(&self, tick: Tick, wall_ms: i64, decisions: &[Decided]) {
        if decisions.is_empty() {
            return;
        }
        {
            let mut published = self.published.lock().unwrap_or_else(PoisonError::into_inner);
            if published.len() == REMEMBERED {
                published.pop_front();
            }
            published.push_back((tick, wall_ms));
        }
        for decided in decisions {
            let by = ByDecision { action: decided.action.clone(), decision: decided.verdict.clone() };
            self.decisions.get_or_create(&by).inc();
            if !["fired", "counted"].contains(&decided.verdict.as_str()) {
                continue;
            }
            self.observe(decided, wall_ms, "published");
            if let Some(objective) = self.objective(decided).filter(|one| missed(*one, decided, wall_ms)) {
                let late = (Cause::LateEvent, decided.received_ms.zip(decided.time_ms).map(|(one, other)| one - other));
                let queue = (Cause::Queue, decided.received_ms.map(|received| decided.decided_ms - received));
                let tick = (Cause::Tick, Some(wall_ms - decided.decided_ms));
                let parts = [late, queue, tick].into_iter().skip(usize::from(objective.from == Origin::Arrival));
                let longest = parts.max_by_key(|(_, part)| part.unwrap_or(i64::MIN));
                self.miss(decided, longest.map_or(Cause::Tick, |(cause, _)| cause));
            }
        }
    }

    /// Measures a decision that a sink has handed over.
    pub fn handed_over(&self, tick: Tick, wall_ms: i64, decided: &Decided) {
        self.observe(decided, wall_ms, "handed_over");
        let Some(objective) = self.objective(decided) else { return };
        let published = {
            let published = self.published.lock().unwrap_or_else(PoisonError::into_inner);
            let place = published.partition_point(|(known, _)| *known < tick);
            published.get(place).filter(|(known, _)| *known == tick).map(|(_, at)| *at)
        };
        let before = published.is_some_and(|published| missed(objective, decided, published));
        if !before && missed(objective, decided, wall_ms) {
            self.miss(decided, Cause::Sink);
        }
    }

    /// Returns the actions for a report.
    pub fn reports(&self) -> Vec<ActionReport> {
        let verdicts = self.verdicts.get().map_or(&[][..], Vec::as_slice);
        let report = |(name, objective): &(String, Option<Objective>)| {
            let of = |decision: &&str| {
                let by = ByDecision { action: name.clone(), decision: (*decision).to_owned() };
                ((*decision).to_owned(), self.decisions.get_or_create(&by).get())
            };
            let missed =
                |cause: Cause| self.misses.get_or_create(&ByCause { action: name.clone(), cause: cause.name() }).get();
            // Without an objective there are no series.
            let misses = Cause::ALL.into_iter().filter(|_| objective.is_some()).map(missed).sum();
            let waiting = self.waiting.get_or_create(&ByAction { action: name.clone() }).get().max(0) as u64;
            let (decisions, latencies) = (verdicts.iter().map(of).collect(), self.latencies_of(name));
            ActionReport { name: name.clone(), decisions, misses, waiting, latencies }
        };
        self.known.get().map_or(Vec::new(), |known| known.iter().map(report).collect())
    }

    fn latencies_of(&self, action: &str) -> Vec<LatencyReport> {
        let all = self.latencies.lock().unwrap_or_else(PoisonError::into_inner);
        let of_action = all.iter().filter(|((of, ..), _)| of == action);
        let report = |((_, from, until), of): (&(String, &str, &str), &Quantiles)| {
            let (p50_ms, p99_ms) = (of.of(0.5)?, of.of(0.99)?);
            Some(LatencyReport { from: (*from).to_owned(), until: (*until).to_owned(), p50_ms, p99_ms })
        };
        of_action.filter_map(report).collect()
    }

    fn objective(&self, decided: &Decided) -> Option<Objective> {
        let known = self.known.get()?;
        known.iter().find(|(name, _)| *name == decided.action)?.1
    }

    fn observe(&self, decided: &Decided, wall_ms: i64, until: &'static str) {
        for from in [Origin::Event, Origin::Arrival] {
            if let Some(begins) = decided.begins(from) {
                let mut latencies = self.latencies.lock().unwrap_or_else(PoisonError::into_inner);
                let of = latencies.entry((decided.action.clone(), from.name(), until)).or_default();
                of.add((wall_ms - begins).max(0).unsigned_abs());
                drop(latencies);
                let way = ByWay { action: decided.action.clone(), from: from.name(), until };
                self.seconds.get_or_create(&way).observe((wall_ms - begins).max(0) as f64 / 1e3);
            }
        }
    }

    fn miss(&self, decided: &Decided, cause: Cause) {
        let by = ByCause { action: decided.action.clone(), cause: cause.name() };
        self.misses.get_or_create(&by).inc();
    }
}

fn missed(objective: Objective, decided: &Decided, wall_ms: i64) -> bool {
    decided.begins(objective.from).is_some_and(|begins| wall_ms - begins > objective.within_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decided(time_ms: i64, received_ms: i64, decided_ms: i64) -> Decided {
        let (action, verdict) = ("a".to_owned(), "fired".to_owned());
        Decided { action, verdict, time_ms: Some(time_ms), received_ms: Some(received_ms), decided_ms }
    }

    /// The number of misses by cause, of decisions with these times that are published and handed over at these.
    fn misses(from: Origin, decisions: &[([i64; 3], i64, i64)]) -> [u64; 4] {
        let actions = Actions::default();
        actions.begin(vec![("a".into(), Some(Objective { within_ms: 100, from }))], vec!["fired"]);
        for (tick, ([time, received, at], published, handed_over)) in (0..).zip(decisions) {
            let decided = decided(*time, *received, *at);
            actions.published(tick, *published, std::slice::from_ref(&decided));
            actions.handed_over(tick, *handed_over, &decided);
        }
        Cause::ALL.map(|cause| actions.misses.get_or_create(&ByCause { action: "a".into(), cause: cause.name() }).get())
    }

    #[test]
    fn a_miss_counts_once_for_the_part_that_took_longest() {
        // Just within; late; long in the queue; a slow tick; a slow sink; a slow sink behind a late event.
        let ways = [
            ([1000, 1000, 1050], 1080, 1100),
            ([0, 1000, 1000], 1000, 1000),
            ([1000, 1000, 1090], 1101, 1102),
            ([1000, 1000, 1010], 1200, 1200),
            ([1000, 1000, 1010], 1020, 1101),
            ([0, 1000, 1010], 1020, 5000),
        ];
        assert_eq!(misses(Origin::Event, &ways), [2, 1, 1, 1]);
        assert_eq!(misses(Origin::Arrival, &ways), [0, 1, 1, 2]);
    }

    #[test]
    fn a_report_has_what_was_decided() {
        let actions = Actions::default();
        actions.begin(vec![("a".into(), None), ("b".into(), None)], vec!["fired", "too_old"]);
        actions.published(1, 5, &[decided(1, 2, 3), Decided { verdict: "too_old".into(), ..decided(1, 2, 3) }]);
        let text: String = actions.reports().iter().map(ActionReport::render).collect();
        assert_eq!(text, "action   a: 1 fired, 1 too old\naction   b: no decisions yet\n");
        actions.waiting(0, "a", 3);
        actions.waiting(1, "a", 4);
        actions.waiting(0, "a", 2);
        let [a, b] = &actions.reports()[..] else { panic!() };
        let expected = "a\n  decisions     1 fired, 1 too old\n  waiting       6\n  latency       p50 3 ms, p99 3 ms from \
                        arrival until published\n  latency       p50 4 ms, p99 4 ms from event until published\n";
        assert_eq!(a.render_whole(), expected);
        assert_eq!(b.render_whole(), "b\n  decisions     none yet\n");
    }
}
