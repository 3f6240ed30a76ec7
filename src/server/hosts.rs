//! Checks the name that a request addresses. Refuses a page of another site whose name resolves to this machine (DNS
//! rebinding).
//!
//! A browser sends the name in its address bar as `Host`, whatever address that resolves to. So a page of
//! `evil.example` that points its name to 127.0.0.1 could read the answers: the browser takes them for its own origin.
//! An IP literal and `localhost` cannot be pointed elsewhere, and configured names are the operator's.

use super::Shared;
use super::problem::Problem;
use axum::extract::{Request, State};
use axum::http::header::{HOST, HeaderValue};
use axum::http::{StatusCode, Version};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// Refuses a request that addresses another name, on every path.
pub(super) async fn guard(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    match check(&request, &shared.services.plan.http.hosts) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

/// Checks the `Host` header and, of a request in absolute form, the host of its target too.
///
/// # Errors
/// 400 without exactly one readable `Host`, which HTTP/1.0 may leave out; 421 if it is not served here.
fn check(request: &Request, known: &[String]) -> Result<(), Problem> {
    let malformed = |message: &str| Problem::new(StatusCode::BAD_REQUEST, "host", message);
    let mut hosts = request.headers().get_all(HOST).iter();
    let host = hosts.next();
    // Load balancers check with HTTP/1.0 and no `Host`. No browser does.
    if host.is_none() && request.version() != Version::HTTP_10 {
        return Err(malformed("the request has no `Host`"));
    }
    if hosts.next().is_some() {
        return Err(malformed("the request has several `Host` lines"));
    }
    let host = host.map(HeaderValue::to_str).transpose().map_err(|_| malformed("the `Host` is not readable"))?;
    let target = request.uri().authority().map(|authority| authority.as_str());
    match [host, target].into_iter().flatten().find(|host| !is_served(host, known)) {
        None => Ok(()),
        Some(_) => {
            let message = "the server is not known by this `Host`: use its address, or add the name to `hosts` of \
                           [cluster]";
            Err(Problem::new(StatusCode::MISDIRECTED_REQUEST, "host", message))
        }
    }
}

/// Returns whether `host`, with or without a port, is an IP literal, `localhost` or one of the `known` names.
fn is_served(host: &str, known: &[String]) -> bool {
    if let Some(rest) = host.strip_prefix('[') {
        let Some((address, port)) = rest.split_once(']') else { return false };
        // A zone names an interface of the client.
        let address = address.split_once('%').map_or(address, |(address, _)| address);
        return address.parse::<Ipv6Addr>().is_ok() && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port));
    }
    let (name, port) = host.split_once(':').unwrap_or((host, ""));
    let name = name.strip_suffix('.').unwrap_or(name);
    let named = |known: &str| name.eq_ignore_ascii_case(known);
    is_port(port) && (name.parse::<Ipv4Addr>().is_ok() || named("localhost") || known.iter().any(|known| named(known)))
}

/// Returns whether the digits behind the colon can be those of a port. There may be none.
fn is_port(digits: &str) -> bool {
    digits.is_empty() || digits.bytes().all(|byte| byte.is_ascii_digit()) && digits.parse::<u16>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::is_served;

    #[test]
    fn addresses_localhost_and_known_names_are_served_and_nothing_that_looks_like_them() {
        let known = ["headwater.example.org".to_owned(), "headwater".to_owned()];
        for host in [
            "127.0.0.1",
            "127.0.0.1:7474",
            "10.1.2.3:80",
            "127.0.0.1.",
            "[::1]",
            "[::1]:7474",
            "[2001:DB8::1]:7474",
            "[fe80::1%eth0]:7474",
            "localhost",
            "LOCALHOST:7474",
            "localhost.:7474",
            "localhost:",
            "headwater",
            "Headwater.Example.ORG",
            "headwater.example.org.:443",
        ] {
            assert!(is_served(host, &known), "{host}");
        }
        for host in [
            "",
            ":7474",
            ".",
            "evil.example",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "evil.localhost",
            "evil.example:7474",
            "localhost@evil.example",
            "evil.example@localhost",
            "localhost:7474@evil.example",
            "localhost,evil.example",
            "localhost evil.example",
            "localhost..",
            "localhost:7474:7474",
            "localhost:http",
            "localhost:99999",
            "localhost:+80",
            "headwater.example",
            "x.headwater.example.org",
            "example.org",
            "::1",
            "[::1",
            "[::1]evil.example",
            "[::1]:x",
            "[localhost]",
            "[evil.example]",
            "2130706433",
            "0x7f000001",
            "127.1",
        ] {
            assert!(!is_served(host, &known), "{host}");
        }
    }
}
