//! The meaning of each damage for an operator, and the steps by hand that may help. No advice here loses more data than
//! is lost already.

use crate::queue::control::Control;
use headwater_log::error::LogError;
use headwater_log::inspect::{Area, Inspection, Trouble};
use std::path::Path;

pub(super) struct Advice {
    pub means: String,
    pub to_do: String,
}

fn advice(means: &str, to_do: &str) -> Advice {
    Advice { means: means.into(), to_do: to_do.into() }
}

/// The advice for acknowledged data that the folder does not have elsewhere.
pub(super) const RESTORE: &str = "first copy the whole folder. Then restore the whole folder from a backup, as its \
                                  files belong together. Without a backup, begin with another data_dir: headwater \
                                  reads followed files from their beginning, and clients have to post their events \
                                  again";

pub(super) fn of(trouble: &Trouble, found: &Inspection<Control>) -> Advice {
    match &trouble.error {
        LogError::Read(_) => {
            return advice(
                "it cannot be read: a permission is missing, or the disk fails",
                "run the doctor as the user of headwater. If the disk fails (see `dmesg`), copy the folder to \
                 another disk while it can be read",
            );
        }
        LogError::Foreign { .. } => {
            return advice(
                "files of another log, or of a later start than the one in EPOCH: two folders were mixed, or only a \
                 part was restored from a backup. A start is refused",
                RESTORE,
            );
        }
        _ => {}
    }
    match trouble.of {
        Area::Identity => advice(
            "the identity of the log is unknown. A start is refused. The events are not affected",
            "if only the file LOG is damaged and EPOCH is whole: move LOG away, and a start writes it again",
        ),
        Area::Queue if !trouble.refused => advice(
            "the bytes of acknowledged events have changed. A start goes on from a snapshot that includes these \
             events, so it does not need them. If that snapshot were damaged, a start would need them",
            "let headwater write two more snapshots. Then it removes the file",
        ),
        Area::Queue => advice(
            "the bytes of acknowledged events have changed. A start is refused: without these events its results \
             would differ from the published ones",
            RESTORE,
        ),
        Area::Control => {
            advice("the numbers of sources and the programs of earlier starts are unknown. A start is refused", RESTORE)
        }
        Area::Remap => advice(
            "the events that each tick took are unknown. A start is refused: it could not compute the published \
             ticks again",
            RESTORE,
        ),
        Area::Outputs if !trouble.refused => advice(
            "some published ticks cannot be read: a client that asks for them gets an error. A start is not \
             affected, and neither are the events",
            "nothing, if no client needs these ticks: retention removes the file. Else restore the whole folder \
             from a backup",
        ),
        Area::Outputs => outputs(found),
        Area::Snapshot if found.used.is_some() => advice(
            "the snapshot is not used. Nothing is lost: a start goes on from the one that is marked below, and computes \
             more ticks again",
            "nothing. A start renames a damaged newer one to `.damaged`. The next two snapshots replace both",
        ),
        Area::Snapshot => advice("the snapshot cannot be used", "see the advice for all snapshots"),
        Area::Snapshots if reaches_back(found) => advice(
            "no snapshot can be used, and a start is refused. Nothing is lost: the log still reaches back to its \
             first tick",
            "move the folder `state` away: a start then computes everything again",
        ),
        Area::Snapshots => advice(
            "no snapshot can be used, and the log does not reach back to its first tick. A start is refused",
            RESTORE,
        ),
        Area::History => advice(
            "parts of the folder are not of one time: some were lost, or were restored from a backup without the \
             others. A start is refused",
            RESTORE,
        ),
    }
}

/// Advises on the output log: it can be computed again if the rest of the log is whole.
fn outputs(found: &Inspection<Control>) -> Advice {
    let again = reaches_back(found) && found.snapshots.is_empty();
    if again {
        return advice(
            "the published ticks cannot be read. A start is refused. Nothing is lost, as the log reaches back to \
             its first tick",
            "move the folder `out` away: a start computes and publishes everything again",
        );
    }
    let means = "the published ticks cannot be read. A start is refused. The events themselves are not affected";
    if found.used.is_some() {
        return advice(
            means,
            "move the folder `out` away: a start goes on behind the snapshot, and publishes from there on. \
             Subscribers have to begin again with a snapshot",
        );
    }
    advice(means, RESTORE)
}

/// Returns whether the log has everything from its first tick on.
fn reaches_back(found: &Inspection<Control>) -> bool {
    let whole = found.remap.as_ref().is_some_and(|minted| minted.extent.low == 0);
    whole && found.queue.iter().all(|part| part.is_some_and(|extent| extent.low == 0))
}

/// `repaired`: the content that the file should have, if that is known.
pub(super) fn epoch(file: &Path, repaired: Option<&str>) -> Advice {
    let means = "a start would take an epoch that was used before, or begin another log. It is refused";
    match repaired {
        Some(repaired) => {
            let to_do = format!("if no process has the folder open: printf %s '{repaired}' > '{}'", file.display());
            Advice { means: means.into(), to_do }
        }
        None => advice(means, RESTORE),
    }
}
