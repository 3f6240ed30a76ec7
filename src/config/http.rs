//! `[http]`, and the keys of `[cluster]` for the address, its names and the tokens.

use super::error::Problems;
use super::events::{size, within};
use super::typed::{self, OneOrMany};
use crate::plan::HttpPlan;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::Path;

const DEFAULT_LISTEN: &str = "127.0.0.1:7474";
const DEFAULT_BODY: usize = 1 << 20;
/// A position in the log has 24 bits for the place of an event within its request, and line ends may be added.
const BODY: RangeInclusive<u64> = 1..=15 << 20;
const RATE: RangeInclusive<i64> = 1..=10_000_000;

pub(super) fn check(
    cluster: &typed::Cluster,
    http: &typed::Http,
    instead: Option<&str>,
    folder: &Path,
    problems: &mut Problems,
) -> HttpPlan {
    let listen = instead.or(cluster.listen.as_ref().map(|listen| listen.get_ref().as_str())).unwrap_or(DEFAULT_LISTEN);
    if let Some(typed) = cluster.listen.as_ref().filter(|_| instead.is_none()) {
        match host(listen) {
            None => problems.push(
                typed.span(),
                format!("`{listen}` is no address"),
                "write a host and a port, such as \"127.0.0.1:7474\"",
            ),
            Some(host) if !is_loopback(host) && cluster.tokens.is_none() => problems.push(
                typed.span(),
                format!("`{listen}` can be reached from other machines, and no client would need a token"),
                "name a file of tokens with tokens = \"tokens.toml\", or listen on 127.0.0.1",
            ),
            Some(_) => {}
        }
    }
    let tokens = cluster.tokens.as_ref().and_then(|tokens| {
        if tokens.get_ref().is_empty() {
            problems.push(tokens.span(), "an empty path", "name the file of tokens, such as \"tokens.toml\"");
            return None;
        }
        Some(folder.join(tokens.get_ref()))
    });
    let max_body = http.max_body.as_ref().and_then(|typed| size(typed, BODY, problems));
    let rate = http.rate.as_ref().and_then(|rate| within(rate, RATE, problems));
    HttpPlan {
        listen: listen.to_owned(),
        hosts: hosts(cluster, listen, problems),
        tokens,
        max_body: max_body.unwrap_or(DEFAULT_BODY),
        rate: rate.map(|rate| rate as u32),
        origins: origins(http, problems),
    }
}

/// Returns the names of `hosts`, and that of `listen` if it is one.
fn hosts(cluster: &typed::Cluster, listen: &str, problems: &mut Problems) -> Vec<String> {
    let texts = match &cluster.hosts {
        None => Vec::new(),
        Some(typed) => match typed.get_ref() {
            OneOrMany::One(text) => vec![(text, typed.span())],
            OneOrMany::Many(texts) => texts.iter().map(|text| (text.get_ref(), text.span())).collect(),
        },
    };
    for (text, span) in &texts {
        if !is_name(text.strip_suffix('.').unwrap_or(text)) {
            let help = "write a name without scheme, port and path, such as \"headwater.example.org\"; there is no \
                        wildcard, and IP addresses need not be listed";
            problems.push(span.clone(), format!("`{text}` is no host name"), help);
        }
    }
    let listed = host(listen).filter(|host| is_name(host) && *host != "localhost");
    let names = texts.into_iter().map(|(text, _)| text.as_str()).chain(listed);
    let mut names: Vec<String> =
        names.map(|name| name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// Returns whether this is a host name and no IP address.
fn is_name(text: &str) -> bool {
    let label = |label: &str| {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        (1..=63).contains(&label.len()) && label.bytes().all(known)
    };
    text.len() <= 253 && text.parse::<IpAddr>().is_err() && text.split('.').all(label)
}

fn origins(http: &typed::Http, problems: &mut Problems) -> Vec<String> {
    let Some(typed) = &http.origins else { return Vec::new() };
    let texts = match typed.get_ref() {
        OneOrMany::One(text) => vec![(text, typed.span())],
        OneOrMany::Many(texts) => texts.iter().map(|text| (text.get_ref(), text.span())).collect(),
    };
    for (text, span) in &texts {
        let (scheme, rest) = text.split_once("://").unwrap_or_default();
        if !matches!(scheme, "http" | "https") || rest.is_empty() || rest.contains(['/', '*', ' ']) {
            let help = "write it as browsers send it, such as \"https://shop.example\"; there is no wildcard";
            problems.push(span.clone(), format!("`{text}` is no origin"), help);
        }
    }
    texts.into_iter().map(|(text, _)| text.clone()).collect()
}

/// Returns the host of an address, if that is one.
pub(super) fn host(listen: &str) -> Option<&str> {
    let (host, port) = listen.rsplit_once(':')?;
    port.parse::<u16>().ok().filter(|_| !host.is_empty()).map(|_| host)
}

pub(super) fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Returns the mistake in an address of the command line, if it has one.
pub fn check_listen(plan: &HttpPlan) -> Result<(), String> {
    match host(&plan.listen) {
        None => Err("write a host and a port, such as 127.0.0.1:7474".into()),
        Some(host) if !is_loopback(host) && plan.tokens.is_none() => {
            Err("it can be reached from other machines, and no client would need a token: name a file of tokens \
                 with `tokens` in [cluster]"
                .into())
        }
        Some(_) => Ok(()),
    }
}
