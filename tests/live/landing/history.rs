//! What has landed replays as its files do: sessions, users, counts, and dead letters.

use super::*;
use crate::datasets::Set;
use std::fmt::Write as _;

/// A run reads files whole, and a replay of its landing is compared with a replay of the files. `settings`: of the
/// configuration; `sources`: of each its name, its files, and more settings.
fn lands_and_replays(settings: &str, sources: &[(&str, Vec<PathBuf>, &str)]) {
    let folder = Folder::new();
    let mut config = format!("{settings}\n[landing]\nvisible_every = \"100ms\"\n");
    for (name, files, more) in sources {
        writeln!(config, "[[source]]\nname = \"{name}\"\nkind = \"file\"\npaths = {files:?}\n{more}").unwrap();
    }
    folder.write("run.toml", config);
    let mut workers = 1;
    loop {
        let process = Process::start(&folder, "data", workers, Restart::No);
        let mut client = Client::new(process.ready());
        // Killed once on its way.
        if workers == 1 {
            sleep(Duration::from_millis(150));
            process.kill();
            workers = 2;
            continue;
        }
        wait_until("the files are read", || {
            let report = client.get_json("/v1/status").unwrap().1;
            report["sources"].as_array().unwrap().iter().all(|source| source["state"] == "ended")
        });
        is_landed(&mut client);
        process.drain();
        break;
    }
    let names = ["sessions.csv", "users.csv", "counts.csv"];
    let of_files = folder.replay("run.toml", ["--workers", "2"]);
    let tables = names.map(|name| folder.read(&format!("out/{name}")));
    for workers in ["1", "2", "3"] {
        let landed = folder.replay("run.toml", ["--landing", "--workers", workers]);
        for (name, expected) in names.iter().zip(&tables) {
            let seen = folder.read(&format!("out/{name}"));
            let parted = seen.lines().zip(expected.lines()).find(|(seen, expected)| seen != expected);
            assert!(seen == *expected, "{name}, {workers} workers: {parted:?}, {}", landed.summary);
        }
        for count in ["events", "dead_letters", "duplicates"] {
            assert_eq!(landed.number(count), of_files.number(count), "{count}");
        }
        let letters = |replay: &Replay| {
            let letters = replay.dead_letters().into_iter();
            let mut letters: Vec<String> = letters
                .map(|letter| format!("{} {} {}", letter["source"], letter["reason"], letter["payload"]))
                .collect();
            letters.sort();
            letters
        };
        assert_eq!(letters(&landed), letters(&of_files));
        assert_eq!(landed.summary["read"], of_files.summary["read"]);
    }
}

#[test]
fn a_landing_replays_as_its_files_do() {
    let folder = Folder::new();
    let shop = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/shop/ecom.csv.gz");
    let mut hostile = hostile(&mut Rng::new(5));
    // A replay of files does not know when they were received, and believes a time that was ahead of that.
    hostile.retain(|line| !line.windows(10).any(|bytes| bytes == b"9999999999"));
    let hostile = folder.write("hostile.jsonl", hostile.join(&b'\n'));
    // Over several lines, and with a line end within a string of CSV.
    let pretty = folder
        .write("pretty.json", "{\n \"user\": \"p\",\n \"time\": 1700000000000\n}\n{\"user\":\"p\",\n\"time\":1}\n");
    let quoted =
        folder.write("quoted.csv", "user,time,kind\nq,1700000000000,\"two\nlines\"\nq,1700000000001,one\nq,x\n");
    // In one second, so that places in the file say which is the first.
    let line = |page: usize| {
        format!("192.0.2.{} - - [01/May/2024:10:00:0{} +0000] \"GET /{page} HTTP/1.1\" 200 5\n", page % 3, page % 2)
    };
    let access = folder.write("access.log", (0..200).map(line).collect::<String>() + "no line\n");
    let twice = |id: u64| {
        let (first, other) = (id.is_multiple_of(7), id.is_multiple_of(11));
        let line =
            format!("{{\"user\":\"t\",\"time\":{},\"id\":\"{id}\",\"page\":\"/a\"}}\n", 1_700_000_000_000 + id * 1000);
        let again = if other { line.replace("/a", "/b") } else { line.clone() };
        line + if first || other { &again } else { "" }
    };
    // The other payload also comes long after the first one, in another tick and another part of the queue.
    let late = (0..400).map(|id| {
        let time = 1_700_000_000_000_u64 + id * 1000;
        format!("{{\"user\":\"t\",\"time\":{time},\"id\":\"{id}\",\"page\":\"/late\"}}\n")
    });
    let between =
        (0..60_000).map(|id| format!("{{\"user\":\"far {}\",\"time\":17{id:08},\"id\":\"f{id}\"}}\n", id % 50));
    let twice = (0..300).map(twice).chain(between).chain(late).collect::<String>();
    let twice = folder.write("twice.jsonl", twice);
    let settings = "[events]\nuser = [\"user\", \"user_id\", \"host\"]\ntime = [\"time\", \"timestamp\"]\ntype = [\"kind\", \"event\", \"path\"]\n\
        id = \"id\"\n[fields]\nprice = [\"price\", \"page\"]\n[sessions]\ncarry = [\"price\"]\n";
    // Records of several events, some over several lines; of one nothing is left, and one is none.
    let basket = |number: u64| {
        let item = |item: u64| {
            let time = 1_700_000_000 + number * 60 + item;
            format!("{{\"time\":{time},\"page\":\"/{item}\",\"id\":\"{number} {item}\"}}")
        };
        let (user, items) = (number % 9, (0..number % 4).map(item).collect::<Vec<_>>().join(","));
        let end = if number.is_multiple_of(5) { "\n" } else { "" };
        format!("{{\"user\":\"{user}\",{end}\"all\":{{\"of\":[{items}, 7]}},\"kind\":\"basket\"}}\n")
    };
    let again = basket(3).replace("/2", "/other");
    let all = (0..60).map(basket).collect::<String>() + &again + "{\"user\":1,\"all\":{}}\n";
    let baskets = folder.write("baskets.json", all);
    let json = "format = \"json\"\n";
    let sources = [
        ("shop", vec![shop], ""),
        ("odd", vec![hostile], json),
        ("pretty", vec![pretty], json),
        ("quoted", vec![quoted], ""),
        ("access", vec![access], ""),
        ("twice", vec![twice], ""),
        ("baskets", vec![baskets], "[source.events]\nexplode = \"all.of\"\n"),
    ];
    lands_and_replays(settings, &sources);
}

#[test]
fn landings_of_the_data_sets_replay_as_their_files_do() {
    for name in Set::NAMES {
        let Some(set) = Set::open(name) else { return };
        let settings = fs::read_to_string(&set.config).unwrap();
        lands_and_replays(&settings, &[("set", set.inputs(), "")]);
    }
}

#[test]
fn what_is_no_landing_is_said() {
    let folder = Folder::new();
    folder.write("events.jsonl", "{\"user\":\"u\",\"time\":1}\n");
    let source = "[[source]]\nname = \"s\"\npaths = \"events.jsonl\"\n";
    for (settings, more, code, says) in [
        ("", vec![], 2, "has no [landing]"),
        ("[landing]\n", vec![], 1, "is no landed table"),
        ("[landing]\n", vec!["--events"], 2, "--events reads files, and no landing"),
    ] {
        folder.write("run.toml", format!("{settings}{source}"));
        let run = folder.headwater(["replay", "run.toml", "--landing"].into_iter().chain(more));
        assert!(run.code() == code && run.stderr().contains(says), "{}: {}", run.code(), run.stderr());
    }
}
