//! Checks the addresses that a sink may connect to. A configuration names hosts, and the name service gives their
//! addresses. These must not lead into the private network of this process.

use crate::config::address::is_public;
use std::net::SocketAddr;
use ureq::Error;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

/// Resolves names to public addresses. The connection goes to what comes out of here, so that there is no second look-up
/// that could say otherwise.
#[derive(Debug, Default)]
pub(super) struct PublicOnly(DefaultResolver);

impl Resolver for PublicOnly {
    fn resolve(&self, uri: &Uri, config: &Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
        let all = self.0.resolve(uri, config, timeout)?;
        let mut public = self.empty();
        all.iter().filter(|address: &&SocketAddr| is_public(address.ip())).for_each(|address| public.push(*address));
        if public.is_empty() {
            let all: Vec<_> = all.iter().map(|address| address.ip().to_string()).collect();
            let host = uri.host().unwrap_or_default();
            let why = format!("`{host}` is {}, not public; allow_private = true would allow it", all.join(", "));
            return Err(Error::Other(why.into()));
        }
        Ok(public)
    }
}
