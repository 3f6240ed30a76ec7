//! Files that are renamed, moved, compressed, copied, truncated, or begin alike.

use super::*;

#[test]
fn a_renamed_file_goes_on_under_its_new_name_and_its_rest_counts_when_nobody_adds_to_it() {
    let mut world = World::new();
    world.append("log", &lines("a", 0..3));
    assert_eq!(world.poll(), expected("a", 0..3));
    world.append("log", &lines("a", 3..4));
    world.append("log", &line("a", 4));
    world.rename("log", "log.1");
    world.append("log", &lines("b", 0..2));
    assert_eq!(world.later(1), [expected("b", 0..2), expected("a", 3..4)].concat());
    assert_eq!(world.later(2), NONE);
    assert_eq!(world.later(5), expected("a", 4..5));
    world.append("log.1", &format!("\n{}", lines("a", 5..6)));
    assert_eq!(world.later(1), expected("a", 5..6));
}

#[test]
fn what_is_moved_out_of_sight_is_read_to_its_end() {
    let mut world = World::new();
    world.append("log", &lines("a", 0..1));
    assert_eq!(world.poll(), expected("a", 0..1));
    world.append("log", &lines("a", 1..3));
    world.rename("log", "hidden");
    world.append("log", &lines("b", 0..1));
    assert_eq!(world.later(1), [expected("a", 1..3), expected("b", 0..1)].concat());
    world.append("hidden", &lines("a", 3..4));
    world.append("hidden", &line("a", 4));
    assert_eq!(world.later(1), expected("a", 3..4));
    assert_eq!(world.later(6), expected("a", 4..5));
    assert_eq!(world.follower.files.len(), 1);
    // The same with a file that was removed.
    world.append("log", &line("b", 1));
    world.remove("log");
    assert_eq!(world.later(1), NONE);
    assert_eq!(world.later(6), expected("b", 1..2));
    assert_eq!(world.follower.files.len(), 0);
}

#[test]
fn a_rotated_file_that_is_compressed_is_the_same_file() {
    for restart in [false, true] {
        for count in [2, 500] {
            let mut world = World::new();
            world.append("log", &lines("a", 0..count));
            assert_eq!(world.poll(), expected("a", 0..count));
            world.append("log", &lines("a", count..count + 2));
            if restart {
                world.crash(0);
            }
            world.compress("log", "log.1.gz");
            let mut found = world.later(1);
            for _ in 0..20 {
                found.extend(world.later(1));
            }
            assert_eq!(found, expected("a", count..count + 2), "{restart} {count}");
        }
    }
}

#[test]
fn a_file_that_is_copied_and_truncated_goes_on_in_the_copy() {
    for count in [2, 500] {
        let mut world = World::new();
        world.append("log", &lines("a", 0..count));
        assert_eq!(world.poll(), expected("a", 0..count));
        world.append("log", &lines("a", count..count + 2));
        world.copy("log", "log.1");
        world.truncate("log");
        world.append("log", &lines("b", 0..1));
        assert_eq!(world.later(1), [expected("b", 0..1), expected("a", count..count + 2)].concat());
        world.append("log", &lines("b", 1..600));
        assert_eq!(world.later(10), expected("b", 1..600), "{count}");
    }
}

#[test]
fn a_copy_waits_for_its_original_to_go() {
    let mut world = World::new();
    world.append("log", &lines("a", 0..500));
    assert_eq!(world.poll().len(), 500);
    let whole = fs::read(world.path("log")).unwrap();
    fs::write(world.path("log.1"), &whole[..whole.len() / 2]).unwrap();
    assert_eq!(world.later(1), NONE);
    fs::write(world.path("log.1"), &whole).unwrap();
    assert_eq!(world.later(4), NONE);
    world.truncate("log");
    assert_eq!(world.later(1), NONE);
    assert_eq!(world.later(10), NONE);
    // One that stays is a file of its own.
    world.copy("log.1", "log.2");
    assert_eq!(world.later(3), NONE);
    assert_eq!(world.later(6), expected("a", 0..500));
}

#[test]
fn a_copy_takes_no_cursor_from_its_original_at_a_restart() {
    let mut world = World::new();
    world.append("log", &lines("a", 0..500));
    assert_eq!(world.poll().len(), 500);
    let whole = fs::read(world.path("log")).unwrap();
    fs::write(world.path("a.log"), &whole[..whole.len() / 2]).unwrap();
    world.crash(0);
    assert_eq!(world.poll(), NONE);
    fs::write(world.path("a.log"), &whole).unwrap();
    world.crash(0);
    assert_eq!(world.poll(), NONE);
    world.append("log", &lines("a", 500..501));
    assert_eq!(world.later(1), expected("a", 500..501));
}

#[test]
fn a_short_file_goes_on_in_its_copy_however_late_that_is_seen() {
    let mut world = World::new();
    world.append("log", &lines("a", 0..1));
    assert_eq!(world.poll(), expected("a", 0..1));
    world.copy("log", "log.1");
    world.truncate("log");
    // Folders are not looked through again yet.
    assert_eq!(world.later(0), NONE);
    assert_eq!(world.later(6), NONE);
    assert_eq!(world.later(6), NONE);
}

#[test]
fn an_unterminated_record_counts_once_when_its_file_is_compressed() {
    for (content, record) in [(line("a", 0), line("a", 0)), ("user,time\nu1,1".into(), "u1,1".into())] {
        let mut world = World::new();
        world.append("log", &content);
        assert_eq!(world.poll(), NONE);
        assert_eq!(world.later(6), NONE);
        world.compress("log", "log.1.gz");
        let found: Vec<String> = (0..15).flat_map(|_| world.later(1)).collect();
        assert_eq!(found, [record]);
    }
}

#[test]
fn files_that_begin_alike_are_told_apart() {
    let mut world = World::new();
    let preamble = lines("same", 0..100);
    world.append("log.a", &preamble);
    assert_eq!(world.poll().len(), 100);
    world.append("log.b", &format!("{preamble}{}", lines("b", 0..1)));
    assert_eq!(world.later(1).len(), 101);
    world.append("log.a", &lines("a", 0..1));
    assert_eq!(world.later(1), expected("a", 0..1));
    world.crash(0);
    world.append("log.a", &lines("a", 1..2));
    world.append("log.b", &lines("b", 1..2));
    assert_eq!(world.later(1), [expected("a", 1..2), expected("b", 1..2)].concat());
    let mut ids: Vec<FileId> = world.follower.cursors().map(|cursor| cursor.file).collect();
    ids.sort();
    assert!(ids[0].twin == 0 && ids[1] == FileId { twin: 1, ..ids[0] });
}

#[test]
fn a_file_that_begins_again_with_the_same_bytes_is_a_new_one() {
    let mut world = World::new();
    world.append("log", &lines("a", 0..1));
    assert_eq!(world.poll(), expected("a", 0..1));
    world.truncate("log");
    assert_eq!(world.later(1), NONE);
    world.append("log", &lines("a", 0..2));
    assert_eq!(world.later(1), expected("a", 0..2));
    world.remove("log");
    world.append("log", &lines("a", 0..2));
    assert_eq!(world.later(1), NONE);
    let found: Vec<String> = (0..10).flat_map(|_| world.later(1)).collect();
    assert_eq!(found, expected("a", 0..2));
}
