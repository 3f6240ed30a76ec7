//! Fingerprints of the program that turns events into rows, and of the part of it that root states depend on.

use crate::fingerprint::{Canonical, hex};
use crate::plan::{ActionPlan, GatePlan, Looked, On, Plan, PolicyPlan, SourcePlan, TableColumn, TablePlan, Timing};
use crate::queue::definitions;
use dataflows::sessionize::Policies;
use headwater_decode::spec::{Candidate, CueSpec, EventsPlan, FieldPlan, Limits};
use headwater_decode::syntax::Encoding;

/// Changes when the same events would be computed otherwise than before. Published ticks are then not compared with what
/// is computed again, and resume tokens of before are refused.
const SEMANTICS: u64 = 6;

/// Changes when the rows of root states mean something else than before: data folders of before are then refused, unless
/// their rows are translated.
const STATES: u64 = 1;

/// Of the program that the release before this encoding had; see [`super::former`].
const FORMER_SEMANTICS: u64 = 1;
const FORMER_STATES: u64 = 1;

/// Returns the fingerprint of everything that decides what is computed from the same events.
pub(super) fn program_of(plan: &Plan) -> [u8; 32] {
    let mut to = Canonical::new("headwater program v2");
    to.number(SEMANTICS).number(u64::from(dataflows::identity::VERSION));
    to.list(&plan.sources, source);
    sessions(&mut to, plan);
    // Only where there are any, so that fingerprints of before stay.
    if !plan.actions.is_empty() {
        actions(&mut to, plan);
    }
    to.finish()
}

/// Returns the same program's fingerprint as releases up to 0.1.0 wrote it; `None` if this one computes something else.
pub(super) fn former_program_of(plan: &Plan) -> Option<[u8; 32]> {
    (SEMANTICS == FORMER_SEMANTICS).then(|| super::former::program_of(plan))
}

/// Returns the fingerprint of everything that root states depend on, with its version. With other settings they would
/// mean something else.
pub(super) fn states_of(plan: &Plan) -> String {
    let mut to = Canonical::new("headwater states v2");
    to.number(STATES).number(u64::from(dataflows::identity::VERSION));
    sessions(&mut to, plan);
    format!("v2-{}", hex(&to.finish()))
}

/// Checks that a start can go on from a snapshot with these `states`.
///
/// # Errors
/// What is wrong, and what can be done.
pub(super) fn check_states(states: &str, plan: &Plan) -> Result<(), (&'static str, &'static str)> {
    // Releases of that form had no policies.
    let former = STATES == FORMER_STATES && plan.sessions.policies.is_none();
    let known = states == states_of(plan) || former && states == super::former::states_of(plan);
    let version = states.split_once('-').map(|(version, _)| version);
    match version {
        _ if known => Ok(()),
        Some(version) if version != "v2" => Err((
            "the sessions in the data folder were made by a later version of headwater",
            "start that version again, or begin with another data_dir",
        )),
        _ => Err((
            "the sessions in the data folder were made with another `gap`, other policies, other sums or \
             other carried fields",
            "put [sessions] back as it was, or begin with another data_dir",
        )),
    }
}

/// Adds the settings that make sessions. Tests and rules are data, so they are not part of it.
fn sessions(to: &mut Canonical, plan: &Plan) {
    let sessions = &plan.sessions;
    to.signed(sessions.gap);
    to.list(&sessions.sums, |to, (name, of)| field(to.text(name), &plan.fields[*of]));
    to.list(&sessions.carry, |to, of| field(to, &plan.fields[*of]));
    // Only where there are any, so that fingerprints of before stay.
    if let Some(PolicyPlan { graph, cues }) = &sessions.policies {
        let Policies { max_duration, max_events, gaps } = graph;
        let CueSpec { split_on, split_at, start, end, keepalive, class_gaps, source_gaps } = cues;
        to.text("policies");
        to.option(*max_duration, |to, most| {
            to.signed(most);
        });
        to.option(*max_events, |to, most| {
            to.number(most);
        });
        to.option(*split_on, |to, of| field(to, &plan.fields[of]));
        to.option(split_at.as_deref(), |to, zone| {
            to.text(zone);
        });
        let classes = |to: &mut Canonical, classes: &[String]| {
            to.list(classes, |to, class| {
                to.text(class);
            });
        };
        classes(to, start);
        classes(to, end);
        // Only where there are any, as above.
        if !keepalive.is_empty() {
            to.text("keepalive");
            classes(to, keepalive);
        }
        if !gaps.all().is_empty() {
            let gap = |number: &u8| gaps.all()[usize::from(*number) - 1];
            to.text("gaps");
            to.list(class_gaps, |to, (class, number)| {
                to.text(class).signed(gap(number));
            });
            to.list(source_gaps, |to, (of, number)| {
                to.text(&plan.sources[usize::from(*of)].name).signed(gap(number));
            });
        }
    }
}

fn field(to: &mut Canonical, field: &FieldPlan) {
    let FieldPlan { name, candidates } = field;
    to.text(name).list(candidates, |to, path| {
        to.text(&path.to_string());
    });
}

/// Adds what actions decide, and what their decisions show. Who hands them over does not matter.
fn actions(to: &mut Canonical, plan: &Plan) {
    to.text("actions").list(&plan.actions, |to, action| {
        let ActionPlan { name, on, when, looks_up, timing, act, sink: _, max_age, objective: _, .. } = action;
        let ActionPlan { replay, gate, compensate, begins: _, .. } = action;
        to.text(name).text(on.name());
        if let On::Rows { edge, .. } = on {
            to.text(edge.name());
        }
        to.option(when.as_deref(), |to, when| {
            to.text(when);
        });
        match timing {
            Timing::Now => {}
            Timing::Every(every) => _ = to.text("every").signed(*every),
            Timing::Settled(after) => _ = to.text("settled").signed(*after),
            Timing::Closed => _ = to.text("closed"),
        }
        if let Some(GatePlan { until, filter: _, deadline, otherwise, limit }) = gate {
            to.text("gate").text(until).signed(*deadline).text(otherwise.name()).number(u64::from(*limit));
        }
        if *compensate {
            to.text("compensate");
        }
        to.text(act.name()).text(replay.name()).option(*max_age, |to, age| {
            to.signed(age);
        });
        to.list(&looks_up.states, |to, state| {
            let state = &plan.states[usize::from(*state)];
            to.text(&definitions::fingerprint(plan, state)).list(&state.schema.columns(), |to, column| {
                to.text(&column.name);
            });
        });
        if !looks_up.shown.is_empty() {
            to.text("decorate").list(&looks_up.shown, |to, (name, _)| _ = to.text(name));
        }
        to.option(looks_up.entity, |to, of| field(to, &plan.fields[of]));
        for looked in &looks_up.columns {
            if let Looked::Table(table, column) = looked {
                let TablePlan { name, per, columns, .. } = &plan.tables[*table];
                let TableColumn { name: column, is_number } = &columns[*column];
                to.text("table").text(name).text(column).number(u64::from(*is_number));
                to.option(*per, |to, of| field(to, &plan.fields[of]));
            }
        }
    });
    to.list(&plan.shown, |to, of| field(to, &plan.fields[*of]));
}

/// Names every field: a new one does not compile until this function handles it.
fn source(to: &mut Canonical, source: &SourcePlan) {
    // Where events come from does not matter to what they mean.
    let SourcePlan { name, kind: _, paths: _, kafka: _, format, syntax, events, is_implied: _ } = source;
    let EventsPlan { user, time, kind, id, join, zone, dedupe, max_future, explode, limits, .. } = events;
    let EventsPlan { time_unit, time_formats, year, absent, order, ties, .. } = events;
    let Limits { event_bytes, depth, keys } = limits;
    to.text(name).option(*format, |to, format| {
        to.text(format.name());
    });
    for of in [user, time, kind] {
        to.option(of.as_deref(), candidates);
    }
    candidates(to, id);
    to.text(join)
        .text(zone)
        .option(*dedupe, |to, horizon| {
            to.signed(horizon);
        })
        .signed(*max_future);
    to.option(explode.as_ref(), |to, path| {
        to.text(&path.to_string());
    });
    [event_bytes, depth, keys].into_iter().for_each(|limit| {
        to.number(*limit as u64);
    });
    // Behind all others, and only where they are set, so that fingerprints of before stay.
    if let Some(unit) = time_unit {
        to.text("time_unit").text(unit.name());
    }
    let texts = |to: &mut Canonical, name: &str, texts: &[String]| {
        to.text(name).list(texts, |to, text| {
            to.text(text);
        });
    };
    if !time_formats.is_empty() {
        texts(to, "time_format", time_formats);
    }
    if let Some(year) = year {
        to.text("year").signed((*year).into());
    }
    if let Some(absent) = absent {
        texts(to, "absent", absent);
    }
    if let Some(order) = order {
        to.text("order").text(&order.to_string());
    }
    if let Some(ties) = ties {
        to.text("ties").text(ties.name());
    }
    // Deliveries say how their records are framed. Only what they do not say changes how they are read.
    if syntax.encoding != Encoding::Utf8 {
        to.text(syntax.encoding.name());
    }
}

fn candidates(to: &mut Canonical, candidates: &[Candidate]) {
    to.list(candidates, |to, Candidate { parts }| {
        to.list(parts, |to, path| {
            to.text(&path.to_string());
        });
    });
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::config::{self, Overrides};

    pub fn plan(text: &str) -> Plan {
        let overrides = Overrides { without_files: true, live: true, ..Overrides::default() };
        config::parse("test.toml", text, std::path::Path::new("/"), &overrides).unwrap()
    }

    pub const SMALL: &str = "[[source]]\nname = 'web'\nkind = 'http'\n[sessions]\ngap = '30m'\n";
    pub const LARGE: &str = r#"
[[source]]
name = "we\"b"
kind = "http"
format = "json"
[[source]]
name = "app"
kind = "http"
events = { time = ["at"], id = ["n"], max_future = "1h", max_depth = 5 }
[events]
user = ["user.id", ["a", "b c"]]
time = ["time", "\"x y\".t"]
type = ["kind"]
id = ["id"]
join = "\u00fc'\n"
zone = "Europe/Vienna"
dedupe = "7d"
explode = "items[]"
[fields]
price = ["price", "cost.\"a b\""]
[sessions]
gap = "2s"
sum = { revenue = "price", n = "n" }
carry = ["page", "price"]
"#;

    /// Data folders hold these. A name of a struct or field may change, these may not.
    #[test]
    fn fingerprints_are_pinned() {
        let of = |text: &str| (hex(&program_of(&plan(text))), states_of(&plan(text)));
        let pinned = |program: &str, states: &str| (program.to_owned(), states.to_owned());
        assert_eq!(
            [of(SMALL), of(LARGE)],
            [
                pinned(
                    "b0e9dc6886d8514f65b3937111a376206dad1fe0479bbfca50d5c9d6b54ea880",
                    "v2-ef3eb90b0f40a1d8ad8750d03fbc8535abb0cacc0b223656bc20669e6bcbc928"
                ),
                pinned(
                    "a97de2150112bd1dd6c426be99a3ba9d9ff87dedba299779f901534bc4858acc",
                    "v2-a47e8cccf63c21527028b6131d74e0376b343302770dd6e77eace57644432ace"
                )
            ]
        );
    }

    /// The fingerprint covers every setting of events and sessions, and nothing else.
    #[test]
    fn each_setting_that_computes_otherwise_gives_another_program() {
        let original = program_of(&plan(LARGE));
        let same = LARGE.replace("[sessions]", "[cluster]\nworkers = 1\n[sessions]");
        assert_eq!(program_of(&plan(&same)), original);
        let changes = [
            ("user.id", "user.x"),
            ("\"b c\"", "\"b d\""),
            ("[\"a\", ", "[\"a\"], ["),
            ("type = [\"kind\"]", ""),
            ("zone = ", "time_unit = \"ms\"\nzone = "),
            ("zone = ", "time_format = \"%d/%m/%Y\"\nzone = "),
            ("zone = ", "year = 2024\nzone = "),
            ("zone = ", "absent = []\nzone = "),
            ("zone = ", "order = \"seq\"\nzone = "),
            ("zone = ", "ties = \"log\"\nzone = "),
            ("[\"kind\"]", "{ path = \"kind\", as = \"lower\" }"),
            ("\\n\"", "\\r\""),
            ("Vienna", "Berlin"),
            ("7d", "8d"),
            ("items[]", "items"),
            ("format = \"json\"", ""),
            ("1h", "2h"),
            ("max_depth = 5", "max_depth = 6"),
            ("2s", "3s"),
            ("n = \"n\"", "m = \"n\""),
            ("cost.", "costs."),
            ("[\"page\", \"price\"]", "[\"price\", \"page\"]"),
            ("gap = ", "max_duration = \"8h\"\ngap = "),
            ("gap = ", "max_events = 9\ngap = "),
            ("gap = ", "split_on = \"page\"\ngap = "),
            ("gap = ", "split_at = \"midnight\"\ngap = "),
            ("gap = ", "start = \"login\"\ngap = "),
            ("gap = ", "end = \"login\"\ngap = "),
        ];
        for (from, to) in changes {
            let text = LARGE.replacen(from, to, 1);
            assert_ne!(text, LARGE, "{from}");
            assert_ne!(program_of(&plan(&text)), original, "{from} -> {to}");
        }
    }

    #[test]
    fn states_of_this_and_of_the_former_form_are_known_and_others_say_why_not() {
        let (small, large) = (plan(SMALL), plan(LARGE));
        for states in [states_of(&small), super::super::former::states_of(&small)] {
            assert_eq!(check_states(&states, &small), Ok(()));
            assert!(check_states(&states, &large).unwrap_err().0.contains("another `gap`"));
        }
        assert!(check_states("v3-00", &small).unwrap_err().0.contains("later version"));
    }
}
