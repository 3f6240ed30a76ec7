//! The output of `headwater subscribe` and `headwater peek`: lines for programs, tables for people.

mod funnel;
mod lines;
mod model;
mod resume;
mod screen;
mod stop;
mod table;

pub use funnel::funnel;
pub use screen::restore as restore_terminal;

use crate::error::Error;
use crate::text::{BOLD, plural, printable_json, wants_color};
use console::Term;
use headwater_client::Builder;
use headwater_client::ClientError;
use headwater_client::{PAGE, Page, Query, peek};
use indicatif::HumanCount;
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::path::Path;
use table::Table;

/// Follows a collection on standard output, until it has caught up if that is wanted, or is asked to stop: as lines where
/// standard output is no terminal, or if `as_lines` says so. `resume` is where the token is kept.
///
/// # Errors
/// [`Error::Usage`] for what the server does not know or understand; else [`Error::Run`].
pub fn subscribe(wanted: Builder, as_lines: bool, resume: Option<&Path>) -> Result<(), Error> {
    let dumb = std::env::var_os("TERM").is_some_and(|terminal| terminal == "dumb");
    if as_lines || dumb || !io::stdout().is_terminal() {
        let out = io::stdout().as_fd().try_clone_to_owned().map_err(Error::run("write to standard output"))?;
        lines::follow(wanted, resume, File::from(out))
    } else {
        screen::follow(wanted)
    }
}

/// Prints rows of a collection: as many as the query wants, else all, page by page.
///
/// # Errors
/// As [`subscribe`].
pub fn rows(url: &str, bearer: Option<&str>, collection: &str, query: &Query, as_lines: bool) -> Result<(), Error> {
    let attempt = format!("read `{collection}`");
    let (mut query, limit) = (query.clone(), query.limit.unwrap_or(u64::MAX));
    let mut out = io::stdout().lock();
    let (mut shown, mut first, as_lines) = (0, None, as_lines || !io::stdout().is_terminal());
    loop {
        query.limit = Some(PAGE.min(limit - shown));
        // Pages of one tick, for as long as it is at hand.
        query.as_of = first;
        let Page { as_of, history, rows, more, next } = match peek(url, bearer, collection, &query) {
            Err(ClientError::Expired { .. } | ClientError::OtherHistory { .. }) if first.is_some() => {
                query.as_of = None;
                peek(url, bearer, collection, &query)
            }
            page => page,
        }
        .map_err(|error| failed(&attempt, error))?;
        query.history = history;
        let text = match as_lines {
            true => rows.iter().map(|row| format!("{}\n", printable_json(row.json()))).collect(),
            false => page(&Table::of(&rows)),
        };
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            // The reader has seen enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            outcome => outcome.map_err(Error::run("print"))?,
        }
        if as_of != *first.get_or_insert(as_of) {
            eprintln!("these rows are as of tick {as_of}, and no longer as of {}", first.unwrap_or(as_of));
            first = Some(as_of);
        }
        shown += rows.len() as u64;
        let more = more || next.is_some();
        query.after = next.filter(|_| shown < limit && !rows.is_empty());
        if query.after.is_some() {
            continue;
        }
        let left_out = if more { ", and more that are left out" } else { "" };
        // A caller that set a limit expects it.
        if !as_lines || (more && shown < limit) {
            eprintln!("{} {} as of tick {as_of}{left_out}", HumanCount(shown), plural(shown, "row"));
        }
        return Ok(());
    }
}

fn page(table: &Table) -> String {
    let (names, rows) = table.lines(usize::from(Term::stdout().size().1));
    if rows.is_empty() {
        return String::new();
    }
    let names = if wants_color() { format!("{BOLD}{names}\x1b[0m") } else { names };
    [names].into_iter().chain(rows).map(|line| line + "\n").collect()
}

fn failed(attempt: &str, error: ClientError) -> Error {
    match error {
        ClientError::Usage { message } => Error::usage(message, "`headwater help subscribe` has examples"),
        ClientError::Refused { message, .. } if error.is_usage() => Error::usage(
            format!("cannot {attempt}: {message}"),
            "`headwater help subscribe` and `headwater help peek` have examples",
        ),
        error => Error::run(attempt)(error),
    }
}
