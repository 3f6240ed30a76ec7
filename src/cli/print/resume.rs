//! Keeps the token of the written lines, so that a later run goes on after them.

use headwater_log::durable;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

/// A file that holds a token and nothing else.
#[derive(Clone, Debug)]
pub(super) struct ResumeFile(PathBuf);

impl ResumeFile {
    pub(super) fn new(path: &Path) -> ResumeFile {
        ResumeFile(path.to_owned())
    }

    /// `None`: there is no file yet.
    pub(super) fn read(&self) -> io::Result<Option<String>> {
        match fs::read_to_string(&self.0) {
            Ok(text) if text.trim().is_empty() => {
                Err(io::Error::other("it is empty; remove it to begin with a snapshot"))
            }
            Ok(text) => Ok(Some(text.trim().to_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Replaces the file whole or not at all, also when power is lost.
    pub(super) fn write(&self, token: &str) -> io::Result<()> {
        durable::replace(&self.0, format!("{token}\n").as_bytes())
    }
}

/// Saves tokens on a thread of its own: saving takes milliseconds, and tokens come faster. Of those that wait only the
/// last one is saved.
pub(super) struct Saver {
    /// `None` once it has ended.
    running: Option<(Sender<String>, JoinHandle<io::Result<()>>)>,
}

impl Saver {
    pub(super) fn start(save: impl FnMut(&str) -> io::Result<()> + Send + 'static) -> io::Result<Saver> {
        let (sender, tokens) = channel();
        let thread = thread::Builder::new().name("tokens".into()).spawn(move || save_each(&tokens, save))?;
        Ok(Saver { running: Some((sender, thread)) })
    }

    /// Hands a token over. What came before it has been written.
    ///
    /// # Errors
    /// Those of saving an earlier one.
    pub(super) fn save(&mut self, token: &str) -> io::Result<()> {
        match &self.running {
            Some((tokens, _)) if tokens.send(token.to_owned()).is_ok() => Ok(()),
            _ => self.finish(),
        }
    }

    /// Waits until the last token has been saved.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        let Some((tokens, thread)) = self.running.take() else { return Ok(()) };
        drop(tokens);
        thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread that saves tokens has failed")))
    }
}

fn save_each(tokens: &Receiver<String>, mut save: impl FnMut(&str) -> io::Result<()>) -> io::Result<()> {
    while let Ok(first) = tokens.recv() {
        save(&tokens.try_iter().last().unwrap_or(first))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_there_whole_or_the_one_before_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let file = ResumeFile::new(&path);
        assert_eq!(file.read().unwrap(), None);
        for token in ["one", "two"] {
            file.write(token).unwrap();
            assert_eq!(file.read().unwrap().as_deref(), Some(token));
        }
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "drafts do not stay");
        fs::write(&path, "\n").unwrap();
        assert!(file.read().is_err(), "an empty file is no reason to begin again");
        let nowhere = ResumeFile::new(&folder.path().join("no folder/token"));
        assert_eq!(nowhere.read().unwrap(), None);
        assert!(nowhere.write("one").is_err());
    }

    #[test]
    fn the_last_token_is_saved_and_a_failure_is_told() {
        let (sender, saved) = channel();
        let mut saver = Saver::start(move |token| sender.send(token.to_owned()).map_err(io::Error::other)).unwrap();
        for number in 0..100 {
            saver.save(&number.to_string()).unwrap();
        }
        saver.finish().unwrap();
        let saved: Vec<u64> = saved.iter().map(|token| token.parse().unwrap()).collect();
        assert!(saved.is_sorted() && saved.last() == Some(&99), "{saved:?}");

        let mut saver = Saver::start(|_| Err(io::Error::other("no space left"))).unwrap();
        saver.save("first").unwrap();
        assert_eq!(saver.finish().unwrap_err().to_string(), "no space left");
    }
}
