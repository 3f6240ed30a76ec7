//! Rules that were applied to a run, in the data folder of a plan.

use crate::plan::Plan;
use crate::queue::control::Control;
use crate::queue::definitions::rules_fingerprint;
use crate::queue::versions::Versions;
use headwater_log::follow::Follow;
use headwater_log::inspect::identity;
use headwater_log::vfs::RealFs;
use std::sync::Arc;

/// Returns a sentence about the rules that hold in the data folder, if some were applied. It reads what is there, and changes
/// nothing: a run may have the folder open.
pub(super) fn applied(plan: &Plan) -> Option<String> {
    let root = plan.data_dir.join("log");
    let (id, _) = identity(&root).ok()??;
    let mut control = Follow::new(Arc::new(RealFs), &root, id, u64::MAX).control();
    let mut versions = Versions::default();
    for offset in 0.. {
        let mut is_there = false;
        let read = control.read(offset, offset + 1, |record| {
            is_there = true;
            if let Ok(control) = Control::decode(record.payload) {
                versions.record(record.offset, record.received_ms, &control);
            }
        });
        // What no record follows is the end.
        if read.is_err() || !is_there {
            break;
        }
    }
    let last = versions.last()?;
    let configured = last.configured.as_ref()?;
    let (number, how) = (last.number, last.report().how());
    Some(match *configured == rules_fingerprint(plan) {
        true => format!("in the data folder holds version {number}, {how}, and not these"),
        false => format!(
            "in the data folder holds version {number}, {how}. These have changed since: they hold from the next start on"
        ),
    })
}
