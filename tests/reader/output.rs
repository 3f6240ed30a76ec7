//! `headwater subscribe` in a pipe prints the lines of an undisturbed one, and its token stands for the printed lines.

use super::history::{History, Rows, add};
use super::server::{Framing, Request, Server, Step, answered, streamed};
use crate::headwater::Folder;
use headwater_log::vfs::model::Rng;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

fn subscribe(folder: &Folder, url: &str, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_headwater"));
    command.args(["subscribe", "sessions", "--url", url]).args(more).current_dir(folder.path(""));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Waits for it: exit code, standard output, standard error.
fn ended(child: Child) -> (Option<i32>, String, String) {
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn run(folder: &Folder, url: &str, more: &[&str]) -> (Option<i32>, String, String) {
    ended(subscribe(folder, url, more).spawn().unwrap())
}

fn text(lines: &[String]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

fn without_hellos(text: &str) -> String {
    text.lines().filter(|line| !line.contains("\"hello\"")).map(|line| format!("{line}\n")).collect()
}

/// A history of which a line comes every two milliseconds.
fn slow(history: &History, request: &Request) -> Vec<Step> {
    let pause = Step::Wait(Duration::from_millis(2));
    let answer = history.answer(request, Framing::Close);
    answer.split_inclusive(|byte| *byte == b'\n').flat_map(|line| [Step::Send(line.to_vec()), pause.clone()]).collect()
}

#[test]
fn each_line_is_printed_as_it_came() {
    let history = History::new(1, 15);
    let odd = r#"{ "type" : "delta" , "tick":15, "updates":[ {"row":{"a":1.10,"\u0062":"é"}, "diff":1} ], "new":[1] }"#;
    let served = history.clone();
    let server = Server::start(move |_, request| {
        let mut lines = served.lines(request);
        lines.extend([
            odd.to_owned(),
            r#"{"type":"later"}"#.into(),
            r#"{"type":"progress","upper":16,"token":"t.16"}"#.into(),
        ]);
        vec![Step::Send(streamed(&lines, Framing::Chunked))]
    });
    let (code, stdout, stderr) = run(&Folder::new(), &server.url(), &["--until-caught-up"]);
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    let lines = history.lines(&Request::default());
    assert!(stdout.starts_with(&text(&lines)) && stdout.contains(odd) && stdout.contains("later"), "{stdout}");
}

#[test]
fn options_are_the_parameters_of_the_request() {
    let cases: [(&str, &[(&str, &str)]); 6] = [
        ("", &[]),
        ("--snapshot", &[("snapshot", "true")]),
        ("--snapshot --no-snapshot", &[("snapshot", "false")]),
        ("--envelope upsert", &[("envelope", "upsert")]),
        ("--from 0", &[("from", "0")]),
        ("--filter a=1 --key k --key l --columns a,b", &[("columns", "a,b"), ("filter", "a=1"), ("key", "k|l")]),
    ];
    for (options, expected) in cases {
        let server = Server::start(History::new(1, 9).serve(Framing::Chunked));
        let options: Vec<&str> = options.split_whitespace().chain(["--until-caught-up"]).collect();
        let code = run(&Folder::new(), &server.url(), &options).0;
        // A server that was asked for no snapshot and sends one is at fault.
        let without = options.contains(&"--no-snapshot") || options.contains(&"--from");
        assert_eq!(code, Some(i32::from(without)), "{options:?}");
        let mut asked = server.requests()[0].query.clone();
        assert_eq!(asked.remove("until").as_deref(), Some("caught_up"));
        assert_eq!(asked.remove("heartbeat").as_deref(), Some("5"));
        let asked: Vec<_> = asked.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(asked, expected);
    }
}

/// A printed line cannot be taken back, so a line that comes again must not have been printed before.
#[test]
fn broken_connections_leave_no_trace_in_what_is_printed() {
    let history = History::new(2, 15);
    let truth = without_hellos(&text(&history.lines(&Request::default())));
    let length = history.answer(&path_of_changes(), Framing::Chunked).len();
    for cut in (0..length).step_by(61) {
        let served = history.clone();
        let server = Server::start(move |number, request| {
            let mut answer = served.answer(request, Framing::Chunked);
            if number == 0 {
                answer.truncate(cut);
            }
            vec![Step::Send(answer)]
        });
        let (code, stdout, stderr) = run(&Folder::new(), &server.url(), &["--until-caught-up"]);
        assert_eq!((code, without_hellos(&stdout)), (Some(0), truth.clone()), "cut at {cut}: {stderr}");
        assert!(stderr.starts_with("no connection to http://127."), "{stderr}");
        let resumed = server.requests()[1].asked("token").is_some();
        let again = if resumed { "goes on where it was" } else { "the snapshot begins again" };
        // A connection that broke before its first frame never was one.
        assert!(stderr.contains(again), "cut at {cut}: {stderr}");
    }
}

fn path_of_changes() -> Request {
    Request { path: "/v1/collections/sessions/changes".into(), ..Request::default() }
}

#[test]
fn the_next_run_goes_on_where_this_one_ended() {
    let history = History::new(3, 15);
    let server = Server::start(history.serve(Framing::Chunked));
    let folder = Folder::new();
    let options = ["--until-caught-up", "--resume-file", "at"];
    let (code, stdout, stderr) = run(&folder, &server.url(), &options);
    assert_eq!((code, stderr.as_str()), (Some(0), "at does not exist yet: begins without a token\n"));
    assert_eq!(stdout, text(&history.lines(&Request::default())));
    assert_eq!(folder.read("at"), "t.15\n");
    let (code, stdout, stderr) = run(&folder, &server.url(), &options);
    assert_eq!((code, stderr.as_str()), (Some(0), "goes on after the token in at\n"));
    assert_eq!(without_hellos(&stdout), "{\"type\":\"progress\",\"upper\":15,\"token\":\"t.15\"}\n");

    let gone = answered(
        "410 Gone",
        "",
        r#"{"error":{"code":"token_expired","message":"ticks below 90 are gone","oldest":90}}"#,
    );
    let (code, stdout, stderr) = run(&folder, &Server::always(gone).url(), &options);
    assert_eq!((code, stdout.as_str()), (Some(1), ""));
    let stderr = stderr.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(stderr.contains("ticks below 90 are gone") && stderr.contains("remove at"), "{stderr}");
    assert_eq!(folder.read("at"), "t.15\n", "it is the user's to remove");
    folder.write("at", "");
    assert_eq!(run(&folder, &server.url(), &options).0, Some(1), "an empty file is no reason to begin again");
}

/// Killed again and again. A reader of the printed lines that skips repeated ticks has the truth, and no token stands for
/// a line that was not printed.
#[test]
fn a_reader_that_is_killed_loses_nothing() {
    let history = History::new(4, 60);
    let served = history.clone();
    let server = Server::start(move |_, request| slow(&served, request));
    let folder = Folder::new();
    let mut rng = Rng::new(9);
    let (mut rows, mut ticks, mut upper, mut kills) = (Rows::new(), BTreeMap::new(), 0, 0);
    for life in 0_u64.. {
        let name = format!("out{life}");
        let mut begins = !folder.path("at").exists();
        let mut command = subscribe(&folder, &server.url(), &["--until-caught-up", "--resume-file", "at"]);
        let mut child = command.stdout(File::create(folder.path(&name)).unwrap()).spawn().unwrap();
        // Longer each time, as a machine may need more to get anywhere.
        let until = Instant::now() + Duration::from_millis(5 + rng.below(60) + life * life / 4);
        let ended = loop {
            match child.try_wait().unwrap() {
                Some(status) => break Some(status),
                None if Instant::now() > until => break None,
                None => sleep(Duration::from_millis(1)),
            }
        };
        if ended.is_none() {
            child.kill().unwrap();
            child.wait().unwrap();
            kills += 1;
        }
        for line in folder.read(&name).split_inclusive('\n') {
            let Ok(frame) = serde_json::from_str::<Value>(line) else {
                assert!(ended.is_none() && !line.ends_with('\n'), "only a kill tears a line: {line}");
                continue;
            };
            match frame["type"].as_str().unwrap() {
                "snapshot" => {
                    assert!(upper == 0 || begins, "a snapshot where a token was kept");
                    if std::mem::take(&mut begins) {
                        // Killed before the first token was kept: it began again, and so does the reader.
                        (rows, upper) = (Rows::new(), 0);
                    }
                    take(&mut rows, &frame);
                }
                "delta" => ticks.entry(frame["tick"].as_u64().unwrap()).or_insert_with(Vec::new).push(frame),
                "progress" => {
                    let next = frame["upper"].as_u64().unwrap();
                    for (tick, frames) in std::mem::take(&mut ticks) {
                        if tick >= upper {
                            frames.iter().for_each(|frame| take(&mut rows, frame));
                        }
                    }
                    upper = upper.max(next);
                    assert_eq!(rows, history.rows(upper));
                }
                _ => ticks.clear(),
            }
        }
        let token = std::fs::read_to_string(folder.path("at")).unwrap_or("t.0".into());
        let kept: u64 = token.trim().strip_prefix("t.").unwrap().parse().unwrap();
        assert!(kept <= upper, "{kept} is kept, {upper} printed");
        if let Some(status) = ended {
            assert_eq!((status.code(), upper, kept), (Some(0), history.upper(), history.upper()));
            break;
        }
    }
    assert!(kills > 1, "it was killed {kills} times");
}

fn take(rows: &mut Rows, frame: &Value) {
    for update in frame["updates"].as_array().unwrap() {
        // The text of the row, as the server wrote it: in it, keys are not in order.
        let row = &update["row"];
        let text = format!(
            r#"{{"session_id":{},"user":{},"start_us":{},"end_us":{},"events":{},"sum":{}.100000}}"#,
            row["session_id"], row["user"], row["start_us"], row["end_us"], row["events"], row["events"]
        );
        add(rows, &text, update["diff"].as_i64().unwrap());
    }
}

#[test]
fn asked_to_stop_it_ends_well_with_its_token_kept() {
    for signal in [Signal::INT, Signal::TERM] {
        let history = History::new(5, 15);
        let served = history.clone();
        let server = Server::start(move |_, request| {
            vec![Step::Send(streamed(&served.lines(request), Framing::Close)), Step::Hold]
        });
        let folder = Folder::new();
        let mut child = subscribe(&folder, &server.url(), &["--resume-file", "at"]).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        while !lines.next().unwrap().unwrap().contains("t.15") {}
        kill_process(Pid::from_raw(child.id() as i32).unwrap(), signal).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(0));
        assert_eq!(folder.read("at"), "t.15\n");
    }
}

/// `headwater subscribe … | head -n 3`
#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let history = History::new(6, 60);
    let served = history.clone();
    let server = Server::start(move |_, request| slow(&served, request));
    let mut child = subscribe(&Folder::new(), &server.url(), &[]).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    lines.next().unwrap().unwrap();
    drop(lines);
    let (code, _, stderr) = ended(child);
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
}

#[test]
fn exit_codes_tell_who_is_at_fault() {
    let folder = Folder::new();
    let check = |url: &str, more: &[&str], expected: i32, says: &str| {
        let (code, stdout, stderr) = run(&folder, url, more);
        assert_eq!((code, stdout.as_str()), (Some(expected), ""), "{more:?}: {stderr}");
        let stderr = stderr.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(stderr.contains(says), "{stderr}");
    };
    let refuse = |status: &str, code: &str| {
        Server::always(answered(status, "", &format!(r#"{{"error":{{"code":"{code}","message":"{code} is wrong"}}}}"#)))
    };
    check(&refuse("404 Not Found", "collection").url(), &[], 2, "collection is wrong");
    check(&refuse("400 Bad Request", "filter").url(), &["--filter", "x"], 2, "filter is wrong");
    check(&refuse("401 Unauthorized", "unauthorized").url(), &[], 1, "unauthorized is wrong");
    check(&refuse("410 Gone", "token_expired").url(), &[], 1, "token_expired is wrong");
    check("http://127.0.0.1:1", &[], 1, "cannot be reached");
    check("https://127.0.0.1:1", &[], 2, "no TLS");
    check("http://127.0.0.1:1", &["--envelope", "debezium"], 2, "debezium");
    check("http://127.0.0.1:1", &["--from", "-1"], 2, "'-1'");
    check("http://127.0.0.1:1", &["--resume-file", "no folder/at"], 1, "cannot be reached");
}

/// An error in the stream is a frame like others, and the last one.
#[test]
fn an_error_frame_is_printed_and_ends_it() {
    let error = r#"{"type":"error","code":"token_expired","message":"too slow","oldest":90}"#;
    let history = History::new(7, 9);
    let served = history.clone();
    let server = Server::start(move |_, request| {
        let mut lines = served.lines(request);
        lines.extend([r#"{"type":"delta","tick":9,"updates":[]}"#.to_owned(), error.into()]);
        vec![Step::Send(streamed(&lines, Framing::Chunked))]
    });
    let (code, stdout, stderr) = run(&Folder::new(), &server.url(), &[]);
    assert_eq!((code, stdout), (Some(1), text(&history.lines(&Request::default())) + error + "\n"));
    assert!(stderr.contains("too slow"), "{stderr}");
}
