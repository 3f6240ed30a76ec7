//! One definition bound to the stream and to a cadence: over random streams, random cuts into ticks, and any number of workers,
//! both make the same decisions. Those of the cadence are handed over later.

use super::actions::{Decision, start};
use super::client::{Client, Outcome};
use super::events::{Event, PAST_MS, lines};
use super::published::{Published, same};
use super::{MEANING, run_toml};
use crate::headwater::Folder;
use headwater::collections::Collection;
use headwater_log::vfs::model::Rng;
use std::collections::BTreeSet;

/// Each definition, without its name and timing.
const DEFINITIONS: [(&str, &str); 7] = [
    ("spender", "on = 'events'\nwhen = 'price >= 1 and state.shopper.spent >= 20'"),
    ("page", "on = 'events'\nwhen = 'state.page.visits > 20'"),
    ("busy", "on = 'sessions'\nwhen = 'events >= 3'\nedge = 'enter'"),
    ("calm", "on = 'sessions'\nwhen = 'events >= 3 and state.shopper.spent > 5'\nedge = 'leave'"),
    ("grown", "on = 'sessions'\nedge = 'change'"),
    ("seen", "on = 'users'"),
    ("lates", "on = 'late'"),
];

const STATES: &str = "[[state]]\nname = 'shopper'\nper = 'user'\ncolumns.spent = { sum = 'price' }\n\
                      [[state]]\nname = 'page'\nper = 'page'\ncolumns.visits = { count = true }\n";

#[test]
fn the_stream_and_the_cadence_make_the_same_decisions() {
    for seed in 1..=3 {
        let (folder, mut rng) = (Folder::new(), Rng::new(seed));
        let action = |(name, of): &(&str, &str), timing: &str| {
            format!("[[action]]\nname = '{name}-{}'\n{of}\ntiming = '{timing}'\ndo = 'count'\n", &timing[..3])
        };
        let every = format!("every {}s", 1 + rng.below(5));
        let actions = DEFINITIONS.iter().map(|of| action(of, "now") + &action(of, &every));
        let actions: String = actions.collect();
        let tick = ["1ms", "20ms", "200ms"][rng.below(3) as usize];
        folder.write("run.toml", run_toml(&format!("tick = \"{tick}\""), &format!("{MEANING}{STATES}{actions}")));
        for life in 0..3 {
            let process = start(&folder, "data", 1 + rng.below(3) as usize, 1);
            let mut client = Client::new(process.ready());
            for _ in 0..10 + rng.below(20) {
                let any = |_| {
                    let user = format!("user {}", rng.below(6));
                    Event::any(&mut rng, user, PAST_MS, 120_000, None)
                };
                let batch: Vec<Event> = (0..12).map(any).collect();
                assert_eq!(client.post(&lines(&batch)), Outcome::Acknowledged);
            }
            client.published();
            drop(if life < 2 { process.kill() } else { process.drain() });
        }
        let published = Published::read_ticks(&folder.path("data"));
        let decisions: Vec<Decision> = published.changes(Collection::ACTIONS).iter().map(Decision::of).collect();
        for (name, _) in DEFINITIONS {
            let of = |timing: &str| {
                let own = decisions.iter().filter(|one| one.action == format!("{name}-{timing}"));
                let all = own.map(|one| {
                    let row = &one.row;
                    format!("{} {} {} {}", one.tick, row["decision"], row["decided_us"], row["cause"])
                });
                let mut all: Vec<String> = all.collect();
                all.sort();
                all
            };
            let (now, later) = (of("now"), of("eve"));
            same(&format!("{name} of seed {seed}"), &now, &later);
            assert!(!now.is_empty(), "{name} of seed {seed} decides nothing");
        }
        let due = |one: &&Decision| one.action.ends_with("-eve");
        assert!(decisions.iter().filter(due).all(|one| one.row["due_us"].as_i64() > one.row["decided_us"].as_i64()));
        let keys: BTreeSet<String> = decisions.iter().map(|one| one.row["key"].to_string()).collect();
        assert_eq!(keys.len(), decisions.len(), "no two decisions have a key");
        for workers in 1..=3 {
            published.computed_again(&folder, &format!("copy {workers}"), |copy| {
                let process = start(&folder, copy, workers, 1);
                process.ready();
                process.drain();
            });
        }
    }
}
