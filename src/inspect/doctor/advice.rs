//! What a damage means for those who rely on the log, and what they can do about it by hand. Says nothing that would lose
//! more than is lost.

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

/// What holds for whatever was acknowledged and cannot be had from elsewhere in the folder.
pub(super) const RESTORE: &str = "copy the whole folder before anything else. Put it back from a backup, all of it, as its files \
                       belong together. Without a backup begin with another data_dir: files that are followed are read \
                       again from their beginning, what was posted has to be posted again";

pub(super) fn of(trouble: &Trouble, found: &Inspection<Control>) -> Advice {
    match &trouble.error {
        LogError::Read(_) => {
            return advice(
                "it cannot be read: for want of permission, or because the disk fails",
                "run this as the user that headwater runs as; if the disk fails (`dmesg` says so), copy the folder to \
                 another one while it can be read",
            );
        }
        LogError::Foreign { .. } => {
            return advice(
                "files of another log, or of a later start than the EPOCH file knows: two folders were mixed, or a part \
                 of one was put back from a backup. A start is refused",
                RESTORE,
            );
        }
        _ => {}
    }
    match trouble.of {
        Area::Identity => advice(
            "it is not known which log this is. A start is refused; the events are not concerned",
            "if nothing but the file LOG is damaged and EPOCH is whole: move LOG away, and a start writes it again",
        ),
        Area::Queue if !trouble.refused => advice(
            "events that were acknowledged are not as they were received. They are in the snapshot that a start goes on \
             from, so it does not need them; another start would, if that snapshot were damaged",
            "let headwater take two more snapshots: then the file is removed",
        ),
        Area::Queue => advice(
            "events that were acknowledged are not as they were received. A start is refused: without them it would \
             compute something else than before",
            RESTORE,
        ),
        Area::Control => advice(
            "it is not known which numbers sources have and by which programs was computed. A start is refused",
            RESTORE,
        ),
        Area::Remap => advice(
            "it is not known which events each tick took. A start is refused: it could not compute again what was \
             published",
            RESTORE,
        ),
        Area::Outputs if !trouble.refused => advice(
            "some of what was published cannot be read: whoever asks for it hears so. A start is not concerned, and \
             neither are the events",
            "nothing, if nobody has to read it again: retention removes the file. Else put the whole folder back from a \
             backup",
        ),
        Area::Outputs => outputs(found),
        Area::Snapshot if found.used.is_some() => advice(
            "the snapshot is not used. Nothing is lost: a start goes on from the one that is marked below, and computes \
             more ticks again",
            "nothing. A start sets a newer one that is damaged aside as `.damaged`; the next two snapshots replace both",
        ),
        Area::Snapshot => advice("the snapshot cannot be used", "see what is said of all snapshots"),
        Area::Snapshots if reaches_back(found) => advice(
            "there is no snapshot to go on from, and a start is refused. Nothing is lost: the log still reaches back to \
             its first tick",
            "move the folder `state` away: a start then computes everything again",
        ),
        Area::Snapshots => advice(
            "there is no snapshot to go on from, and the log does not reach back to its first tick. A start is refused",
            RESTORE,
        ),
        Area::History => advice(
            "parts of the folder are not of one time: some were lost, or put back from a backup without the others. A \
             start is refused",
            RESTORE,
        ),
    }
}

/// What is published can be computed again, if the log still has everything.
fn outputs(found: &Inspection<Control>) -> Advice {
    let again = reaches_back(found) && found.snapshots.is_empty();
    if again {
        return advice(
            "what was published cannot be read. A start is refused; nothing is lost, as the log reaches back to its \
             first tick",
            "move the folder `out` away: a start computes and publishes everything again",
        );
    }
    let means = "what was published cannot be read. A start is refused; the events themselves are not concerned";
    if found.used.is_some() {
        return advice(
            means,
            "move the folder `out` away: a start goes on behind the snapshot, and publishes from there on. Whoever follows \
             what is published has to begin anew",
        );
    }
    advice(means, RESTORE)
}

/// The log has everything from its first tick on.
fn reaches_back(found: &Inspection<Control>) -> bool {
    let whole = found.remap.as_ref().is_some_and(|minted| minted.extent.low == 0);
    whole && found.queue.iter().all(|part| part.is_some_and(|extent| extent.low == 0))
}

/// `repaired`: what the file has to hold, if that can be told.
pub(super) fn epoch(file: &Path, repaired: Option<&str>) -> Advice {
    let means = "a start would take an epoch that was taken before, or begin another log. It is refused";
    match repaired {
        Some(repaired) => {
            let to_do = format!("if no process has the folder open: printf %s '{repaired}' > '{}'", file.display());
            Advice { means: means.into(), to_do }
        }
        None => advice(means, RESTORE),
    }
}
