//! The output of `headwater funnel`: how many activities of a sequence have come how far.

use super::failed;
use crate::collections::funnels::BUCKETS;
use crate::error::Error;
use crate::text::nearest::nearest;
use crate::text::{BOLD, DIM, Text, printable};
use headwater_client::{ClientError, PAGE, Page, Query, collections, peek};
use indicatif::HumanCount;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::{self, Write};

/// The funnel of one sequence, over all hours and breakdowns that were asked for.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Funnel {
    sequence: String,
    /// The tick that the numbers are of.
    as_of: u64,
    /// Attempts that were broken off are in none of them.
    steps: Vec<StepOf>,
    matched: u64,
    expired: u64,
    open: u64,
    broken: u64,
    /// Half of the matches took at most so long: a bucket of `took`.
    median: Option<&'static str>,
    /// The mean of all matches, in microseconds.
    mean_us: Option<u64>,
    /// Matches by the time that they took.
    took: BTreeMap<String, u64>,
    /// Events before that time do not count.
    partial_since: Option<String>,
    /// What looks wrong.
    notices: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
struct StepOf {
    step: String,
    optional: bool,
    reached: u64,
    /// Of those that have the first step: from 0 to 1.
    of_first: Option<f64>,
    /// Of those that have the step before that is not optional.
    of_previous: Option<f64>,
}

#[derive(Deserialize)]
struct Listing {
    collections: Vec<Listed>,
}

#[derive(Deserialize)]
struct Listed {
    name: String,
    #[serde(default)]
    sequences: Vec<Sequence>,
}

#[derive(Deserialize)]
struct Sequence {
    name: String,
    steps: Vec<Step>,
}

#[derive(Deserialize)]
struct Step {
    step: String,
    class: String,
    optional: bool,
}

/// A row of `funnels`.
#[derive(Deserialize)]
struct Row {
    reached: BTreeMap<String, u64>,
    open: u64,
    expired: u64,
    matched: u64,
    broken: u64,
    took: BTreeMap<String, u64>,
    took_us: u64,
    partial_since: Option<String>,
}

/// Asks a server for the funnel of a sequence. `filter`: of the rows of `funnels` that count.
///
/// # Errors
/// [`Error::Usage`] for what the server does not know or understand; else [`Error::Run`].
pub fn funnel(
    url: &str,
    bearer: Option<&str>,
    name: &str,
    filter: Option<&str>,
    wait_for: Option<&str>,
) -> Result<Funnel, Error> {
    let attempt = "read `funnels`";
    let listing: Listing = collections(url, bearer).map_err(|error| failed("list the collections", error))?;
    let listed = listing.collections.into_iter().find(|one| one.name == "funnels");
    let Some(Listed { sequences, .. }) = listed else {
        let help = "add a [[sequence]] to its configuration; a token needs the scope subscribe:funnels";
        return Err(Error::usage(format!("the server at {url} shows no sequences"), help));
    };
    let Some(sequence) = sequences.iter().find(|sequence| sequence.name == name) else {
        let names: Vec<&str> = sequences.iter().map(|sequence| &*sequence.name).collect();
        let help = match nearest(name, names.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("the sequences are: {}", names.join(", ")),
        };
        return Err(Error::usage(format!("the server at {url} has no sequence `{name}`"), help));
    };
    let of = format!("sequence = {}", serde_json::Value::from(name));
    let filter = filter.map_or(of.clone(), |filter| format!("{of} and ({filter})"));
    let query =
        Query { filter: Some(filter), limit: Some(PAGE), wait_for: wait_for.map(str::to_owned), ..Query::default() };
    let (as_of, rows) = all(url, bearer, query).map_err(|error| failed(attempt, error))?;
    let rows = rows.iter().map(|row| serde_json::from_str(row)).collect::<Result<Vec<Row>, _>>();
    let mut funnel = Funnel::of(sequence, as_of, &rows.map_err(Error::run(attempt))?);
    // A token may be for funnels alone: then nothing is said of classes.
    funnel.notices = missing(url, bearer, sequence).unwrap_or_default();
    Ok(funnel)
}

/// Reads all pages, of one tick.
fn all(url: &str, bearer: Option<&str>, mut query: Query) -> Result<(u64, Vec<String>), ClientError> {
    let mut rows = Vec::new();
    loop {
        let Page { as_of, history, rows: page, next, .. } = peek(url, bearer, "funnels", &query)?;
        rows.extend(page.iter().map(|row| row.json().to_owned()));
        match next {
            Some(next) => query = Query { as_of: Some(as_of), history, after: Some(next), ..query },
            None => return Ok((as_of, rows)),
        }
    }
}

/// Returns what to say of the classes that no event has.
fn missing(url: &str, bearer: Option<&str>, sequence: &Sequence) -> Result<Vec<String>, ClientError> {
    #[derive(Deserialize)]
    struct Count {
        class: String,
    }
    let query = Query { columns: Some("class".into()), limit: Some(PAGE), ..Query::default() };
    let Page { rows, more, .. } = peek(url, bearer, "counts", &query)?;
    let classes = rows.iter().filter_map(|row| Some(serde_json::from_str::<Count>(row.json()).ok()?.class));
    let classes: Vec<String> = classes.collect();
    let lacks = |step: &&Step| !more && !classes.contains(&step.class);
    let say = |step: &Step| {
        let near = nearest(&step.class, classes.iter().map(String::as_str));
        let near = near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
        format!("no event has the class `{}`{near}", step.class)
    };
    Ok(sequence.steps.iter().filter(lacks).map(say).collect())
}

impl Funnel {
    fn of(sequence: &Sequence, as_of: u64, rows: &[Row]) -> Funnel {
        let sum = |of: fn(&Row) -> u64| rows.iter().map(of).sum::<u64>();
        let mut took = BTreeMap::<String, u64>::new();
        for (bucket, matches) in rows.iter().flat_map(|row| &row.took) {
            *took.entry(bucket.clone()).or_default() += matches;
        }
        let matched = sum(|row| row.matched);
        let mut below = 0;
        let median = BUCKETS.into_iter().find(|bucket| {
            below += took.get(*bucket).copied().unwrap_or_default();
            2 * below >= matched && below > 0
        });
        let share = |part: u64, whole: u64| (whole > 0).then(|| part as f64 / whole as f64);
        let (mut steps, mut first, mut previous) = (Vec::new(), None, None);
        for Step { step, optional, .. } in &sequence.steps {
            let reached = rows.iter().map(|row| row.reached.get(step).copied().unwrap_or_default()).sum();
            steps.push(StepOf {
                step: step.clone(),
                optional: *optional,
                reached,
                of_first: share(reached, *first.get_or_insert(reached)),
                of_previous: previous.and_then(|previous| share(reached, previous)),
            });
            if !optional {
                previous = Some(reached);
            }
        }
        Funnel {
            sequence: sequence.name.clone(),
            as_of,
            steps,
            matched,
            expired: sum(|row| row.expired),
            open: sum(|row| row.open),
            broken: sum(|row| row.broken),
            median,
            mean_us: sum(|row| row.took_us).checked_div(matched),
            took,
            partial_since: rows.iter().find_map(|row| row.partial_since.clone()),
            notices: Vec::new(),
        }
    }

    /// Returns it as a table.
    pub fn render(&self, color: bool) -> String {
        let mut text = Text::new(color);
        self.write(&mut text).expect("memory can be written to");
        text.out
    }

    fn write(&self, text: &mut Text) -> fmt::Result {
        let ((bold, plain), (dim, _)) = (text.style(BOLD), text.style(DIM));
        let out = &mut text.out;
        let states =
            [(self.matched, "matched"), (self.expired, "expired"), (self.open, "open"), (self.broken, "broken")];
        let all: u64 = states.iter().map(|(number, _)| number).sum();
        let states = states.iter().filter(|(number, _)| *number > 0);
        let states: Vec<_> = states.map(|(number, state)| format!("{} {state}", HumanCount(*number))).collect();
        let states = if states.is_empty() { String::new() } else { format!(": {}", states.join(", ")) };
        let activities = if all == 1 { "activity" } else { "activities" };
        writeln!(out, "{bold}{}{plain}  {} {activities}{states}", printable(&self.sequence), HumanCount(all))?;
        let names = self.steps.iter().map(|step| {
            let mark = if step.optional { "?" } else { "" };
            format!("{}{mark}", printable(&step.step))
        });
        let names: Vec<String> = names.collect();
        let width = names.iter().map(|name| name.chars().count()).chain([4]).max().unwrap_or_default();
        writeln!(out, "{dim}  {:<width$}  {:>11}  {:>8}  {:>11}{plain}", "step", "reached", "of first", "of previous")?;
        let percent = |share: Option<f64>| share.map_or_else(String::new, |share| format!("{:.1}%", 100.0 * share));
        for (name, step) in names.iter().zip(&self.steps) {
            let (first, previous) = (percent(step.of_first), percent(step.of_previous));
            let line =
                format!("  {name:<width$}  {:>11}  {first:>8}  {previous:>11}", HumanCount(step.reached).to_string());
            writeln!(out, "{}", line.trim_end())?;
        }
        if let Some(median) = self.median {
            let median = median.replace("<=", "at most ").replace('>', "more than ");
            writeln!(out, "half of the matches took {median}")?;
        }
        if let Some(since) = &self.partial_since {
            writeln!(out, "events count that were received since {}", printable(since))?;
        }
        self.notices.iter().try_for_each(|notice| writeln!(out, "{}", printable(notice)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_funnel_is_the_sum_of_its_rows() {
        let step = |step: &str, optional| Step { step: step.into(), class: step.into(), optional };
        let steps = vec![step("cart", false), step("shipping", true), step("purchase", false)];
        let sequence = Sequence { name: "checkout".into(), steps };
        let row = |json: &str| serde_json::from_str::<Row>(json).unwrap();
        let rows = [
            row(
                r#"{"reached":{"cart":1000,"shipping":400,"purchase":200},"open":1,"expired":799,"matched":200,"broken":7,
                   "took":{"<=1m":90,"<=15m":110},"took_us":60000000000,"partial_since":null}"#,
            ),
            row(r#"{"reached":{"cart":500,"shipping":0,"purchase":0},"open":0,"expired":500,"matched":0,"broken":0,
                   "took":{},"took_us":0,"partial_since":null}"#),
        ];
        let text = "\
checkout  1,507 activities: 200 matched, 1,299 expired, 1 open, 7 broken
  step           reached  of first  of previous
  cart             1,500    100.0%
  shipping?          400     26.7%        26.7%
  purchase           200     13.3%        13.3%
half of the matches took at most 15m
";
        let funnel = Funnel::of(&sequence, 7, &rows);
        assert_eq!(funnel.render(false), text);
        assert_eq!(funnel.mean_us, Some(300_000_000));
        let empty = "\
checkout  0 activities
  step           reached  of first  of previous
  cart                 0
  shipping?            0
  purchase             0
";
        assert_eq!(Funnel::of(&sequence, 7, &[]).render(false), empty);
    }
}
