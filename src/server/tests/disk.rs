//! An acknowledged event is in the log, whatever the disk does.

use super::{Answer, ONE, World, error, events, open};
use crate::server::Bounds;
use headwater_log::vfs::model::{Crash, Fault, ModelFs};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::thread;

const ROOT: &str = "data";
/// Set for the process that is to end.
const CHILD: &str = "HEADWATER_TEST_DISK_FAILS";

fn event(writer: usize, number: usize) -> String {
    format!("{{\"user_id\":\"u{writer}\",\"event_id\":{number}}}")
}

fn on(disk: &ModelFs) -> World {
    let folder = tempfile::tempdir().unwrap();
    World::on(ONE, Bounds::default(), folder, Arc::new(disk.clone()), Path::new(ROOT))
}

#[test]
fn writers_at_the_same_time_all_find_what_they_wrote() {
    let world = World::new(ONE);
    let mut acknowledged: Vec<(String, String)> = thread::scope(|scope| {
        let write = |writer| {
            let world = &world;
            move || -> Vec<_> {
                (0..30).map(|number| (world.post(event(writer, number)).token(), event(writer, number))).collect()
            }
        };
        let writers: Vec<_> = (0..16).map(|writer| scope.spawn(write(writer))).collect();
        writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect()
    });
    let records: std::collections::BTreeMap<_, _> = world.records().into_iter().collect();
    let seal = super::ingest_tokens();
    for (token, body) in &acknowledged {
        assert!(records[&seal.decode(token).unwrap()].ends_with(body.as_bytes()), "{body}");
    }
    acknowledged.sort();
    acknowledged.dedup_by(|a, b| a.0 == b.0);
    assert_eq!((acknowledged.len(), records.len()), (16 * 30, 16 * 30));
}

#[test]
fn a_full_disk_refuses_events_until_there_is_space() {
    let disk = ModelFs::new(5);
    let world = on(&disk);
    let mut acknowledged = BTreeSet::new();
    let mut post = |number| -> Answer {
        let answer = world.post(event(0, number));
        if answer.status == 202 {
            acknowledged.insert(event(0, number).into_bytes());
        }
        answer
    };
    assert_eq!(post(1).status, 202);
    disk.fail(0..u64::MAX, Fault::Full);
    for number in 2..6 {
        let answer = post(number);
        assert_eq!(answer.error(), error(503, "full"));
        assert_eq!(answer.header("retry-after"), Some("1"));
    }
    assert_eq!(world.get("/readyz").status, 200, "it can be read, and goes on by itself");
    disk.fail(0..0, Fault::Full);
    assert_eq!(post(2).status, 202);
    assert_eq!(post(6).status, 202);
    assert_eq!(world.events().into_iter().collect::<BTreeSet<_>>(), acknowledged);
    assert_eq!(world.events().len(), 3);

    // The power fails, and the next process looks.
    let disk = disk.fork(6);
    disk.crash(Crash::PowerClean);
    let (_log, after) = open(Arc::new(disk), Path::new(ROOT), 2);
    assert_eq!(events(&after).into_iter().collect::<BTreeSet<_>>(), acknowledged);
}

#[test]
#[expect(clippy::disallowed_methods, reason = "it is the process that ends")]
fn a_disk_that_fails_ends_the_process_without_an_acknowledgement() {
    if std::env::var_os(CHILD).is_some() {
        crate::ending::ends_by(|code| std::process::exit(code));
        let disk = ModelFs::new(5);
        let world = on(&disk);
        assert_eq!(world.post(event(0, 1)).status, 202);
        disk.fail(0..u64::MAX, Fault::Io);
        let answer = world.post(event(0, 2));
        // Not reached, as it ends with 70.
        std::process::exit(if answer.status == 202 { 3 } else { 4 });
    }
    let this = "server::tests::disk::a_disk_that_fails_ends_the_process_without_an_acknowledgement";
    let test = std::env::current_exe().unwrap();
    // What ends like this cleans up nothing.
    let folder = tempfile::tempdir().unwrap();
    let mut child = Command::new(test);
    child.args(["--exact", this, "--nocapture"]).env(CHILD, "1").env("TMPDIR", folder.path());
    let ended = child.output().unwrap();
    assert_eq!(ended.status.code(), Some(70), "{ended:?}");
}
