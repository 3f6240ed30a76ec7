//! What the first argument of a command is: a configuration, or a log that stands where one belongs.

use super::error::ConfigError;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// What a path of the command line leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Argument {
    Config,
    /// A file, a folder or a glob to be read with the built-in candidates.
    Logs,
}

/// The log that is piped into the command.
pub const STANDARD_INPUT: &str = "-";

/// Bytes that are looked at. No configuration is larger.
const LARGEST: u64 = 1 << 20;

/// Looks at what a path leads to.
///
/// # Errors
/// What is there is neither a configuration nor a log.
pub fn argument(path: &Path) -> Result<Argument, ConfigError> {
    if path.as_os_str() == STANDARD_INPUT {
        return Ok(Argument::Logs);
    }
    let name = path.to_string_lossy();
    let extension = path.extension().map(|extension| extension.to_ascii_lowercase()).unwrap_or_default();
    if path.is_dir() || (!path.exists() && name.contains(['*', '?'])) {
        return Ok(Argument::Logs);
    }
    // Looking into a pipe would take from it. Logs are piped, and configurations have their name.
    if path.exists() && !path.is_file() && extension != "toml" {
        return Ok(Argument::Logs);
    }
    let Some(start) = path.is_file().then(|| start(path)).flatten() else { return Ok(Argument::Config) };
    let neither =
        |what: &'static str, help: &'static str| Err(ConfigError::Neither { path: path.to_owned(), what, help });
    match &start[..] {
        [b'P', b'K', 3 | 5, 4 | 6, ..] => return neither("a zip archive", "unpack it, and give its files"),
        [b'7', b'z', 0xbc, 0xaf, ..] => return neither("a 7z archive", "unpack it, and give its files"),
        [b'R', b'a', b'r', b'!', ..] => return neither("a rar archive", "unpack it, and give its files"),
        _ => {}
    }
    if extension == "toml" {
        return Ok(Argument::Config);
    }
    let Ok(text) = std::str::from_utf8(&start) else { return Ok(Argument::Logs) };
    let trimmed = text.trim_start_matches('\u{feff}').trim_start();
    if trimmed.starts_with("<?xml") || trimmed.starts_with("<log") {
        let help = match trimmed.contains("<log") || extension == "xes" {
            true => "it is an event log in XES: write its events as CSV or JSON Lines, one line for each",
            false => "write its records as CSV or JSON Lines, one line for each",
        };
        return neither("XML", help);
    }
    if extension == "yaml" || extension == "yml" {
        return neither("YAML", "a configuration is TOML: `headwater init FILES… > headwater.toml` makes one");
    }
    let is_config =
        !trimmed.is_empty() && (start.len() as u64) < LARGEST && toml::from_str::<toml::Table>(text).is_ok();
    Ok(if is_config { Argument::Config } else { Argument::Logs })
}

fn start(path: &Path) -> Option<Vec<u8>> {
    let mut start = Vec::new();
    File::open(path).ok()?.take(LARGEST).read_to_end(&mut start).ok()?;
    Some(start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_argument_is_what_its_content_is() {
        let folder = tempfile::tempdir().unwrap();
        let look = |name: &str, content: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, content).unwrap();
            argument(&path).map_err(|error| error.to_string())
        };
        for (name, content, expected) in [
            ("a.toml", &b""[..], Ok(Argument::Config)),
            ("b.toml", b"{", Ok(Argument::Config)),
            ("c.conf", b"[events]\nuser = 'u'\n", Ok(Argument::Config)),
            ("d.jsonl", b"{\"user_id\": 1}\n", Ok(Argument::Logs)),
            ("e.csv", b"user_id,ts\n1,2\n", Ok(Argument::Logs)),
            ("f.log", b"1.2.3.4 - - [01/May/2024:10:00:00 +0000] \"GET / HTTP/1.1\" 200 5\n", Ok(Argument::Logs)),
            ("g.gz", b"\x1f\x8b\x08\0", Ok(Argument::Logs)),
            ("h.zip", b"PK\x03\x04", Err("a zip archive")),
            ("i.tar", &[&[b'x'; 257][..], b"ustar\0\xff"].concat(), Ok(Argument::Logs)),
            ("j.xes", b"<?xml version='1.0'?><log>", Err("XML")),
            ("k.yaml", b"user: 1\n", Err("YAML")),
            ("l.jsonl", b"", Ok(Argument::Logs)),
        ] {
            match (look(name, content), expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{name}"),
                (Err(message), Err(what)) => assert!(message.contains(what), "{name}: {message}"),
                (found, expected) => panic!("{name}: {found:?}, not {expected:?}"),
            }
        }
        assert_eq!(argument(folder.path()).unwrap(), Argument::Logs);
        assert_eq!(argument(Path::new("-")).unwrap(), Argument::Logs);
        assert_eq!(argument(&folder.path().join("*.gz")).unwrap(), Argument::Logs);
        assert_eq!(argument(&folder.path().join("absent")).unwrap(), Argument::Config);
    }
}
