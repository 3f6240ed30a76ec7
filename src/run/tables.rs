//! Follows the files of tables: a file that has changed, and is as it was a moment ago, becomes a control record. One with a
//! mistake is reported once, and the content before it stays.

use super::spawn;
use crate::error::Error;
use crate::observe::status::{Phase, Status};
use crate::plan::{Plan, TablePlan};
use crate::queue::control::Control;
use crate::queue::intake::Intake;
use crate::queue::reference::Content;
use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, SystemTime};

/// Between two looks at the files. A file is taken when two looks find the same.
const PAUSE: Duration = Duration::from_millis(500);

/// What tells a file from one before it.
type Seen = Option<(SystemTime, u64)>;

/// Reads the file of a table.
///
/// # Errors
/// What is wrong, for the operator.
pub(super) fn read(plan: &TablePlan) -> Result<Content, String> {
    let bytes = fs::read(&plan.path).map_err(|error| error.to_string())?;
    Content::read(plan, &bytes)
}

/// Starts a thread that follows the files, if there are tables. `known`: the contents so far.
pub(super) fn follow(
    plan: &Arc<Plan>,
    known: &BTreeMap<String, Content>,
    intake: &Arc<Intake>,
    status: &Arc<Status>,
) -> Option<JoinHandle<()>> {
    if plan.tables.is_empty() {
        return None;
    }
    let (plan, intake, status) = (Arc::clone(plan), Arc::clone(intake), Arc::clone(status));
    let mut known = known.clone();
    Some(spawn("tables", move || {
        let mut looked: Vec<(Seen, Seen)> = vec![(None, None); plan.tables.len()];
        while !intake.is_draining() {
            sleep(PAUSE);
            if matches!(status.phase(), Phase::Starting | Phase::Recovering) {
                continue;
            }
            for (table, (before, taken)) in plan.tables.iter().zip(&mut looked) {
                let metadata = fs::metadata(&table.path).ok();
                let now: Seen = metadata.and_then(|of| Some((of.modified().ok()?, of.len())));
                if std::mem::replace(before, now) != now || *taken == now {
                    continue;
                }
                *taken = now;
                match read(table) {
                    Ok(content) if known.get(&table.name) == Some(&content) => {}
                    Ok(content) => {
                        tracing::info!(
                            table = table.name,
                            rows = content.rows.len(),
                            "the content of a table has changed"
                        );
                        known.insert(table.name.clone(), content.clone());
                        intake.put_control(Control::Table { content }.encode());
                    }
                    Err(why) => report(table, &why),
                }
            }
        }
        Ok::<(), Error>(())
    }))
}

/// Reports a file that is not taken.
pub(super) fn report(table: &TablePlan, why: &str) {
    let path = table.path.display().to_string();
    tracing::error!(table = table.name, path, why, "the file of a table is not taken: the content before it stays");
}
