//! Shows the progress of a run on standard error: a bar on a terminal, elsewhere a plain line from time to time.

use indicatif::{DecimalBytes, HumanCount, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Shared by all who read input. Dropping it clears the bar: on success and on errors alike. A panic prints its message
/// below the bar, which then stays as the last thing known; the cursor is never hidden.
pub struct Progress {
    total_bytes: u64,
    started: Instant,
    bytes: AtomicU64,
    events: Arc<AtomicU64>,
    display: Display,
}

/// How progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProgressMode {
    Bar,
    Lines,
    Silent,
}

impl ProgressMode {
    /// Returns the mode that suits standard error. `quiet`: `--json` or `--no-progress`.
    pub fn detect(quiet: bool) -> ProgressMode {
        let dumb = std::env::var_os("TERM").is_some_and(|terminal| terminal == "dumb");
        match io::stderr().is_terminal() && !dumb {
            _ if quiet => ProgressMode::Silent,
            true => ProgressMode::Bar,
            false => ProgressMode::Lines,
        }
    }
}

/// Returns a bar over records that are written one after the other; on a terminal only.
pub fn records(total: u64, mode: ProgressMode) -> ProgressBar {
    const TEMPLATE: &str = "{bar:24} {percent:>3}%  {human_pos} of {human_len} records  {eta} left";
    let target = match mode {
        ProgressMode::Bar => ProgressDrawTarget::stderr_with_hz(REDRAWS_PER_SECOND),
        ProgressMode::Lines | ProgressMode::Silent => ProgressDrawTarget::hidden(),
    };
    let style = ProgressStyle::with_template(TEMPLATE).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::with_draw_target(Some(total), target).with_style(style)
}

enum Display {
    Bar(ProgressBar),
    /// When the next line is due, in milliseconds since the start.
    Lines(AtomicU64),
    Silent,
}

/// Time between plain lines. Runs that are shorter print none.
const LINE_EVERY: Duration = Duration::from_secs(5);
const REDRAWS_PER_SECOND: u8 = 10;

impl Progress {
    /// `total_bytes` of input, in the same unit as [`Progress::tick`] counts: bytes of the files as they are stored.
    pub fn start(total_bytes: u64, mode: ProgressMode) -> Progress {
        let events = Arc::new(AtomicU64::new(0));
        let display = match mode {
            ProgressMode::Bar => {
                let target = ProgressDrawTarget::stderr_with_hz(REDRAWS_PER_SECOND);
                Display::Bar(bar(total_bytes, events.clone(), target))
            }
            ProgressMode::Lines => Display::Lines(AtomicU64::new(LINE_EVERY.as_millis() as u64)),
            ProgressMode::Silent => Display::Silent,
        };
        Progress { total_bytes, started: Instant::now(), bytes: AtomicU64::new(0), events, display }
    }

    /// Adds what has been read since the last call. Cheap enough to call for every chunk.
    pub fn tick(&self, bytes: u64, events: u64) {
        self.events.fetch_add(events, Ordering::Relaxed);
        match &self.display {
            Display::Bar(bar) => bar.inc(bytes),
            Display::Lines(due) => {
                let bytes = self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
                let elapsed = self.started.elapsed();
                if is_due(due, elapsed) {
                    let events = self.events.load(Ordering::Relaxed);
                    // A progress line that cannot be written is no reason to stop.
                    let _ = writeln!(io::stderr(), "{}", line(bytes, self.total_bytes, events, elapsed));
                }
            }
            Display::Silent => {}
        }
    }

    /// Clears the bar, so that what follows starts on an empty line.
    pub fn finish(self) {}
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Display::Bar(bar) = &self.display {
            bar.finish_and_clear();
        }
    }
}

fn bar(total_bytes: u64, events: Arc<AtomicU64>, target: ProgressDrawTarget) -> ProgressBar {
    const TEMPLATE: &str = "{bar:24} {percent:>3}%  {decimal_bytes} of {decimal_total_bytes}  {rate}  {eta} left";
    let rate = move |state: &ProgressState, out: &mut dyn fmt::Write| {
        // A terminal that is gone is no reason to stop.
        let _ = write!(out, "{} events/s", HumanCount(rate(events.load(Ordering::Relaxed), state.elapsed())));
    };
    let style = ProgressStyle::with_template(TEMPLATE).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::with_draw_target(Some(total_bytes), target).with_style(style.with_key("rate", rate))
}

/// Returns whether a line is due; if so, this caller alone is to print it.
fn is_due(due: &AtomicU64, elapsed: Duration) -> bool {
    let (at, now) = (due.load(Ordering::Relaxed), elapsed.as_millis() as u64);
    let next = now + LINE_EVERY.as_millis() as u64;
    now >= at && due.compare_exchange(at, next, Ordering::Relaxed, Ordering::Relaxed).is_ok()
}

fn line(bytes: u64, total_bytes: u64, events: u64, elapsed: Duration) -> String {
    let rate = rate(events, elapsed);
    let mut line = format!("{} events, {} events/s, {}", HumanCount(events), HumanCount(rate), DecimalBytes(bytes));
    if total_bytes > 0 {
        let share = (bytes as f64 / total_bytes as f64).min(1.0);
        line += &format!(" of {} ({:.0}%)", DecimalBytes(total_bytes), share * 100.0);
        if share > 0.0 {
            line += &format!(", {:.0} s left", elapsed.as_secs_f64() * (1.0 - share) / share);
        }
    }
    line
}

fn rate(events: u64, elapsed: Duration) -> u64 {
    match elapsed.as_secs_f64() {
        0.0 => 0,
        seconds => (events as f64 / seconds) as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use indicatif::TermLike;
    use std::sync::Mutex;

    #[test]
    fn a_line_says_how_far_how_fast_how_long() {
        let check = |bytes, total, events, seconds, text: &str| {
            assert_eq!(line(bytes, total, events, Duration::from_secs(seconds)), text);
        };
        check(
            250_000_000,
            1_000_000_000,
            1_500_000,
            5,
            "1,500,000 events, 300,000 events/s, 250.00 MB of 1.00 GB (25%), 15 s left",
        );
        // Files that grow while they are read.
        check(1200, 1000, 10, 10, "10 events, 1 events/s, 1.20 kB of 1.00 kB (100%), 0 s left");
        check(0, 1000, 0, 5, "0 events, 0 events/s, 0 B of 1.00 kB (0%)");
        check(500, 0, 10, 5, "10 events, 2 events/s, 500 B");
        check(500, 0, 10, 0, "10 events, 0 events/s, 500 B");
    }

    #[test]
    fn lines_come_every_five_seconds_and_once() {
        let due = AtomicU64::new(5000);
        let at = |millis| is_due(&due, Duration::from_millis(millis));
        assert_eq!([at(0), at(4999), at(5000), at(5001), at(9999)], [false, false, true, false, false]);
        assert!(at(12_000), "late is better than never");
        assert!(!at(16_999));
        assert!(at(17_000));
    }

    #[test]
    fn the_bar_shows_everything_and_leaves_nothing() {
        let terminal = Terminal::default();
        let target = ProgressDrawTarget::term_like(Box::new(terminal.clone()));
        let events = Arc::new(AtomicU64::new(0));
        let progress = Progress {
            total_bytes: 2_000_000,
            started: Instant::now(),
            bytes: AtomicU64::new(0),
            display: Display::Bar(bar(2_000_000, events.clone(), target)),
            events,
        };
        progress.tick(500_000, 1000);
        let Display::Bar(bar) = &progress.display else { unreachable!() };
        bar.force_draw();
        let shown = terminal.shown();
        for part in [" 25%", "500.00 kB of 2.00 MB", "events/s", "left"] {
            assert!(shown.contains(part), "{part:?} in {shown:?}");
        }
        assert!(!shown.contains(" 0 events/s"), "{shown}");
        drop(progress);
        assert_eq!(terminal.shown(), "");
    }

    /// A terminal of one line, as much as the bar needs.
    #[derive(Clone, Debug, Default)]
    struct Terminal(Arc<Mutex<String>>);

    impl Terminal {
        fn shown(&self) -> String {
            self.0.lock().unwrap().trim().to_owned()
        }
    }

    impl TermLike for Terminal {
        fn width(&self) -> u16 {
            100
        }

        fn move_cursor_up(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_down(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_right(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_left(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn write_line(&self, text: &str) -> io::Result<()> {
            self.write_str(text)
        }

        fn write_str(&self, text: &str) -> io::Result<()> {
            self.0.lock().unwrap().push_str(text);
            Ok(())
        }

        fn clear_line(&self) -> io::Result<()> {
            self.0.lock().unwrap().clear();
            Ok(())
        }

        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
    }
}
