//! The promise: every command of README and the guides does as printed what the page says.
//!
//! The blocks of a page run in its order, in one shell and one temporary folder. The words after the language say how:
//!
//! ```text
//! sh run                     each command has to succeed
//! sh run with TOOL           the same; skipped where there is no TOOL
//! sh run: a server           goes on until the page ends, and has to end with 0
//! sh run until caught up     with `subscribe --until-caught-up`, which would go on for ever; also `with TOOL`
//! sh set-up                  README's two commands, which .ci/run takes from there
//! sh not run: REASON
//! LANGUAGE file NAME         the content of a file
//! LANGUAGE printed           by the block before it; `…` is any text. `, figures vary`, or `on one line`
//! ```
//! A server listens on a port of its own: by `--listen` and `--url`, and in the place of `127.0.0.1:7474` in a command.

use crate::headwater::{Folder, own_address};
use std::fmt::Write;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

struct Block {
    line: usize,
    info: String,
    text: String,
}

fn repository(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// README and all guides.
fn pages() -> Vec<String> {
    let guides = fs::read_dir(repository("docs/guide")).unwrap().map(|entry| entry.unwrap().file_name());
    let mut pages: Vec<String> = guides.map(|name| format!("docs/guide/{}", name.to_str().unwrap())).collect();
    pages.extend(["README.md".to_owned(), "cluster/README.md".to_owned()]);
    pages.sort();
    pages
}

fn blocks(page: &str) -> Vec<Block> {
    let text = fs::read_to_string(repository(page)).unwrap();
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for (line, text) in (1..).zip(text.lines()) {
        match (&mut open, text.strip_prefix("```")) {
            (None, Some(info)) => open = Some(Block { line, info: info.into(), text: String::new() }),
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some(block), None) => writeln!(block.text, "{text}").unwrap(),
            (None, None) => {}
        }
    }
    blocks
}

/// The commands that the head of an example says.
fn commands_of_example(path: &str) -> Vec<Block> {
    let text = fs::read_to_string(repository(path)).unwrap();
    let commands = (1..).zip(text.lines()).filter_map(|(line, text)| {
        let text = format!("{}\n", text.strip_prefix("#   ").filter(|text| text.starts_with("headwater "))?);
        Some(Block { line, info: "sh run".into(), text })
    });
    commands.collect()
}

/// Files that a page expects its reader to have.
fn prepare(page: &str, folder: &Folder) {
    for (name, content) in match page {
        "docs/guide/collect.md" => &[(
            "events.jsonl",
            "{\"user_id\":\"bob\",\"ts\":\"2024-05-01T10:00:00Z\",\"event_id\":\"e2\",\"action\":\"a\"}\n",
        )][..],
        "docs/guide/command-line.md" => &[
            (".local/share/bash-completion/completions/.keep", ""),
            (".zfunc/.keep", ""),
            (".config/fish/completions/.keep", ""),
        ],
        _ => &[],
    } {
        folder.write(name, content);
    }
    for name in ["shop", "access-log"] {
        for entry in fs::read_dir(repository("examples").join(name)).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_file() {
                let name = format!("examples/{name}/{}", entry.file_name().to_str().unwrap());
                folder.write(&name, fs::read(entry.path()).unwrap());
            }
        }
    }
    folder.write("cluster/headwater.toml", fs::read(repository("cluster/headwater.toml")).unwrap());
}

/// `headwater` with the workers that the pages print, and on an address of the test's own.
fn install(folder: &Folder, address: &str) {
    let script = format!(
        r#"#!/bin/bash
verb=$1
binary={}
case " $* " in *" --until-caught-up "*) UNTIL= ;; esac
case $verb-${{2:-}} in
    rules-apply | rules-list | rules-show | rules-rollback) set -- "$@" --url http://{address} ;;
esac
case $verb in
    subscribe) set -- "$@" --url http://{address} $UNTIL ;;
    backfill | forget | label | peek | funnel | status | actions) set -- "$@" --url http://{address} ;;
    run) exec "$binary" "$@" --listen {address} --workers 2 ;;
    replay | plan) set -- "$@" --workers 2 ;;
esac
"$binary" "$@" || {{ code=$?; echo "headwater $* ends with $code" >> "$HOME/.failed"; exit $code; }}
"#,
        env!("CARGO_BIN_EXE_headwater")
    );
    for name in ["bin/headwater", "target/release/headwater"] {
        let path = folder.write(name, &script);
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
}

fn is_there(tool: &str) -> bool {
    let found = Command::new("sh").args(["-c", &format!("command -v {tool}")]).stdout(Stdio::null()).status();
    found.unwrap().success()
}

/// Runs the blocks, and says what was not as printed.
fn run(page: &str, blocks: &[Block]) -> Vec<String> {
    if !is_there("curl") || !is_there("openssl") {
        println!("SKIPPED: {page} (no curl or no openssl)");
        return Vec::new();
    }
    let folder = Folder::new();
    let ip = own_address();
    let listener = TcpListener::bind((ip, 0)).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    prepare(page, &folder);
    install(&folder, &address);
    let mut script = "set -eu; set -m; UNTIL=; servers=()\n".to_owned();
    let mut faults = Vec::new();
    let mut ran = Vec::new();
    for (index, block) in blocks.iter().enumerate() {
        let mut words = block.info.splitn(2, ' ');
        let (language, how) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        if let Some(name) = how.strip_prefix("file ") {
            // The addresses of hosts are the test's own too, at the ports that the page says.
            let hosts = block.text.replace("127.0.0.1:747", &format!("{ip}:747"));
            let text = if name.contains("hosts") { &hosts } else { &block.text };
            folder.write(&format!(".files/{index}"), text);
            writeln!(script, "cp .files/{index} {name}").unwrap();
        }
        if language != "sh" {
            continue;
        }
        let text = block.text.replace("127.0.0.1:7474", &address);
        let out = folder.path(format!(".out.{index}")).display().to_string();
        let mut at = || writeln!(script, "echo {index} > .at").unwrap();
        match how {
            "run: a server" => {
                at();
                writeln!(script, "(\n{text}) > {out} 2> {out}.err &\nserver=$!; servers+=($server)").unwrap();
                let ready = format!("curl --silent --fail --output .ready http://{address}/readyz");
                writeln!(script, "until {ready}; do kill -0 $server; sleep 0.02; done").unwrap();
            }
            "set-up" => {
                // .ci/run runs both as they are printed.
                at();
                let first = text.lines().next().unwrap().replace("cargo run --release --locked --", "headwater");
                writeln!(script, "{{ {first}; }} > {out} 2> {out}.err").unwrap();
                ran.push(index);
            }
            _ if how.strip_prefix("not run: ").is_some_and(|why| !why.is_empty()) => {}
            _ => {
                let (how, tool) = how.split_once(" with ").map_or((how, None), |(how, tool)| (how, Some(tool)));
                let until = match how {
                    "run" => "",
                    "run until caught up" => "--until-caught-up",
                    _ => {
                        let info = &block.info;
                        faults.push(format!("{page}:{}: `{info}` says neither `run` nor `not run: WHY`", block.line));
                        continue;
                    }
                };
                if let Some(tool) = tool.filter(|tool| !is_there(tool)) {
                    println!("SKIPPED: {page}:{} (no {tool})", block.line);
                    continue;
                }
                at();
                writeln!(script, "export UNTIL={until}\n{{\n{text}}} > {out} 2> {out}.err").unwrap();
                ran.push(index);
            }
        }
    }
    script += "echo the end > .at\nfor server in ${servers[@]+\"${servers[@]}\"}; do kill -TERM -- -$server; wait $server; done\n";
    let path = std::env::join_paths(
        [folder.path("bin")].into_iter().chain(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())),
    );
    let mut shell = Command::new("timeout");
    shell.args(["--kill-after=5", "1200", "bash", "-c", &script]).current_dir(folder.path(""));
    shell.env("PATH", path.unwrap()).env("HOME", folder.path("")).env_remove("HEADWATER_TOKEN").stdin(Stdio::null());
    let shell = shell.output().unwrap();
    if !shell.status.success() {
        let at = folder.read(".at");
        let index: usize = at.trim().parse().unwrap_or(usize::MAX);
        let line = blocks.get(index).map_or(0, |block| block.line);
        let error = fs::read_to_string(folder.path(format!(".out.{index}.err"))).unwrap_or_default();
        let shell = String::from_utf8_lossy(&shell.stderr).into_owned();
        faults.push(format!("{page}:{line}: failed, at {}:\n{error}{shell}", at.trim()));
        return faults;
    }
    // The shell looks at the last command of a pipe only; `zcat … | head` has to be fine.
    if let Ok(failed) = fs::read_to_string(folder.path(".failed")) {
        faults.push(format!("{page}: {failed}"));
    }
    for (index, block) in blocks.iter().enumerate() {
        let how = block.info.split_once(' ').map_or("", |(_, how)| how);
        let Some(index) = (0..index).rev().find(|before| blocks[*before].info.starts_with("sh")) else { continue };
        if !how.starts_with("printed") || !ran.contains(&index) {
            continue;
        }
        let found = folder.read(&format!(".out.{index}"));
        let varies = how.ends_with("figures vary");
        let expected = if how.ends_with("on one line") {
            block.text.lines().map(str::trim_start).collect::<String>() + "\n"
        } else {
            block.text.clone()
        };
        let normal = |text: &str| -> String {
            // How fast a machine is and how much memory that took is the machine's own.
            let own = |line: &str| line.contains(" events/s") || line.contains(" records/s");
            text.lines().map(|line| if varies || own(line) { figures(line) } else { line.into() } + "\n").collect()
        };
        if !fits(&normal(&expected), &normal(&found)) {
            faults.push(format!("{page}:{}: prints\n{found}and not\n{expected}", block.line));
        }
    }
    faults
}

/// The line with `#` for each word that has a digit, and for what follows it if that is a unit.
fn figures(line: &str) -> String {
    let mut after = false;
    let mut words: Vec<&str> = Vec::new();
    for word in line.split_whitespace() {
        let is_figure = word.contains(|c: char| c.is_ascii_digit()) && !word.starts_with('{');
        let is_unit = after && matches!(word.trim_end_matches(','), "B" | "kB" | "MB" | "s" | "ms");
        match () {
            () if is_figure => words.push("#"),
            () if is_unit => {}
            () => words.push(word),
        }
        after = is_figure;
    }
    words.join(" ")
}

/// Whether `found` is `expected`, in which `…` is any text.
fn fits(expected: &str, found: &str) -> bool {
    let mut parts = expected.split('…');
    let Some(mut rest) = found.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

fn check(page: &str) {
    let mut all = blocks(page);
    if ["docs/guide/subscribe.md", "docs/guide/command-line.md"].contains(&page) {
        // They go on with the process of `run.md`: its file, its start, and the first event.
        let before = blocks("docs/guide/run.md");
        let first = before.iter().position(|block| block.info == "sh run").unwrap();
        let before: Vec<Block> = before.into_iter().take(first + 1).collect();
        all = before.into_iter().chain(all).collect();
    }
    let faults = run(page, &all);
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// A new page is run too, since all but those that have a test of their own are looked at here.
#[test]
fn pages_without_a_server_do_as_they_print() {
    pages().iter().filter(|page| !OWN.contains(&page.as_str())).for_each(|page| check(page));
}

const OWN: [&str; 10] = [
    "README.md",
    "docs/guide/backfill.md",
    "docs/guide/cluster.md",
    "docs/guide/collect.md",
    "docs/guide/command-line.md",
    "docs/guide/forget.md",
    "docs/guide/rules.md",
    "docs/guide/run.md",
    "docs/guide/state.md",
    "docs/guide/subscribe.md",
];

#[test]
fn readme_does_as_it_prints() {
    check("README.md");
}

#[test]
fn backfill_does_as_it_prints() {
    check("docs/guide/backfill.md");
}

#[test]
fn cluster_does_as_it_prints() {
    check("docs/guide/cluster.md");
}

#[test]
fn collect_does_as_it_prints() {
    check("docs/guide/collect.md");
}

#[test]
fn command_line_does_as_it_prints() {
    check("docs/guide/command-line.md");
}

#[test]
fn forget_does_as_it_prints() {
    check("docs/guide/forget.md");
}

#[test]
fn rules_do_as_they_print() {
    check("docs/guide/rules.md");
}

#[test]
fn run_does_as_it_prints() {
    check("docs/guide/run.md");
}

#[test]
fn state_does_as_it_prints() {
    check("docs/guide/state.md");
}

#[test]
fn subscribe_does_as_it_prints() {
    check("docs/guide/subscribe.md");
}

#[test]
fn examples_do_as_their_heads_say() {
    let examples = ["examples/shop/headwater.toml", "examples/access-log/headwater.toml"];
    for example in examples {
        let commands = commands_of_example(example);
        assert!(!commands.is_empty(), "{example}");
        let faults = run(example, &commands);
        assert!(faults.is_empty(), "{}", faults.join("\n"));
    }
}

/// The columns of a collection were documented nowhere; then a table was written, which a new column would have left
/// behind.
#[test]
fn the_tables_of_columns_are_the_schemas() {
    use headwater::collections::sessions::SessionSchema;
    use headwater::collections::{Collection, Schemas};
    let schemas = Schemas::new(&SessionSchema::default(), false, &[]);
    let read = |page: &str| fs::read_to_string(repository(page)).unwrap();
    let (subscribe, outputs) = (read("docs/guide/subscribe.md"), read("docs/guide/outputs.md"));
    use headwater::tables::{session_table, shape_table, user_table};
    // These have the types of Parquet, and the columns that a configuration adds.
    let tables = [
        (Collection::SESSIONS, session_table(&SessionSchema::default())),
        (Collection::USERS, user_table()),
        (Collection::SHAPES, shape_table()),
    ];
    for collection in Collection::ALL {
        let table_of = tables.iter().find(|(of, _)| *of == collection).map(|(_, table)| table);
        let (text, head) = match table_of {
            Some(_) => (&outputs, format!("## `{}`\n", collection.name())),
            None => (&subscribe, format!("| column of `{}` | type | |", collection.name())),
        };
        let section = text.split_once(&head).unwrap_or_else(|| panic!("no {head}")).1;
        let table =
            if table_of.is_some() { section.split_once("| column | type (Parquet) | |").unwrap().1 } else { section };
        let rows = table.lines().skip(2).take_while(|line| line.starts_with("| `"));
        let mut documented = Vec::new();
        for row in rows {
            let cells: Vec<&str> = row.split('|').map(str::trim).collect();
            documented
                .extend(cells[1].split(", ").map(|name| (name.trim_matches('`').to_owned(), cells[2].to_owned())));
        }
        let known: Vec<(String, String)> = schemas
            .of(collection)
            .columns
            .iter()
            .map(|column| (column.name.clone(), column.kind.name().into()))
            .collect();
        if let Some(table) = table_of {
            let documented: Vec<_> = documented.iter().map(|(name, _)| name.as_str()).collect();
            let known: Vec<_> = table.columns.iter().map(|column| column.name.as_str()).collect();
            assert_eq!(documented[..known.len()], known);
        } else {
            assert_eq!(documented, known, "{}", collection.name());
        }
    }
}

/// The runner is no test if it passes anything: an unmarked block, a command that fails, also before a pipe, and other
/// words than printed.
#[test]
fn what_is_not_as_printed_is_a_fault() {
    let block = |info: &str, text: &str| Block { line: 1, info: info.into(), text: text.into() };
    for (wrong, blocks) in [
        ("neither `run` nor", vec![block("sh", "true\n")]),
        ("neither `run` nor", vec![block("sh not run: ", "true\n")]),
        ("failed, at 0", vec![block("sh run", "false\ntrue\n")]),
        ("ends with 2", vec![block("sh run", "headwater plan nowhere.toml | cat\n")]),
        ("prints", vec![block("sh run", "echo a 1\n"), block("text printed", "a 2\n")]),
        ("prints", vec![block("sh run", "echo a b\n"), block("text printed", "…c\n")]),
        ("prints", vec![block("sh run", "echo a 1\n"), block("text printed, figures vary", "b 1\n")]),
    ] {
        let faults = run("the test's own", &blocks).join("\n");
        assert!(faults.contains(wrong), "{wrong}: {faults}");
    }
    let fine = [
        block("sh run", "cat name; echo 12 kB of 3; echo b\n"),
        block("text printed, figures vary", "c\n9 B of 8\n…\n"),
        block("text file name", "c\n"),
    ];
    let fine = [2, 0, 1].map(|at: usize| block(&fine[at].info, &fine[at].text));
    assert_eq!(run("the test's own", &fine), Vec::<String>::new());
}
