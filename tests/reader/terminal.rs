//! `headwater subscribe` and `peek` on a real terminal, without a person.

use super::history::History;
use super::server::{Framing, Request, Server, Step, answered, streamed};
use crate::patience::PATIENCE;
use console::{measure_text_width, strip_ansi_codes};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

const ENTER: &str = "\x1b[?1049h";
const LEAVE: &str = "\x1b[?1049l";

struct Terminal {
    master: OwnedFd,
    child: Child,
    shown: Arc<(Mutex<String>, Condvar)>,
}

impl Terminal {
    fn start(columns: u16, lines: u16, arguments: &[&str], terminal: &str) -> Terminal {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        resize(&master, columns, lines);
        let end = || Stdio::from(OpenOptions::new().read(true).write(true).open(&name).unwrap());
        let mut command = Command::new(env!("CARGO_BIN_EXE_headwater"));
        command.args(arguments).env("TERM", terminal).env_remove("NO_COLOR");
        let child = command.stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
        drop(command);
        let shown = Arc::<(Mutex<String>, Condvar)>::default();
        let (screen, mut input) = (Arc::clone(&shown), File::from(master.try_clone().unwrap()));
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            // Without a writer a terminal ends with an error.
            while let Ok(read @ 1..) = input.read(&mut bytes) {
                screen.0.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes[..read]));
                screen.1.notify_all();
            }
        });
        Terminal { master, child, shown }
    }

    /// Waits until all that has been written looks so.
    fn until(&self, looks: impl Fn(&str) -> bool) -> String {
        let shown = self.shown.0.lock().unwrap();
        let (shown, timeout) = self.shown.1.wait_timeout_while(shown, PATIENCE, |shown| !looks(shown)).unwrap();
        assert!(!timeout.timed_out(), "{shown:?}");
        shown.clone()
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.child.id() as i32).unwrap(), signal).unwrap();
    }

    /// Waits until the process has stopped.
    fn stopped(&self) {
        let began = Instant::now();
        let stat = format!("/proc/{}/stat", self.child.id());
        while !std::fs::read_to_string(&stat).unwrap().contains(") T ") {
            assert!(began.elapsed() < PATIENCE, "it does not stop");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn code(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

fn resize(master: &OwnedFd, columns: u16, lines: u16) {
    tcsetwinsize(master, Winsize { ws_row: lines, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
}

/// The lines of the last whole picture, without colours.
fn picture(shown: &str) -> Vec<String> {
    let whole = &shown[..shown.rfind("\x1b[J").unwrap_or(0)];
    let last = whole.rsplit("\x1b[H").next().unwrap_or_default();
    // The terminal itself puts a carriage return before each line feed.
    last.replace("\r\r\n", "\n").split('\n').map(|line| strip_ansi_codes(line).into_owned()).collect()
}

/// A server that says all that it has, and then waits.
fn waiting(history: &History) -> Server {
    let served = history.clone();
    Server::start(move |_, request: &Request| {
        vec![Step::Send(streamed(&served.lines(request), Framing::Close)), Step::Hold]
    })
}

#[test]
fn a_table_fits_follows_the_size_and_gives_the_terminal_back() {
    let history = History::new(1, 40);
    let server = waiting(&history);
    let rows = history.rows(history.upper()).len();
    assert!(rows >= 3, "the case is the one that is meant");
    let mut terminal = Terminal::start(100, 24, &["subscribe", "sessions", "--url", &server.url()], "xterm");
    let totals = format!("{rows} rows   tick 39");
    let shown = terminal.until(|shown| picture(shown).last().is_some_and(|line| line.starts_with(&totals)));
    let lines = picture(&shown);
    assert!(lines[0].starts_with(&format!("sessions of {}", server.url())), "{lines:#?}");
    assert!(lines[1].starts_with("  user  start_us "), "{lines:#?}");
    assert!(lines[2..lines.len() - 1].iter().any(|line| line[2..].starts_with("u1 ")), "{lines:#?}");

    resize(&terminal.master, 30, 6);
    let fits = |lines: &[String]| lines.len() == 6 && lines.iter().all(|line| measure_text_width(line) <= 30);
    let shown = terminal.until(|shown| fits(&picture(shown)));
    assert!(picture(&shown)[5].starts_with(&totals));

    terminal.signal(Signal::INT);
    assert_eq!(terminal.code(), Some(0));
    let shown = terminal.until(|shown| shown.contains(LEAVE) && shown.trim_end().ends_with("update…"));
    let (before, after) = shown.rsplit_once(LEAVE).unwrap();
    assert!(before.starts_with(ENTER) && before.contains("\x1b[?25l") && before.ends_with("\x1b[?7h\x1b[?25h"));
    assert!(strip_ansi_codes(after).contains(&totals), "the last state stays: {after:?}");
}

#[test]
fn stopped_and_continued_it_takes_the_terminal_again() {
    let server = waiting(&History::new(2, 12));
    let mut terminal = Terminal::start(80, 24, &["subscribe", "sessions", "--url", &server.url()], "xterm");
    terminal.until(|shown| shown.contains("tick 11"));
    terminal.signal(Signal::TSTP);
    terminal.until(|shown| shown.ends_with(LEAVE));
    // It stops a moment after it has left the screen, and would not hear what comes before that.
    terminal.stopped();
    terminal.signal(Signal::CONT);
    terminal.until(|shown| {
        shown.rsplit_once(ENTER).is_some_and(|(before, after)| !before.is_empty() && after.contains("tick 11"))
    });
    terminal.signal(Signal::TERM);
    assert_eq!(terminal.code(), Some(0));
    terminal.until(|shown| shown.rfind(LEAVE) > shown.rfind(ENTER));
}

#[test]
fn caught_up_it_ends_and_the_table_stays() {
    let history = History::new(3, 12);
    let server = Server::start(history.serve(Framing::Chunked));
    let arguments = ["subscribe", "sessions", "--until-caught-up", "--url", &server.url()];
    let mut terminal = Terminal::start(80, 24, &arguments, "xterm");
    assert_eq!(terminal.code(), Some(0));
    let rows = history.rows(history.upper()).len();
    terminal.until(|shown| shown.contains(&format!("{rows} rows   tick 11")) && shown.contains("caught up"));
}

#[test]
fn an_error_before_anything_has_come_leaves_the_terminal_alone() {
    let server =
        Server::always(answered("404 Not Found", "", r#"{"error":{"code":"collection","message":"no such"}}"#));
    let mut terminal = Terminal::start(80, 24, &["subscribe", "session", "--url", &server.url()], "xterm");
    assert_eq!(terminal.code(), Some(2));
    let shown = terminal.until(|shown| shown.contains("no such"));
    assert!(!shown.contains("\x1b[?"), "{shown:?}");
}

/// Frames are asked for, or nothing can be drawn in place.
#[test]
fn lines_where_a_table_would_not_do() {
    let server = Server::start(History::new(4, 12).serve(Framing::Chunked));
    let url = server.url();
    for (more, terminal) in [(vec!["--json"], "xterm"), (vec!["--envelope", "upsert"], "xterm"), (vec![], "dumb")] {
        let arguments = [vec!["subscribe", "sessions", "--until-caught-up", "--url", &url], more].concat();
        let mut terminal = Terminal::start(80, 24, &arguments, terminal);
        assert_eq!(terminal.code(), Some(0));
        let shown = terminal.until(|shown| shown.contains(r#""token":"t.12"}"#));
        assert!(shown.starts_with(r#"{"type":"hello""#) && !shown.contains('\x1b'), "{shown:?}");
    }
}

#[test]
fn rows_that_are_read_once_are_a_table_too() {
    let body =
        r#"{"as_of":7,"rows":[{"class":"login","events":12},{"class":"a rather long class","events":3}],"next":"x"}"#;
    let server = Server::always(answered("200 OK", "", body));
    let mut terminal = Terminal::start(20, 24, &["peek", "counts", "--limit", "2", "--url", &server.url()], "xterm");
    assert_eq!(terminal.code(), Some(0));
    let shown = terminal.until(|shown| shown.contains("left out"));
    let shown = strip_ansi_codes(&shown).replace("\r\n", "\n");
    let expected = "class         events\nlogin             12\na rather lo…       3\n2 rows as of tick 7, and more that are left out\n";
    assert_eq!(shown, expected);
}
