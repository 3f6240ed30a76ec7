//! What a client asks of a run, and prints.

use crate::error::Error;
use crate::observe::forgets::{ForgetListing, ForgetReport, ForgetStage};
use headwater_client::Forgets;
use std::thread::sleep;
use std::time::Duration;

/// Between two questions of whether a user is forgotten.
const PAUSE: Duration = Duration::from_millis(200);

/// Asks an engine to forget a user, and waits until it has. Returns the receipt.
///
/// # Errors
/// [`Error::Run`] if the engine cannot be asked, or refuses.
pub fn forget(
    url: &str,
    token: Option<&str>,
    user: &str,
    reason: Option<&str>,
    partial: bool,
) -> Result<ForgetReport, Error> {
    let client = client(url, token)?;
    let asking = || Error::run(format!("ask {url} to forget a user"));
    let body = serde_json::json!({ "user": user, "reason": reason, "partial": partial }).to_string();
    let mut report: ForgetReport = client.ask(&body).map_err(asking())?;
    while report.state == ForgetStage::Pending {
        sleep(PAUSE);
        let listing: ForgetListing = client.list().map_err(asking())?;
        let found = listing.forgets.into_iter().find(|one| one.forget == report.forget);
        report = found.ok_or_else(|| Error::run("wait for it")("the engine does not know of it any more"))?;
    }
    match &report.why {
        Some(why) => Err(Error::run("forget the user; no view has changed")(why.clone())),
        None => Ok(report),
    }
}

/// Returns the users that an engine has forgotten, and those that it is about to.
///
/// # Errors
/// [`Error::Run`] if it cannot be asked.
pub fn list(url: &str, token: Option<&str>) -> Result<Vec<ForgetReport>, Error> {
    let listing: ForgetListing =
        client(url, token)?.list().map_err(Error::run(format!("ask {url} for the users that it has forgotten")))?;
    Ok(listing.forgets)
}

fn client(url: &str, token: Option<&str>) -> Result<Forgets, Error> {
    Forgets::new(url, token).map_err(|error| Error::usage(error.to_string(), "write http://HOST:PORT"))
}
