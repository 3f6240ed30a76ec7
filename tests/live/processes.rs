//! Several processes of one run: the same answers and the same bytes as one process, at any number of workers in each. When
//! one is killed, all are started again, and nothing is lost.

use super::client::{Client, Outcome};
use super::events::{Event, PAST_MS, lines, sessions};
use super::journals::folder_with_history;
use super::landing::LANDING;
use super::process::{Process, Restart};
use super::published::{Published, same};
use super::{MEANING, OFTEN, folder, run_toml};
use crate::headwater::Folder;
use headwater_log::vfs::model::Rng;
use rustix::process::{Signal, kill_process};

fn start(folder: &Folder, data: &str, workers: usize, processes: usize, restart: Restart) -> Process {
    Process::start_with(folder, data, workers, restart, None, &["--processes", &processes.to_string()])
}

#[test]
fn a_tick_has_the_same_bytes_with_any_number_of_processes() {
    let (folder, published) = folder_with_history();
    for (workers, processes) in [(2, 1), (1, 2), (2, 2), (1, 3)] {
        published.computed_again(&folder, &format!("copy {processes} x {workers}"), |copy| {
            let process = start(&folder, copy, workers, processes, Restart::No);
            process.ready();
            process.drain();
        });
    }
}

#[test]
fn whichever_process_is_killed_nothing_is_lost_and_the_counts_may_change() {
    let folder = folder(OFTEN);
    folder.write("run.toml", run_toml(OFTEN, &format!("{LANDING}{MEANING}")));
    let mut rng = Rng::new(5);
    let mut sent: Vec<Event> = Vec::new();
    // From one to several and back, each time with another victim.
    for (workers, processes, victim) in [(2, 1, 0), (1, 2, 1), (2, 2, 0), (1, 3, 2), (3, 1, 0), (2, 3, 1)] {
        let process = start(&folder, "data", workers, processes, Restart::Supervisor);
        for life in 0..2 {
            let (address, _) = process.ready_again(life);
            let mut client = Client::new(address);
            for _ in 0..40 {
                let mut any = |_| {
                    let user = rng.below(30);
                    Event::any(&mut rng, format!("user {user}"), PAST_MS, 600_000, None)
                };
                let batch: Vec<_> = (0..10).map(&mut any).collect();
                assert_eq!(client.post(&lines(&batch)), Outcome::Acknowledged);
                sent.extend(batch);
            }
            if life == 0 {
                kill_process(process.working_of(victim).unwrap(), Signal::KILL).unwrap();
            } else {
                client.published();
                let status = client.get_json("/v1/status").unwrap().1;
                assert_eq!(
                    (status["workers"].as_u64(), status["processes"].as_u64()),
                    (Some((workers * processes) as u64), Some(processes as u64))
                );
            }
        }
        process.drain();
    }
    let published = Published::read(&folder.path("data"));
    same("sessions", &published.sessions(), &sessions(&sent));
    published.is_replayed(&folder, &lines(&sent));
    // What has landed too.
    let landed = folder.replay("run.toml", ["--landing"]);
    assert_eq!(
        (landed.number("events"), landed.number("sessions")),
        (sent.len() as u64, published.sessions().len() as u64)
    );
}

#[test]
fn what_can_be_read_of_several_processes_is_what_can_be_read_of_one() {
    let (folder, _) = folder_with_history();
    let mut seen = None;
    for (workers, processes) in [(2, 1), (1, 2), (2, 2)] {
        let process = start(&folder, "data", workers, processes, Restart::No);
        let mut client = Client::new(process.ready());
        let all: Vec<_> = ["sessions", "users", "counts", "shapes"]
            .iter()
            .map(|name| client.get_json(&format!("/v1/collections/{name}/rows?limit=5000")).unwrap().1["rows"].clone())
            .collect();
        assert!(all.iter().all(|rows| rows.as_array().is_some_and(|rows| rows.len() > 1)), "{all:?}");
        assert_eq!(seen.get_or_insert_with(|| all.clone()), &all, "{processes} x {workers}");
        process.drain();
    }
}

#[test]
fn without_a_supervisor_of_its_own_it_ends_when_one_process_does() {
    let folder = folder("processes = 2");
    let process = start(&folder, "data", 1, 2, Restart::No);
    process.ready();
    kill_process(process.working_of(1).unwrap(), Signal::KILL).unwrap();
    let ended = process.end();
    assert_eq!(ended.code, Some(70), "{}", ended.stderr);
    // Whichever notices it first says so.
    let said = ["a process of the run has failed", "another process of this run has ended", "hear of another process"];
    assert!(said.iter().any(|what| ended.stderr.contains(what)), "{}", ended.stderr);
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
}
