//! The file of hosts, and the key that all hosts have: [`HostsFiles`]. Only a run on several
//! hosts reads them.
//!
//! ```text
//! # the first host leads
//! 10.0.0.1:7475
//! 10.0.0.2:7475
//! ```

use super::error::{ConfigError, Problems};
use super::http::{host, is_loopback};
use super::{Overrides, PROCESSES, typed};
use crate::fingerprint::Canonical;
use crate::plan::{HostsFiles, HostsPlan, Plan};
use std::fs::{self, File};
use std::io::Read;
use std::net::{ToSocketAddrs, UdpSocket};
use std::ops::Range;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

const KEY_HELP: &str = "make it with `openssl rand -hex 32 > cluster.key`, and give all hosts the same one";
/// Tables that only the host that leads reads, or that may differ between hosts.
const OWN: [&str; 4] = ["cluster", "http", "landing", "sink"];

/// Returns the files that `[cluster]` or the command line names.
pub(super) fn files(
    cluster: &typed::Cluster,
    overrides: &Overrides,
    folder: &Path,
    problems: &mut Problems,
) -> Option<HostsFiles> {
    let mut path = |typed: &Option<toml::Spanned<String>>, what: &str, example: &str| {
        let typed = typed.as_ref()?;
        if typed.get_ref().is_empty() {
            problems.push(typed.span(), "an empty path", format!("name {what}, such as \"{example}\""));
        }
        Some(folder.join(typed.get_ref()))
    };
    let list = path(&cluster.hosts_file, "the file of hosts", "hosts.txt");
    let key = path(&cluster.key_file, "the key file", "cluster.key");
    let list = overrides.hosts.clone().or(list)?;
    let several = cluster.processes.as_ref().filter(|processes| *processes.get_ref() > 1);
    if let Some(processes) = several.filter(|_| overrides.processes.is_none()) {
        let help = "several hosts have one process each: leave `processes` out, and give each host more `workers`";
        problems.push(processes.span(), "both `processes` and a file of hosts", help);
    }
    Some(HostsFiles { list, key: overrides.key.clone().or(key) })
}

/// Reads the file of hosts and the key. `own`: the number of this host, from 1 on; without one, its address says it.
/// `plan` is of the configuration file `config`.
///
/// # Errors
/// What is wrong in the files, at its line.
pub fn load(plan: &Plan, files: &HostsFiles, own: Option<usize>) -> Result<HostsPlan, ConfigError> {
    let unreadable = |path: &Path| {
        let path = path.to_owned();
        move |source| ConfigError::UnreadableHosts { path, source }
    };
    let text = fs::read_to_string(&files.list).map_err(unreadable(&files.list))?;
    let key = files.key.as_deref().map(key).transpose()?;
    let addresses = parse(&files.list.to_string_lossy(), &text, key.is_some())?;
    let own = match own {
        Some(number) if (1..=addresses.len()).contains(&number) => number - 1,
        Some(number) => {
            let hosts = addresses.len();
            let why = format!("there is no host {number}: the file has {hosts}");
            return Err(ConfigError::Host { list: files.list.clone(), why });
        }
        None => find_own(&addresses).map_err(|why| ConfigError::Host { list: files.list.clone(), why })?,
    };
    let mut list = Canonical::new("headwater hosts v1");
    list.list(&addresses, |to, address| {
        to.text(address);
    });
    let config = fs::read_to_string(&plan.config).map_err(unreadable(&plan.config))?;
    Ok(HostsPlan {
        list: list.finish(),
        program: program_of(&config),
        addresses,
        own,
        key: key.unwrap_or_default(),
        workers: plan.workers,
    })
}

/// Returns the addresses of a file of hosts. `name` stands for it in errors.
///
/// # Errors
/// What is wrong in it, at its line.
pub fn parse(name: &str, text: &str, has_key: bool) -> Result<Vec<String>, ConfigError> {
    let mut problems = Problems::default();
    let mut found: Vec<(&str, Range<usize>)> = Vec::new();
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let address = line.split('#').next().unwrap_or_default().trim();
        let at = start + line.find(address).unwrap_or_default();
        let span = at..at + address.len();
        start += line.len();
        if address.is_empty() {
            continue;
        }
        match host(address) {
            None => {
                let help = "write a host and a port, such as 10.0.0.1:7475";
                problems.push(span.clone(), format!("`{address}` is no address"), help);
            }
            Some(_) if address.ends_with(":0") => {
                problems.push(span.clone(), "port 0 is no fixed port", "write a port that is free at this host");
            }
            Some(host) if !is_loopback(host) && !has_key => problems.push(
                span.clone(),
                format!("`{address}` can be reached from other machines, and any of them could join the hosts"),
                format!("name a key file with --key, or with `key_file` in [cluster]: {KEY_HELP}"),
            ),
            Some(_) => {}
        }
        if found.iter().any(|(other, _)| *other == address) {
            problems.push(span.clone(), format!("`{address}` is there twice"), "give each host a line of its own");
        }
        found.push((address, span));
    }
    let most = *PROCESSES.end() as usize;
    if found.is_empty() {
        problems.push(0..0, "no hosts", "write the address of each host in a line, such as 10.0.0.1:7475");
    } else if let Some((_, span)) = found.get(most) {
        problems.push(span.clone(), format!("more than {most} hosts"), "use fewer hosts with more workers");
    }
    match problems.is_empty() {
        true => Ok(found.into_iter().map(|(address, _)| address.to_owned()).collect()),
        false => Err(problems.into_error(name, text)),
    }
}

/// Returns the place of the only address that this machine has.
fn find_own(addresses: &[String]) -> Result<usize, String> {
    // No address of another machine can be bound.
    let is_own = |address: &String| {
        let found = address.to_socket_addrs().into_iter().flatten();
        found.map(|address| address.ip()).any(|ip| UdpSocket::bind((ip, 0)).is_ok())
    };
    let own: Vec<usize> = (0..addresses.len()).filter(|place| is_own(&addresses[*place])).collect();
    match own.as_slice() {
        [only] => Ok(*only),
        [] => Err("none of its addresses is one of this machine".into()),
        several => {
            let several: Vec<String> = several.iter().map(|place| (place + 1).to_string()).collect();
            Err(format!("the addresses of the hosts {} are all of this machine", several.join(", ")))
        }
    }
}

/// Reads a key file: 64 digits.
fn key(path: &Path) -> Result<[u8; 32], ConfigError> {
    let wrong = |why: &str, help: &str| ConfigError::Key { path: path.to_owned(), why: why.into(), help: help.into() };
    let unreadable = |source: std::io::Error| wrong(&format!("it cannot be read: {source}"), KEY_HELP);
    let file = File::open(path).map_err(unreadable)?;
    let mode = file.metadata().map_err(unreadable)?.permissions().mode();
    if mode & 0o027 != 0 {
        let why = format!("its mode is {:03o}: other users could read or change it", mode & 0o777);
        return Err(wrong(&why, "chmod 600, or 640 for a group that may read it"));
    }
    let mut text = String::new();
    file.take(1 << 10).read_to_string(&mut text).map_err(unreadable)?;
    let digits: Vec<u8> = text.trim().chars().map_while(|digit| digit.to_digit(16).map(|digit| digit as u8)).collect();
    let bytes: Vec<u8> = digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect();
    match <[u8; 32]>::try_from(bytes) {
        Ok([0, ..]) if digits.iter().all(|digit| *digit == 0) => Err(wrong("it is all zeros", KEY_HELP)),
        Ok(key) if digits.len() == 64 && text.trim().len() == 64 => Ok(key),
        _ => Err(wrong("it does not hold 64 hexadecimal digits, and nothing else", KEY_HELP)),
    }
}

/// Returns the fingerprint of the text of a configuration, without the tables that may differ between hosts. Order of
/// keys, blanks and comments do not matter.
fn program_of(config: &str) -> [u8; 32] {
    // It was read as a configuration before.
    let mut tables: toml::Table = config.parse().unwrap_or_default();
    OWN.iter().for_each(|own| drop(tables.remove(*own)));
    Canonical::new("headwater hosts program v1").text(&tables.to_string()).finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use miette::Diagnostic;

    fn problem(text: &str, has_key: bool) -> String {
        let error = parse("hosts.txt", text, has_key).unwrap_err();
        format!("{error}: {}", error.help().unwrap())
    }

    #[test]
    fn a_line_is_an_address_and_what_is_none_says_what_to_write() {
        let text = "# the first leads\n127.0.0.1:7475  # here\n\n localhost:7476\n[::1]:7477\n";
        assert_eq!(parse("hosts.txt", text, false).unwrap(), ["127.0.0.1:7475", "localhost:7476", "[::1]:7477"]);
        assert!(problem("127.0.0.1\n", false).contains("`127.0.0.1` is no address: write a host and a port"));
        assert!(problem("127.0.0.1:0\n", false).contains("port 0 is no fixed port"));
        assert!(problem("127.0.0.1:1\n127.0.0.1:1\n", false).contains("is there twice"));
        assert!(problem("# none\n", false).contains("no hosts"));
        let many: String = (1..=65).map(|port| format!("127.0.0.1:{port}\n")).collect();
        assert!(problem(&many, false).contains("more than 64 hosts"));
    }

    #[test]
    fn an_address_that_other_machines_reach_needs_a_key() {
        for address in ["10.0.0.1:7475", "example.org:7475", "0.0.0.0:7475", "[::]:7475"] {
            assert!(
                problem(&format!("127.0.0.1:1\n{address}\n"), false).contains("any of them could join"),
                "{address}"
            );
            assert_eq!(parse("hosts.txt", address, true).unwrap(), [address]);
        }
    }

    #[test]
    fn a_key_file_is_64_digits_that_others_cannot_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cluster.key");
        let read = |text: &str, mode: u32| {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            key(&path).map_err(|error| error.to_string())
        };
        let digits = "0f".repeat(32);
        assert_eq!(read(&format!("{digits}\n"), 0o600), Ok([15; 32]));
        assert_eq!(read(&digits, 0o640), Ok([15; 32]));
        assert!(read(&digits, 0o644).unwrap_err().contains("its mode is 644"));
        assert!(read(&digits, 0o660).unwrap_err().contains("its mode is 660"));
        for wrong in [&digits[1..], &format!("{digits}0"), &"xy".repeat(32), "", &format!("{digits}\n{digits}")] {
            assert!(read(wrong, 0o600).unwrap_err().contains("64 hexadecimal digits"), "{wrong}");
        }
        assert!(read(&"0".repeat(64), 0o600).unwrap_err().contains("all zeros"));
        assert!(key(Path::new("/nowhere/cluster.key")).unwrap_err().to_string().contains("cannot be read"));
    }

    #[test]
    fn the_own_address_says_the_place_if_there_is_only_one() {
        let of = |addresses: &[&str]| find_own(&addresses.iter().map(|&text| text.to_owned()).collect::<Vec<_>>());
        // Of the range for documentation: no machine has it.
        assert_eq!(of(&["203.0.113.1:1", "127.0.0.1:1", "203.0.113.2:1"]), Ok(1));
        assert!(of(&["203.0.113.1:1"]).unwrap_err().contains("none of its addresses"));
        assert!(of(&["127.0.0.1:1", "127.0.0.1:2"]).unwrap_err().contains("hosts 1, 2 are all"));
    }

    #[test]
    fn the_fingerprint_is_of_what_all_hosts_need_alike() {
        let text = "[cluster]\nworkers = 2\n[[source]]\nname = 'a'\nkind = 'http'\n[sessions]\ngap = '30m'\n";
        let of = program_of(text);
        let same = "# words\n[sessions]\ngap =   \"30m\"\n[http]\nrate = 5\n[[source]]\nkind = 'http'\nname = 'a'\n";
        assert_eq!(program_of(same), of);
        for (from, to) in [("30m", "31m"), ("'a'", "'b'"), ("[sessions]", "[classes]\nlearn = true\n[sessions]")] {
            assert_ne!(program_of(&text.replace(from, to)), of, "{to}");
        }
    }
}
