//! Random scripts of a writer, its log rotation and crashes, compared with the written lines.

use super::{World, gzip};
use proptest::prelude::*;
use std::fs;

/// An act of a writer or its log rotation on `log`, or an event of the follower.
#[derive(Clone, Debug)]
enum Act {
    /// Writes this number of lines.
    Write(usize),
    /// Writes the beginning of a line, whose end comes with the next write or never.
    WritePart,
    Rename,
    /// With what has just been written.
    MoveOut,
    CopyTruncate,
    /// The rotated file of this number, modulo how many there are.
    Compress(usize),
    /// The compressed file is first seen half-written, beside its original.
    CompressSlowly(usize, bool),
    Remove(usize),
    Later(u64),
    /// Loses this number of deliveries.
    Crash(usize),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => (1_usize..12).prop_map(Act::Write),
        2 => Just(Act::WritePart),
        2 => Just(Act::Rename),
        1 => Just(Act::MoveOut),
        2 => Just(Act::CopyTruncate),
        2 => (0_usize..9).prop_map(Act::Compress),
        1 => (0_usize..9, any::<bool>()).prop_map(|(index, crash)| Act::CompressSlowly(index, crash)),
        1 => (0_usize..9).prop_map(Act::Remove),
        6 => (0_u64..8).prop_map(Act::Later),
        3 => (0_usize..4).prop_map(Act::Crash),
    ]
}

/// The writer, and what it has written: the content of each file, the one that grows last.
struct Script {
    world: World,
    written: Vec<String>,
    /// Names of rotated files.
    rotated: Vec<String>,
    next: usize,
    part: String,
    /// Deliveries that cannot be lost any more, since what they hold is nowhere else.
    sealed: usize,
}

impl Script {
    fn write(&mut self, text: &str) {
        self.world.append("log", text);
        self.written.last_mut().unwrap().push_str(text);
    }

    fn line(&mut self) -> String {
        self.next += 1;
        format!("{{\"index\":{},\"pad\":\"{}\"}}\n", self.next, "x".repeat(self.next * 37 % 250))
    }

    fn write_lines(&mut self, count: usize) {
        let mut text = std::mem::take(&mut self.part);
        for _ in 0..count {
            text += &self.line();
        }
        self.write(&text);
    }

    fn end_file(&mut self, name: Option<String>) {
        self.rotated.extend(name);
        self.written.push(String::new());
        self.part.clear();
    }

    fn seal(&mut self, seconds: u64) {
        self.world.later(seconds);
        self.world.later(1);
        self.sealed = self.world.delivered.len();
    }

    fn crash(&mut self, lost: usize) {
        let lost = lost.min(self.world.delivered.len() - self.sealed);
        self.world.crash(lost);
    }

    fn play(&mut self, act: &Act) {
        let name = format!("log.{}", self.written.len());
        let is_empty = self.written.last().unwrap().is_empty();
        match *act {
            Act::Write(count) => self.write_lines(count),
            Act::WritePart if self.part.is_empty() => {
                let line = self.line();
                // So that no two files begin alike.
                let cut = line.find(',').unwrap() + 1;
                self.write(&line[..cut]);
                self.part = line[cut..].to_string();
            }
            Act::Rename if !is_empty => {
                self.world.rename("log", &name);
                self.end_file(Some(name));
            }
            Act::MoveOut => {
                self.write_lines(1);
                self.world.later(1);
                self.write_lines(2);
                self.world.rename("log", "hidden");
                self.end_file(None);
                self.seal(1);
            }
            Act::CopyTruncate if !is_empty && self.part.is_empty() => {
                self.world.copy("log", &name);
                self.world.truncate("log");
                self.end_file(Some(name));
            }
            Act::Compress(index) | Act::CompressSlowly(index, _) | Act::Remove(index) if !self.rotated.is_empty() => {
                let index = index % self.rotated.len();
                let name = self.rotated[index].clone();
                if matches!(act, Act::Remove(_)) {
                    self.world.later(1);
                    let name = format!("{name}.old");
                    self.world.rename(name.trim_end_matches(".old"), &name);
                    self.world.later(1);
                    self.seal(7);
                    self.world.remove(&name);
                    self.rotated.remove(index);
                } else if !name.ends_with(".gz") {
                    let compressed = format!("{name}.gz");
                    if let Act::CompressSlowly(_, crash) = act {
                        let stored = gzip(&fs::read(self.world.path(&name)).unwrap());
                        for end in [stored.len() / 2, stored.len()] {
                            fs::write(self.world.path(&compressed), &stored[..end]).unwrap();
                            self.world.later(1);
                            if *crash {
                                self.crash(1);
                            }
                        }
                    }
                    self.world.compress(&name, &compressed);
                    self.rotated[index] = compressed;
                }
            }
            Act::Later(seconds) => {
                self.world.later(seconds);
            }
            Act::Crash(lost) => self.crash(lost),
            _ => {}
        }
    }
}

proptest! {
    /// A rotation lost events, or delivered them again, when it met a crash: what is written is delivered once, in the
    /// order of each file, whatever happens in between.
    #[test]
    fn everything_is_delivered_once(acts in prop::collection::vec(act(), 1..40)) {
        let world = World::new();
        let (rotated, part) = (Vec::new(), String::new());
        let mut script = Script { world, written: vec![String::new()], rotated, next: 0, part, sealed: 0 };
        for act in &acts {
            script.play(act);
        }
        script.world.later(1);
        // That a file was rotated is only seen if it was found under another name.
        for name in script.rotated.iter().filter(|name| !name.ends_with(".gz")) {
            script.world.rename(name, &format!("{name}.old"));
        }
        for _ in 0..20 {
            script.world.later(1);
        }
        // The file that grows may still be in the middle of a record.
        let growing = script.written.pop().unwrap();
        script.written.push(growing[..growing.rfind('\n').map_or(0, |end| end + 1)].to_string());
        let delivered: Vec<&String> = script.world.delivered.iter().flat_map(|(_, records)| records).collect();
        for content in &script.written {
            let mut at = 0;
            for record in content.lines() {
                let found = delivered[at..].iter().position(|delivered| *delivered == record);
                prop_assert!(found.is_some(), "left out or not in order: {}", record);
                at += found.unwrap() + 1;
            }
        }
        let written: usize = script.written.iter().map(|content| content.lines().count()).sum();
        prop_assert_eq!(delivered.len(), written, "repeated");
    }
}
