//! The decompressed content of one file as UTF-8, read forward. Compression is recognised by content, never by name, and
//! UTF-16 by its mark. What is written in another encoding stays as it is.

use super::SourceError;
use super::gzip::Members;
use super::parquet::{Lines, is_parquet};
use super::text::{Utf16, order};
use headwater_decode::syntax::Encoding;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Chain, Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Stored bytes are read in blocks of this size (a plain file's go straight to where they are wanted).
const STORED_BLOCK: usize = 256 << 10;

/// Decoders run in blocks of this size. At damage, a decoder keeps back the bytes that it had decoded of the current
/// block. So the block decides how much is lost, and the size of chunks does not.
const DECODED_BLOCK: usize = 16 << 10;

const GZIP: &str = "gzip";
const ZSTD: &str = "zstd";
const PARQUET: &str = "parquet";

/// Damaged compression ends it as the end of the file does; [`Content::damage`] tells the two apart.
pub struct Content {
    path: PathBuf,
    decoder: Decoder,
    /// Bytes that were given back, of which `taken` have been read again.
    unread: Vec<u8>,
    taken: usize,
    /// Of the next byte.
    offset: u64,
    ended: bool,
    damage: Option<String>,
    /// What happened to the first bytes when they were looked at.
    failed: Option<io::Error>,
    /// NUL bytes in the stored file that are not part of the content.
    padding: Arc<AtomicU64>,
}

enum Decoder {
    Plain(Stored),
    Decoded {
        /// `gzip`, `zstd` or `parquet`.
        compression: Option<&'static str>,
        decoded: Decoded,
    },
}

type Decoded = BufReader<Box<dyn Read + Send>>;

/// A file that was compressed twice is read. More often is no accident.
const LAYERS: usize = 2;

/// The content of the file: the first bytes, which were inspected, and the rest.
type Stored = BufReader<Chain<Cursor<Vec<u8>>, Box<dyn Read + Send>>>;

impl Content {
    /// Opens the content of a file. Stored bytes are counted in `stored` as they are read.
    pub fn open(path: &Path, encoding: Encoding, stored: Arc<AtomicU64>) -> Result<Content, SourceError> {
        let file = File::open(path).map_err(|error| SourceError::io("open", path, error))?;
        Content::new(path, file, encoding, stored)
    }

    /// Opens the content of a file that is open already, at its start. Errors name it `path`.
    pub fn new(path: &Path, file: File, encoding: Encoding, stored: Arc<AtomicU64>) -> Result<Content, SourceError> {
        if is_parquet(&file) {
            return Ok(Content::of_parquet(path, file, stored));
        }
        Content::of(path, Box::new(Counted { file, stored }), None, encoding)
    }

    /// Makes the content of what is read from `file`. `container` names what it lies in, if it is no file by itself.
    pub fn of(
        path: &Path,
        mut file: Box<dyn Read + Send>,
        container: Option<&'static str>,
        encoding: Encoding,
    ) -> Result<Content, SourceError> {
        let failed = |error| SourceError::io("open", path, error);
        let mut magic = Vec::new();
        let mut error = None;
        let head = file.by_ref().take(4).read_to_end(&mut magic);
        match head {
            // What damages a container comes again when it is the turn of these bytes.
            Err(failure) if container.is_some() && !is_unreadable(&failure) => error = Some(failure),
            head => _ = head.map_err(|error| SourceError::io("read", path, origin(error)))?,
        }
        let padding = Arc::<AtomicU64>::default();
        let name = compression(&magic);
        let mut head = magic.clone();
        let stored = BufReader::with_capacity(STORED_BLOCK, Cursor::new(magic).chain(file));
        let mut decoder = match name {
            Some(_) => {
                let mut decoded = decoded(name, stored, &padding).map_err(failed)?;
                for layer in 1.. {
                    // An error comes again when it is the turn of these bytes.
                    head = decoded.fill_buf().map_or_else(|failure| failure_of(failure, &mut error), <[u8]>::to_vec);
                    let Some(inner) = compression(&head).filter(|_| layer < LAYERS) else { break };
                    decoded = self::decoded(Some(inner), decoded, &padding).map_err(failed)?;
                }
                Decoder::Decoded { compression: name, decoded }
            }
            None if container.is_some() => {
                Decoder::Decoded { compression: container, decoded: buffered(Box::new(stored)) }
            }
            None => Decoder::Plain(stored),
        };
        let unit = match encoding {
            Encoding::Utf16Le => Some(u16::from_le_bytes as fn([u8; 2]) -> u16),
            Encoding::Utf16Be => Some(u16::from_be_bytes as fn([u8; 2]) -> u16),
            Encoding::Utf8 => order(&head),
            Encoding::Latin1 | Encoding::Windows1252 => None,
        };
        if let Some(unit) = unit {
            let units: Box<dyn Read + Send> = match decoder {
                Decoder::Plain(stored) => Box::new(stored),
                Decoder::Decoded { decoded, .. } => Box::new(decoded),
            };
            decoder = Decoder::Decoded { compression: name, decoded: buffered(Box::new(Utf16::new(units, unit))) };
        }
        Ok(Content {
            path: path.to_path_buf(),
            decoder,
            unread: Vec::new(),
            taken: 0,
            offset: 0,
            ended: false,
            damage: None,
            failed: error,
            padding,
        })
    }

    /// Rows as lines. A file without its end is damaged as a whole.
    fn of_parquet(path: &Path, file: File, stored: Arc<AtomicU64>) -> Content {
        let (lines, damage): (Box<dyn Read + Send>, _) = match Lines::open(file, stored) {
            Ok(lines) => (Box::new(lines), None),
            Err(error) => (Box::new(io::empty()), Some(damaged(PARQUET, &error))),
        };
        Content {
            path: path.to_path_buf(),
            decoder: Decoder::Decoded { compression: Some(PARQUET), decoded: buffered(lines) },
            unread: Vec::new(),
            taken: 0,
            offset: 0,
            ended: false,
            damage,
            failed: None,
            padding: Arc::default(),
        }
    }

    /// `gzip`, `zstd` or `parquet`.
    pub fn compression(&self) -> Option<&'static str> {
        match &self.decoder {
            Decoder::Plain(_) => None,
            Decoder::Decoded { compression, .. } => *compression,
        }
    }

    /// Returns the number of NUL bytes that are stored, and are not part of the content, so far.
    pub fn padding(&self) -> u64 {
        self.padding.load(Ordering::Relaxed)
    }

    /// Returns the offset of the next byte in the decompressed content.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Fills `into` from its start; returns how much of it, which is less than all only at the end.
    pub fn fill(&mut self, into: &mut [u8]) -> Result<usize, SourceError> {
        let mut filled = 0;
        while filled < into.len() {
            let length = self.read(&mut into[filled..])?;
            if length == 0 {
                break;
            }
            filled += length;
        }
        self.offset += filled as u64;
        Ok(filled)
    }

    /// Gives back the last bytes that were read, to be read again.
    pub fn unread(&mut self, bytes: &[u8]) {
        self.offset -= bytes.len() as u64;
        if self.taken < self.unread.len() {
            // They all came from here, since nothing behind has been read yet.
            self.taken -= bytes.len();
        } else {
            self.unread.clear();
            self.unread.extend_from_slice(bytes);
            self.taken = 0;
        }
    }

    /// Returns the reason if the content ended because the compression is damaged or cut short. It is known after
    /// everything was read.
    pub fn damage(&self) -> Option<&str> {
        self.damage.as_deref()
    }

    fn read(&mut self, into: &mut [u8]) -> Result<usize, SourceError> {
        let again = &self.unread[self.taken..];
        if !again.is_empty() {
            let length = again.len().min(into.len());
            into[..length].copy_from_slice(&again[..length]);
            self.taken += length;
            return Ok(length);
        }
        if self.ended {
            return Ok(0);
        }
        let (name, result) = match &mut self.decoder {
            // Straight into `into` when that is large.
            Decoder::Plain(stored) => ("", stored.read(into)),
            Decoder::Decoded { compression, decoded } => {
                let result = self.failed.take().map_or_else(|| copy(decoded, into), Err);
                (compression.unwrap_or_default(), result)
            }
        };
        match result {
            Ok(length) => {
                self.ended = length == 0;
                Ok(length)
            }
            Err(error) if is_unreadable(&error) => Err(SourceError::io("read", &self.path, origin(error))),
            Err(error) => {
                self.ended = true;
                self.damage = Some(damaged(name, &error));
                Ok(0)
            }
        }
    }
}

fn buffered(decoder: Box<dyn Read + Send>) -> Decoded {
    BufReader::with_capacity(DECODED_BLOCK, decoder)
}

/// Returns what decompresses `stored`.
fn decoded(name: Option<&str>, stored: impl BufRead + Send + 'static, padding: &Arc<AtomicU64>) -> io::Result<Decoded> {
    Ok(buffered(match name {
        Some(GZIP) => Box::new(Members::new(stored, Arc::clone(padding))),
        _ => Box::new(zstd::Decoder::with_buffer(stored)?),
    }))
}

fn failure_of(failure: io::Error, failed: &mut Option<io::Error>) -> Vec<u8> {
    *failed = Some(failure);
    Vec::new()
}

/// Returns whether a file has to be decoded that begins with `magic` (four bytes): it is compressed, Parquet, or in UTF-16.
pub fn is_decoded(file: &File, magic: &[u8], encoding: Encoding) -> bool {
    compression(magic).is_some()
        || is_parquet(file)
        || match encoding {
            Encoding::Utf8 => order(magic).is_some(),
            Encoding::Utf16Le | Encoding::Utf16Be => true,
            Encoding::Latin1 | Encoding::Windows1252 => false,
        }
}

fn damaged(name: &str, error: &io::Error) -> String {
    format!("the {name} data is damaged or cut short: {error}")
}

/// Returns the compression of a file whose first four bytes are `magic`: the magic numbers of RFC 1952 and RFC 8878 (a
/// frame, or a skippable one before it).
pub fn compression(magic: &[u8]) -> Option<&'static str> {
    match magic {
        [0x1f, 0x8b, ..] => Some(GZIP),
        [0x28, 0xb5, 0x2f, 0xfd] | [0x50..=0x5f, 0x2a, 0x4d, 0x18] => Some(ZSTD),
        _ => None,
    }
}

/// Reads through the buffer, always: [`BufReader::read`] would pass large reads by it.
fn copy(decoded: &mut impl BufRead, into: &mut [u8]) -> io::Result<usize> {
    let block = decoded.fill_buf()?;
    let length = block.len().min(into.len());
    into[..length].copy_from_slice(&block[..length]);
    decoded.consume(length);
    Ok(length)
}

/// Counts what is read, and marks its errors, so that a decoder above cannot make them look like damage.
struct Counted {
    file: File,
    stored: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.file.read(into) {
                Ok(length) => {
                    self.stored.fetch_add(length as u64, Ordering::Relaxed);
                    return Ok(length);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(unreadable(error)),
            }
        }
    }
}

/// The operating system could not read the file.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
struct Unreadable(io::Error);

/// Marks an error of the operating system, so that no decoder takes it for damage.
pub(super) fn unreadable(error: io::Error) -> io::Error {
    io::Error::other(Unreadable(error))
}

fn is_unreadable(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|error| error.is::<Unreadable>())
}

/// Returns the error without the mark.
fn origin(error: io::Error) -> io::Error {
    match error.downcast::<Unreadable>() {
        Ok(Unreadable(error)) | Err(error) => error,
    }
}
