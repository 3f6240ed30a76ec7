//! Reads on in a file, and returns with each piece the bytes before it. So the caller notices if those have changed.

use super::known::MARK_BYTES;
use crate::source::SourceError;
use crate::source::content::{Content, is_decoded};
use headwater_decode::syntax::Encoding;
use std::fs::File;
use std::io::{self, Seek};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

pub enum Reader {
    Plain {
        file: File,
        path: Arc<Path>,
    },
    /// Or in UTF-16. `window`: the last bytes before the content's offset.
    Compressed {
        content: Box<Content>,
        window: Vec<u8>,
    },
}

/// Bytes of a file, behind a window on those before them.
#[derive(Debug, Default)]
pub struct Piece {
    bytes: Vec<u8>,
    window: usize,
    /// The file ends with them.
    pub ended: bool,
}

impl Piece {
    pub fn window(&self) -> &[u8] {
        &self.bytes[..self.window]
    }

    pub fn new_bytes(&self) -> &[u8] {
        &self.bytes[self.window..]
    }

    /// Returns everything up to the end of the first `length` new bytes.
    pub fn up_to(&self, length: usize) -> &[u8] {
        &self.bytes[..self.window + length]
    }
}

impl Reader {
    pub fn new(path: &Path, file: &File, encoding: Encoding) -> Result<Reader, SourceError> {
        let failed = |error| SourceError::io("read", path, error);
        let mut magic = [0; 4];
        let length = read_at(file, &mut magic, 0).map_err(failed)?;
        let mut file = file.try_clone().map_err(failed)?;
        if !is_decoded(&file, &magic[..length], encoding) {
            return Ok(Reader::Plain { file, path: path.into() });
        }
        file.rewind().map_err(failed)?;
        let content = Box::new(Content::new(path, file, encoding, Arc::default())?);
        Ok(Reader::Compressed { content, window: Vec::new() })
    }

    pub fn is_compressed(&self) -> bool {
        matches!(self, Reader::Compressed { .. })
    }

    /// Returns the reason if the compression broke off at the end.
    pub fn damage(&self) -> Option<&str> {
        match self {
            Reader::Plain { .. } => None,
            Reader::Compressed { content, .. } => content.damage(),
        }
    }

    /// Up to `wanted` bytes from `at` on. What is compressed stands at `at` already, and after that behind the piece.
    pub fn look(&mut self, at: u64, wanted: usize, piece: &mut Piece) -> Result<(), SourceError> {
        let window = at.min(MARK_BYTES as u64) as usize;
        let bytes = &mut piece.bytes;
        match self {
            Reader::Plain { file, path } => {
                bytes.resize(window + wanted, 0);
                let filled =
                    read_at(file, bytes, at - window as u64).map_err(|error| SourceError::io("read", path, error))?;
                piece.ended = filled < bytes.len();
                bytes.truncate(filled);
                piece.window = window.min(filled);
            }
            Reader::Compressed { content, window } => {
                assert_eq!(content.offset(), at, "what is compressed is read forward");
                bytes.clear();
                bytes.extend_from_slice(window);
                bytes.resize(window.len() + wanted, 0);
                let filled = content.fill(&mut bytes[window.len()..])?;
                piece.ended = filled < wanted;
                bytes.truncate(window.len() + filled);
                piece.window = window.len();
            }
        }
        Ok(())
    }

    /// Uses `length` bytes of the last piece. The others come again.
    pub fn used(&mut self, piece: &Piece, length: usize) {
        if let Reader::Compressed { content, window } = self {
            content.unread(&piece.new_bytes()[length..]);
            let before = piece.up_to(length);
            window.clear();
            window.extend_from_slice(&before[before.len().saturating_sub(MARK_BYTES)..]);
        }
    }

    /// Goes on to `to` in steps of up to `budget` bytes, which it uses up; returns where it is.
    pub fn forward(&mut self, to: u64, budget: &mut usize, piece: &mut Piece) -> Result<Reached, SourceError> {
        const STEP: u64 = 256 << 10;
        loop {
            let at = match self {
                // Needs no reading: anything can be looked at.
                Reader::Plain { .. } => to,
                Reader::Compressed { content, .. } => content.offset(),
            };
            let wanted = (to - at).min(STEP);
            if wanted > 0 && *budget == 0 {
                return Ok(Reached::Budget);
            }
            self.look(at, wanted as usize, piece)?;
            let length = piece.new_bytes().len();
            self.used(piece, length);
            *budget = budget.saturating_sub(length);
            if wanted == 0 {
                return Ok(Reached::There);
            }
            if piece.ended {
                return Ok(Reached::End(at + length as u64));
            }
        }
    }

    /// Fills as much as there is from `at` on, which a new reader starts with as 0, and moves it on.
    pub fn fill(&mut self, at: &mut u64, into: &mut [u8]) -> Result<usize, SourceError> {
        let filled = match self {
            Reader::Plain { file, path } => {
                read_at(file, into, *at).map_err(|error| SourceError::io("read", path, error))?
            }
            Reader::Compressed { content, .. } => content.fill(into)?,
        };
        *at += filled as u64;
        Ok(filled)
    }
}

pub enum Reached {
    /// The last bytes before it are the window of the piece (of a plain file, those that are there).
    There,
    /// The content ends here, before.
    End(u64),
    Budget,
}

/// Fills as much as there is.
fn read_at(file: &File, mut into: &mut [u8], mut at: u64) -> io::Result<usize> {
    let mut filled = 0;
    while !into.is_empty() {
        match file.read_at(into, at) {
            Ok(0) => break,
            Ok(length) => {
                filled += length;
                at += length as u64;
                into = &mut into[length..];
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
