//! Checks the files beside the log as a start checks them: the existence of the log, `HISTORY`, the cursors of sinks,
//! the reserve. Tokens of the HTTP server belong to the configuration, not to the folder.

use super::Damage;
use super::advice::RESTORE;
use crate::queue::control::Control;
use crate::run::opening::{ANEW, lost};
use crate::sink;
use crate::sink::cursors::Found;
use headwater_log::epoch::{self, Epoch};
use headwater_log::histories::{self, Histories, Place};
use headwater_log::inspect::Inspection;
use std::io;
use std::path::{Path, PathBuf};

/// Read before the log is, as it refers to that.
pub(super) struct Beside {
    folder: PathBuf,
    histories: io::Result<Option<Histories>>,
    cursors: Vec<Found>,
}

impl Beside {
    pub fn read(folder: &Path) -> Beside {
        let cursors = sink::cursors::read(&folder.join(sink::FOLDER));
        Beside { folder: folder.to_owned(), histories: Histories::load(folder), cursors }
    }

    /// Returns the damages, and whether a start would be refused because of them with any configuration.
    pub fn check(self, epoch: Option<Epoch>, found: &Inspection<Control>) -> (Vec<Damage>, bool) {
        let mut damages = Vec::new();
        let upper = found.outputs.as_ref().map(|outputs| outputs.extent.next);
        let log = epoch.map(|epoch| epoch.log);
        let histories = self.histories.and_then(|histories| match (histories, log, place(found)) {
            (Some(histories), Some(log), Some(at)) => {
                let checked = histories.check(log, &at).map_err(io::Error::other);
                checked.map(|()| Some(histories))
            }
            (histories, ..) => Ok(histories),
        });
        let histories = histories.map_err(|error| {
            let means = "the ticks of each start are unknown, or the folder has parts of several times. A start is \
                         refused";
            damages.push(damage(&self.folder.join(histories::FILE), &error.to_string(), means, RESTORE));
        });
        let mut refused = histories.is_err();
        let reserve = self.folder.join(headwater_log::reserve::NAME);
        if reserve.symlink_metadata().is_ok_and(|file| !file.is_file()) {
            let means = "no space can be reserved. A start is refused";
            damages.push(damage(&reserve, "this is no regular file", means, "remove it"));
            refused = true;
        }
        for cursor in self.cursors {
            if let Some(why) = cursor.problem(log, histories.as_ref().ok().and_then(Option::as_ref), upper) {
                let means = "the position of the sink is unknown. A start is refused if the configuration has the \
                             sink";
                let to_do = "give the sink another name; or remove its folder, and it begins again";
                damages.push(damage(cursor.file(), &why, means, to_do));
            }
        }
        (damages, refused)
    }
}

/// Returns the place at which a start would begin; `None` if the log cannot be opened.
fn place(found: &Inspection<Control>) -> Option<Place> {
    let queue = found.queue.iter().map(|part| part.map(|extent| extent.next)).collect::<Option<_>>()?;
    Some(Place { tick: found.remap.as_ref()?.extent.next, queue })
}

/// Returns the damage of a log of which all or a part is gone.
pub(super) fn missing(folder: &Path) -> Option<Damage> {
    // Of an `EPOCH` that is missing or cannot be read more is said elsewhere.
    epoch::last(folder).ok().flatten()?;
    let what = lost(folder).ok().flatten()?;
    let means = "the events and sessions of this folder are gone. A start is refused, as it would begin with nothing";
    Some(damage(&folder.join("log"), &what, means, ANEW))
}

fn damage(file: &Path, what: &str, means: &str, to_do: &str) -> Damage {
    let file = Some(file.display().to_string());
    Damage { file, at: None, what: what.into(), means: means.into(), to_do: to_do.into(), harmless: false }
}
