//! `headwater backfill`: brings history into a running engine. The client reads the files and sends chunks; the engine
//! makes each one durable together with the place behind it, and so knows where to go on.
//!
//! ```text
//! files ─ survey: whole? which? ─▶ open ─▶ cut: units, pieces ─▶ send, at a pace ─▶ /v1/backfills/NAME/chunks
//!                                    ▲                              │
//!                                    └── elsewhere: the engine ─────┘
//! ```

mod cut;
mod pace;
mod send;
mod survey;

use crate::collections::place::SourceIndex;
use crate::error::Error;
use crate::observe::backfills::{BackfillReport, BackfillStage, Changed, Listing};
use crate::plan::{Plan, SourcePlan};
use crate::queue::backfills::settings;
use crate::replay::parts_of;
use crate::source::Part;
use crate::source::follow::EVENT_BYTES;
use crate::text::nearest::nearest;
use crate::text::progress::ProgressMode;
use cut::{Pieces, Trouble};
use headwater_client::{Backfills, ClientError};
use headwater_decode::interpret::Range;
use indicatif::HumanCount;
use pace::Pace;
use send::Sender;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Instant;
use survey::Survey;

/// The options of the command line.
#[derive(Clone, Debug)]
pub struct Options {
    pub name: String,
    /// Needed where the configuration has several sources.
    pub source: Option<String>,
    pub files: Vec<PathBuf>,
    pub range: Range,
    /// Records per second, at most.
    pub rate: Option<f64>,
    /// The part of the time in which the engine works on history: above 0, at most 1.
    pub share: f64,
    pub url: String,
    pub token: Option<String>,
    pub progress: ProgressMode,
}

/// Brings the files in, or goes on where an earlier call or another client stopped. Returns when all of it is in the views.
///
/// # Errors
/// [`Error::Usage`] before anything is sent; [`Error::Run`] if it cannot go on. The same call then goes on.
pub fn bring(plan: &Plan, options: &Options) -> Result<(BackfillReport, f64), Error> {
    let began = Instant::now();
    let (index, source) = source(plan, options.source.as_deref())?;
    if options.range != Range::default() && source.events.explode.is_some() {
        let message = format!("--from and --to bound records, and one of `{}` is several events", source.name);
        return Err(Error::usage(message, "leave --from and --to out: a source with `explode` comes in whole"));
    }
    let limit = source.events.limits.event_bytes.max(1);
    if limit > EVENT_BYTES {
        let message = format!("`max_bytes` of `{}` is more than {EVENT_BYTES}", source.name);
        return Err(Error::usage(message, "a chunk has whole records, and cannot be larger"));
    }
    let client = client(&options.url, options.token.as_deref())?;
    let asked = || Error::run(format!("ask {} for its backfills", options.url));
    let listing: Listing = client.list().map_err(asked())?;
    let Some(listed) = listing.sources.iter().find(|listed| listed.name == source.name) else {
        let message = format!("the engine at {} has no source `{}`", options.url, source.name);
        return Err(Error::usage(message, "give the configuration that it runs with"));
    };
    if listed.settings != settings(plan, source) {
        let message = format!("the engine at {} reads `{}` with other settings", options.url, source.name);
        return Err(Error::usage(message, "give the configuration that it runs with"));
    }
    let wanted = SourcePlan { paths: options.files.clone(), ..source.clone() };
    let parts = parts_of(index, &wanted)?;
    let mut pieces = Pieces::new(plan, options.range);
    let survey = Survey::of(&parts, (options.range, limit), &mut pieces, options.progress);
    let survey = survey.map_err(troubles)?;
    let mut sender = Sender::new(&client, options, &source.name, settings(plan, source), &survey);
    let history = History { parts, limit, survey: &survey };
    let report = sender.send(&history, &mut pieces, Pace::new(options.rate, options.share))?;
    Ok((report, began.elapsed().as_secs_f64()))
}

/// The files of a backfill.
struct History<'s> {
    parts: Vec<Part>,
    limit: usize,
    survey: &'s Survey,
}

/// Returns the backfills of an engine; of `name` alone, if there is one.
///
/// # Errors
/// [`Error::Run`]; [`Error::Usage`] if there is none of this name.
pub fn status(url: &str, token: Option<&str>, name: Option<&str>) -> Result<Vec<BackfillReport>, Error> {
    let listing: Listing = client(url, token)?.list().map_err(Error::run(format!("ask {url} for its backfills")))?;
    match name {
        None => Ok(listing.backfills),
        Some(name) => Ok(vec![found(listing.backfills, name)?]),
    }
}

/// Returns how far a backfill is.
fn status_of(client: &Backfills, name: &str) -> Result<BackfillReport, Error> {
    let listing: Listing = client.list().map_err(Error::run("ask for the backfill"))?;
    found(listing.backfills, name)
}

/// Pauses, resumes or cancels a backfill: `to` is the word. Without a name it is the only one that is not done.
///
/// # Errors
/// [`Error::Usage`] if it is not clear which one; [`Error::Run`] if the engine refuses.
pub fn change(url: &str, token: Option<&str>, name: Option<&str>, to: &str) -> Result<BackfillReport, Error> {
    let client = client(url, token)?;
    let listing: Listing = client.list().map_err(Error::run(format!("ask {url} for its backfills")))?;
    let one = match name {
        Some(name) => found(listing.backfills, name)?,
        None => {
            let open = listing.backfills.into_iter().filter(|one| one.state != BackfillStage::Done);
            let mut open: Vec<_> = open.collect();
            match (open.pop(), open.is_empty()) {
                (Some(one), true) => one,
                (None, _) => return Err(Error::usage("no backfill is open", "`status` lists those that there were")),
                (Some(_), false) => {
                    return Err(Error::usage("several backfills are open", "say which one with --name"));
                }
            }
        }
    };
    let changed: Changed = client.change(&one.name, to).map_err(Error::run(format!("{to} the backfill")))?;
    Ok(changed.report)
}

/// Returns the text for people at the end of a backfill.
pub fn render(report: &BackfillReport, seconds: f64) -> String {
    format!(
        "backfill {}: all {} records of {} {} are in, after {seconds:.1} s\n",
        crate::text::printable(&report.name),
        HumanCount(report.records),
        report.files,
        crate::text::plural(u64::from(report.files), "file"),
    )
}

/// Returns the address of the engine that runs with a configuration, as seen from its own host.
///
/// # Errors
/// If its port is chosen at the start.
pub fn url_of(plan: &Plan) -> Result<String, Error> {
    let listen = &plan.http.listen;
    if listen.ends_with(":0") {
        return Err(Error::usage(
            format!("the configuration listens on `{listen}`"),
            "say with --url where the engine is",
        ));
    }
    Ok(match listen.parse::<std::net::SocketAddr>() {
        Ok(address) if address.ip().is_unspecified() => {
            format!("http://{}:{}", IpAddr::from(Ipv4Addr::LOCALHOST), address.port())
        }
        _ => format!("http://{listen}"),
    })
}

fn client(url: &str, token: Option<&str>) -> Result<Backfills, Error> {
    Backfills::new(url, token).map_err(|error| Error::usage(error.to_string(), "write http://HOST:PORT"))
}

fn found(backfills: Vec<BackfillReport>, name: &str) -> Result<BackfillReport, Error> {
    let names = backfills.iter().map(|one| one.name.clone()).collect::<Vec<_>>();
    let help = match nearest(name, names.iter().map(String::as_str)) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "`status` lists those that there are".to_owned(),
    };
    let one = backfills.into_iter().find(|one| one.name == name);
    one.ok_or_else(|| Error::usage(format!("there is no backfill `{name}`"), help))
}

/// Returns the source that the files are of.
fn source<'p>(plan: &'p Plan, name: Option<&str>) -> Result<(SourceIndex, &'p SourcePlan), Error> {
    let mut all = (0..).map(SourceIndex).zip(&plan.sources);
    let names = || plan.sources.iter().map(|source| format!("`{}`", source.name)).collect::<Vec<_>>().join(", ");
    match name {
        Some(name) => all.find(|(_, source)| source.name == name).ok_or_else(|| {
            Error::usage(format!("the configuration has no source `{name}`"), format!("there is {}", names()))
        }),
        None => match (all.next(), all.next()) {
            (Some(one), None) => Ok(one),
            _ => Err(Error::usage(
                "the configuration has several sources",
                format!("say with --source which one: {}", names()),
            )),
        },
    }
}

/// Returns the error of files that cannot be brought in.
fn troubles(troubles: Vec<Trouble>) -> Error {
    let all = troubles.iter().map(|trouble| headwater_log::error::chain(trouble).to_string()).collect::<Vec<_>>();
    Error::run("bring these files in; nothing has been sent")(all.join("\n"))
}

/// Returns the error of a request that failed.
fn failed(error: ClientError) -> Error {
    match error.code() {
        "name" | "other_files" | "same_files" | "settings" | "source" => {
            Error::usage(error.to_string(), "nothing has been sent")
        }
        _ => Error::run("go on with the backfill")(error),
    }
}
