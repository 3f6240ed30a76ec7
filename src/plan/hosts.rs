//! Several hosts that run together.

use std::path::PathBuf;

/// The files of a run on several hosts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostsFiles {
    /// Lists the hosts.
    pub list: PathBuf,
    /// The key that all of them have.
    pub key: Option<PathBuf>,
}

/// The hosts of a run, as one of them sees it.
#[derive(Clone)]
pub struct HostsPlan {
    /// By place: host and port. The first one leads.
    pub addresses: Vec<String>,
    /// The place of this host.
    pub own: usize,
    /// Of zeros, if there is no key file: all addresses are loopback then.
    pub key: [u8; 32],
    /// Fingerprint of the addresses.
    pub list: [u8; 32],
    /// Fingerprint of the configuration, as far as all hosts need the same.
    pub program: [u8; 32],
    /// Worker threads of each host.
    pub workers: usize,
}

impl HostsPlan {
    /// Returns the name of the host at a place, for logs.
    pub fn name(&self, place: usize) -> String {
        let address = self.addresses.get(place).map_or("not in the file of hosts", String::as_str);
        format!("host {} ({address})", place + 1)
    }
}
