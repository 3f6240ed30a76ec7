//! Scopes, rates and origins.

use super::{Answer, ONE, World, error};
use crate::config::{self, Overrides};
use crate::error::Error;
use crate::patience::{eventually, wait_until};
use crate::queue::backfills::Backfills;
use crate::queue::cursor::Cursors;
use crate::queue::definitions::Definitions;
use crate::queue::labels::Labelbook;
use crate::queue::numbers::{Numbers, SourceNumber};
use crate::queue::rulebook::Rulebook;
use crate::queue::versions::Versions;
use crate::server::{Bounds, Services, start};
use headwater_log::vfs::RealFs;
use sha2::{Digest, Sha256};
use std::fs;
use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Instant;

const EVENT: &[u8] = b"{\"user_id\":\"ann\"}";
const TWO: &str = "source = [{ name = 'app', kind = 'http' }, { name = 'web', kind = 'http' }]";

fn world(config: &str, tokens: &[(&str, &str)]) -> World {
    let folder = tempfile::tempdir().unwrap();
    let table = |(token, scopes): &(&str, &str)| {
        let hash: String = Sha256::digest(token).iter().map(|byte| format!("{byte:02x}")).collect();
        format!("[[token]]\nname = 'of {token}'\nsha256 = '{hash}'\nscopes = [{scopes}]\n")
    };
    fs::write(folder.path().join("tokens.toml"), tokens.iter().map(table).collect::<String>()).unwrap();
    let root = folder.path().join("data");
    let config = format!("cluster = {{ tokens = 'tokens.toml' }}\n{config}");
    World::on(&config, Bounds::default(), folder, Arc::new(RealFs), &root)
}

fn with(line: &str, authorization: &str) -> String {
    format!("{line} HTTP/1.1\nauthorization: {authorization}")
}

#[test]
fn tokens_open_what_their_scopes_name() {
    let tokens = [
        ("app", "'ingest:app'"),
        ("all", "'ingest:*'"),
        ("ops", "'admin'"),
        ("sub", "'subscribe:*', 'subscribe:sessions'"),
    ];
    let world = world(TWO, &tokens);
    let post = |authorization: &str, source: &str| {
        world.send(&with(&format!("POST /v1/events?source={source}"), authorization), EVENT)
    };
    for authorization in ["Bearer app", "bearer app", "BEARER   app "] {
        assert_eq!(post(authorization, "app").status, 202, "{authorization}");
    }
    assert_eq!(post("Bearer all", "web").status, 202);
    for (token, source) in [("app", "web"), ("ops", "app"), ("sub", "app")] {
        let answer = post(&format!("Bearer {token}"), source);
        assert_eq!(answer.error(), error(403, "forbidden"), "{token}");
        assert!(answer.body.contains(&format!("ingest:{source}")));
    }
    for authorization in ["", "app", "Basic app", "Bearer", "Bearer ", "Bearer apq", "Bearer app app", "Bearer App"] {
        let answer = post(authorization, "app");
        assert_eq!(answer.error(), error(401, "unauthorized"), "{authorization}");
        assert!(answer.header("www-authenticate").unwrap().starts_with("bearer realm="));
    }
    for path in ["/metrics", "/v1/status"] {
        assert_eq!(world.get(path).error(), error(401, "unauthorized"));
        assert_eq!(world.send(&with(&format!("GET {path}"), "Bearer all"), b"").error(), error(403, "forbidden"));
        assert_eq!(world.send(&with(&format!("GET {path}"), "Bearer ops"), b"").status, 200);
    }
    for path in ["/healthz", "/readyz"] {
        assert_eq!(world.get(path).status, 200, "{path} is for load balancers, which have no token");
    }
    assert_eq!(world.records().len(), 4);
}

/// Requests that are refused before they cost the disk anything: they come too fast however slow that is. Returns how
/// many a rate lets pass, and the first answer to the others.
fn burst(world: &World, authorization: &str) -> (usize, Option<Answer>) {
    const REQUESTS: usize = 20;
    let head = format!("POST /v1/events HTTP/1.1\r\nhost: localhost\r\n{authorization}content-encoding: none\r\n");
    let next = format!("{head}content-length: 0\r\n\r\n").repeat(REQUESTS - 1);
    let mut stream = world.connect();
    write!(stream, "{next}{head}content-length: 0\r\nconnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let answers: Vec<_> = text.split("HTTP/1.1 ").skip(1).map(|text| Answer::of(&format!("HTTP/1.1 {text}"))).collect();
    assert_eq!(answers.len(), REQUESTS, "{text}");
    let passed = answers.iter().filter(|answer| answer.status == 415).count();
    (passed, answers.into_iter().find(|answer| answer.status != 415))
}

#[test]
fn a_rate_is_of_one_token_or_of_all_that_have_none() {
    let rate = "http = { rate = 2 }";
    let world = world(&format!("{rate}\n{ONE}"), &[("a", "'ingest:*'"), ("b", "'ingest:*'")]);
    let post = |token: &str| world.send(&with("POST /v1/events", &format!("Bearer {token}")), EVENT);
    let began = Instant::now();
    assert_eq!(post("a").status, 202);
    let mut passed = 1;
    let late = eventually("the rate is exceeded", || {
        let (others, late) = burst(&world, "authorization: Bearer a\r\n");
        passed += others;
        late
    });
    // Two at once, and two each second.
    assert!((2..=2 + 2 * (began.elapsed().as_secs() as usize + 1)).contains(&passed), "{passed}");
    assert_eq!(late.error(), error(429, "rate"));
    assert_eq!(late.header("retry-after"), Some("1"));
    assert_eq!(post("b").status, 202);
    assert_eq!(world.events().len(), 2);

    let world = World::new(&format!("{rate}\n{ONE}"));
    wait_until("the rate is exceeded", || burst(&world, "").1.is_some());
    wait_until("another second has begun", || world.post(EVENT).status == 202);
    assert_eq!(world.get("/metrics").status, 200, "a rate is for events");
}

#[test]
fn pages_of_listed_origins_may_post_and_no_others() {
    let world = World::new(&format!("http = {{ origins = ['https://shop.example'] }}\n{ONE}"));
    let preflight = |origin: &str| {
        let asked = "access-control-request-method: POST\naccess-control-request-headers: authorization,content-type";
        world.send(&format!("OPTIONS /v1/events HTTP/1.1\norigin: {origin}\n{asked}"), b"")
    };
    let answer = preflight("https://shop.example");
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("access-control-allow-origin"), Some("https://shop.example"));
    assert!(answer.header("access-control-allow-methods").unwrap().contains("post"));
    for name in ["authorization", "content-type", "content-encoding"] {
        assert!(answer.header("access-control-allow-headers").unwrap().contains(name));
    }
    assert!(answer.header("vary").unwrap().contains("origin"));
    assert_eq!(answer.header("access-control-allow-credentials"), None);

    let post = |origin: &str| world.send(&format!("POST /v1/events HTTP/1.1\norigin: {origin}"), EVENT);
    let answer = post("https://shop.example");
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (202, Some("https://shop.example")));
    for origin in ["https://shop.example.evil", "http://shop.example", "null", "*"] {
        assert_eq!(preflight(origin).header("access-control-allow-origin"), None, "{origin}");
        assert_eq!(post(origin).error(), error(403, "origin"), "{origin}");
    }
    // Browsers do not ask before they send plain text.
    let none = World::new(ONE);
    let head = "POST /v1/events HTTP/1.1\norigin: https://evil.example\ncontent-type: text/plain";
    assert_eq!(none.send(head, EVENT).error(), error(403, "origin"));
    assert_eq!((world.events().len(), none.events().len()), (1, 0));
}

#[test]
fn a_wrong_file_of_tokens_or_address_is_an_error_at_start() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::new(ONE);
    let begin = |config: &str| {
        let overrides = Overrides { without_files: true, ..Overrides::default() };
        let plan = Arc::new(config::parse("headwater.toml", config, folder.path(), &overrides).unwrap());
        let sources = Arc::new(Numbers::new((0..).map(SourceNumber).take(plan.sources.len()).collect()));
        let (intake, metrics, status) = (world.intake.clone(), world.metrics.clone(), world.status.clone());
        let (reads, subscriptions) = super::reading(&plan, &world.log);
        let backfills = Backfills::new(&Cursors::default(), 1);
        let labels = Labelbook::new(&[]);
        let rules = Rulebook::new(&plan, &plan, &Definitions::default(), Versions::default());
        start(Services {
            plan,
            intake,
            metrics,
            status,
            reads,
            subscriptions,
            epoch: 1,
            sources,
            backfills,
            rules,
            labels,
        })
        .err()
        .unwrap()
    };
    let tokens = format!("cluster = {{ tokens = 'tokens.toml' }}\n{ONE}");
    assert!(matches!(begin(&tokens), Error::Config(_)));
    fs::write(folder.path().join("tokens.toml"), "[[token]]\nname = 'a'\nsha256 = 'b'\nscopes = ['admin']").unwrap();
    let error = begin(&tokens);
    assert!(matches!(error, Error::Config(_)) && error.to_string().contains("no SHA-256"), "{error}");
    let taken = world.server.address();
    let error = begin(&format!("cluster = {{ listen = '{taken}' }}\n{ONE}"));
    assert_eq!((error.to_string(), error.exit_code()), (format!("cannot listen on {taken}"), 1));
}
