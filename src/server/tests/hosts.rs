//! DNS rebinding: a page of evil.example, whose name was pointed to 127.0.0.1, read sessions, status and metrics of an
//! engine on loopback: its browser took the answers for the page's own origin. The server recognises the page by its
//! `Host`.

use super::{Answer, ONE, World, error};
use std::io::Write;

/// Sends exactly this head, and no body.
fn raw(world: &World, head: &str) -> Answer {
    let mut stream = world.connect();
    stream.write_all(format!("{}\r\nconnection: close\r\n\r\n", head.replace('\n', "\r\n")).as_bytes()).unwrap();
    Answer::read(&mut stream)
}

#[test]
fn no_path_answers_to_a_name_that_is_not_its_own() {
    let world = World::new(&format!("cluster = {{ hosts = 'Headwater.example.org' }}\n{ONE}"));
    for path in [
        "/healthz",
        "/readyz",
        "/metrics",
        "/v1/status",
        "/v1/collections",
        "/v1/collections/sessions/rows",
        "/v1/collections/sessions/changes",
        "/nothing",
    ] {
        let answer = raw(&world, &format!("GET {path} HTTP/1.1\nhost: evil.example:7474"));
        assert_eq!(answer.error(), error(421, "host"), "{path}");
    }
    for method in ["POST /v1/events", "OPTIONS /v1/events", "DELETE /healthz"] {
        assert_eq!(raw(&world, &format!("{method} HTTP/1.1\nhost: evil.example")).error(), error(421, "host"));
    }
    for host in ["127.0.0.1", "[::1]:7474", "LocalHost.", "headwater.EXAMPLE.org:443"] {
        assert_eq!(raw(&world, &format!("GET /healthz HTTP/1.1\nhost: {host}")).status, 200, "{host}");
    }
    // Counted like any other answer.
    assert!(world.metrics.text().contains("headwater_requests_total{status=\"421\"} 11\n"), "{}", world.metrics.text());
}

#[test]
fn a_request_names_one_host_and_its_target_no_other() {
    let world = World::new(ONE);
    for head in [
        "GET /healthz HTTP/1.1",
        "GET /healthz HTTP/1.1\nhost: localhost\nhost: localhost",
        "GET /healthz HTTP/1.1\nhost: localhost\nhost: evil.example",
        "GET http://localhost/healthz HTTP/1.1",
    ] {
        assert_eq!(raw(&world, head).error(), error(400, "host"), "{head}");
    }
    for head in [
        "GET /healthz HTTP/1.1\nhost:",
        "GET /healthz HTTP/1.0\nhost: evil.example",
        "GET http://evil.example/healthz HTTP/1.1\nhost: localhost",
        "GET http://localhost/healthz HTTP/1.1\nhost: evil.example",
        "GET http://localhost@evil.example/healthz HTTP/1.1\nhost: localhost",
    ] {
        assert_eq!(raw(&world, head).error(), error(421, "host"), "{head}");
    }
    for head in [
        "GET http://127.0.0.1:7474/healthz HTTP/1.1\nhost: localhost",
        "GET /healthz HTTP/1.0\nhost: localhost",
        "GET /healthz HTTP/1.0",
    ] {
        assert_eq!(raw(&world, head).status, 200, "{head}");
    }
}
