//! Small files in forms that people really have: the outcome of each is that of the table beside this file
//! (`cases.md`). It says what a replay with the configuration of the case finds, or the words that refuse it.
//!
//! The files are not part of the tree: their folder is `HEADWATER_CASES`, else `cases` beside that of the data sets. If it is
//! absent the test prints that and passes, unless `HEADWATER_REQUIRE_CASES=1`. A case whose content is not that of the table
//! is printed and not compared. `HEADWATER_UPDATE=1` writes the table again; what changes in it has to be read against the
//! right outcome of each case.

use crate::datasets;
use crate::headwater::Folder;
use serde_json::Value;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

const TABLE: &str = "tests/cases.md";

#[test]
fn each_case_has_its_outcome() {
    let beside = || datasets::data().with_file_name("cases");
    let folder = std::env::var_os("HEADWATER_CASES").map_or_else(beside, PathBuf::from);
    let Some(folder) = datasets::present("cases", folder, "HEADWATER_CASES", "HEADWATER_REQUIRE_CASES") else { return };
    let known = fs::read_to_string(TABLE).unwrap_or_default();
    let mut table = "| case | content | outcome |\n|---|---|---|\n".to_owned();
    let (mut compared, mut wrong) = (0, Vec::new());
    for case in listed(&folder).into_iter().filter(|path| path.is_dir()) {
        let of = format!("| {} | {} |", name(&case), content(&case));
        let row = format!("{of} {} |", outcome(&case));
        match known.lines().find(|known| known.starts_with(&of)) {
            None => println!("not in {TABLE}: {row}"),
            Some(known) => {
                compared += 1;
                wrong.extend((known != row).then(|| format!("{row}\n  was {known}")));
            }
        }
        table += &row;
        table.push('\n');
    }
    if std::env::var_os("HEADWATER_UPDATE").is_some() {
        return fs::write(TABLE, &table).unwrap();
    }
    println!("{compared} cases compared");
    assert!(wrong.is_empty(), "not as {TABLE} says:\n{}", wrong.join("\n"));
}

/// Returns the beginning of a hash of all files of a case.
fn content(case: &Path) -> String {
    let mut hash = blake3::Hasher::new();
    for file in listed(case).iter().filter(|path| path.is_file()) {
        let bytes = fs::read(file).unwrap();
        hash.update(name(file).as_bytes()).update(&(bytes.len() as u64).to_le_bytes()).update(&bytes);
    }
    hash.finalize().to_hex()[..8].to_owned()
}

/// Returns what a replay of a case finds, in a folder that has its inputs.
fn outcome(case: &Path) -> String {
    let folder = Folder::new();
    let is_input = |path: &PathBuf| name(path).starts_with("in");
    for input in listed(case).iter().filter(|path| is_input(path)) {
        symlink(input, folder.path(name(input))).unwrap();
    }
    if case.join("gen.py").exists() {
        let made = Command::new("python3").arg(case.join("gen.py")).current_dir(folder.path("")).output().unwrap();
        assert!(made.status.success(), "{}: {}", case.display(), String::from_utf8_lossy(&made.stderr));
    }
    let inputs: Vec<OsString> = listed(&folder.path("")).iter().map(|path| name(path).into()).collect();
    if inputs.is_empty() {
        return "followed as it grows, not replayed: see the tests of `live`".into();
    }
    let arguments = [OsString::from("replay"), case.join("headwater.toml").into()].into_iter().chain(inputs);
    let output = ["--out", "out", "--json", "--no-progress"].map(OsString::from);
    let run = folder.headwater_in("UTC", arguments.chain(output));
    if run.code() != 0 {
        let here = format!("{}/", folder.path("").display()).replace("//", "/");
        // The terminal may break a line before a path.
        let said = run.said().replace(&here, "").replace("` in.", "`in.");
        return format!("refused, {}: {}", run.code(), said.trim_start_matches("× ").replace('|', "\\|"));
    }
    summarised(&serde_json::from_str(&run.stdout()).unwrap())
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}

/// Sorted.
fn listed(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

fn summarised(summary: &Value) -> String {
    let number = |name: &str| summary[name].as_u64().unwrap_or_default();
    let mut parts = Vec::new();
    for (name, one) in [("events", "event"), ("users", "user"), ("sessions", "session"), ("repaired", "repaired")] {
        match number(name) {
            0 if name == "repaired" => {}
            1 => parts.push(format!("1 {one}")),
            count => parts.push(format!("{count} {name}")),
        }
    }
    if let (Some(first), Some(last)) = (summary["first"].as_str(), summary["last"].as_str()) {
        parts.push(format!("{first} to {last}"));
    }
    let counted = |name: &str, of: fn(&Value) -> u64| {
        let counts = summary[name].as_object().into_iter().flatten();
        let counts: Vec<String> = counts.map(|(reason, count)| format!("{reason} {}", of(count))).collect();
        (!counts.is_empty()).then(|| format!("{}: {}", name.replace('_', " "), counts.join(", ")))
    };
    parts.extend(counted("dead_letter_reasons", |count| count.as_u64().unwrap_or_default()));
    parts.extend(counted("sessionless", |count| count.as_u64().unwrap_or_default()));
    parts.extend(counted("skipped", |skip| skip["bytes"].as_u64().unwrap_or_default()));
    let codes: Vec<&str> =
        summary["notices"].as_array().into_iter().flatten().filter_map(|n| n["code"].as_str()).collect();
    if !codes.is_empty() {
        parts.push(format!("told: {}", codes.join(", ")));
    }
    parts.join("; ")
}
