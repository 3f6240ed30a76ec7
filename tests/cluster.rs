//! The promise: the files in `cluster/` can be used as they are. The code of a run reads each configuration, and every
//! option that a unit passes exists.

use crate::headwater::Folder;
use headwater::cli::{Cli, Verb};
use headwater::config::{self, Overrides, tokens};
use headwater::observe::actions::{Objective, Origin};
use headwater::observe::metrics::Metrics;
use headwater::plan::{Plan, SourceKind};
use miette::Diagnostic;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("cluster").join(name)
}

fn text(name: &str) -> String {
    fs::read_to_string(file(name)).unwrap()
}

fn plan() -> Plan {
    config::load(&file("headwater.toml"), &Overrides { live: true, ..Overrides::default() }).unwrap()
}

#[test]
fn the_configuration_is_right_and_has_every_key() {
    let plan = plan();
    let kinds: Vec<_> = plan.sources.iter().map(|source| source.kind).collect();
    assert_eq!(kinds, [SourceKind::Http, SourceKind::File { follow: true }]);
    assert_eq!(plan.http.tokens, Some(file("tokens.toml")));
    assert_eq!((plan.sources[1].events.dedupe, plan.sources[0].events.id.len()), (None, 1));

    // What is commented out is right too, and is the default.
    let defaults: Vec<String> = text("headwater.toml")
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(header) if header.starts_with('[') => header.to_owned(),
            Some(key) if key.split_once(" = ").is_some_and(|(key, _)| !key.contains(' ')) => key.to_owned(),
            _ => line.to_owned(),
        })
        .collect();
    let overrides = Overrides { live: true, ..Overrides::default() };
    let spelled = config::parse("headwater.toml", &defaults.join("\n"), &file(""), &overrides).unwrap();
    assert_eq!((spelled.http.max_body, &spelled.http.listen), (plan.http.max_body, &plan.http.listen));
    assert_eq!(spelled.sources[0].events.limits, plan.sources[0].events.limits);
    assert_eq!(spelled.sources[0].events.max_future, plan.sources[0].events.max_future);

    // "Every key" was a promise that nothing kept: `join`, `explode`, [fields] and [[sink]] were missing.
    let mut section = String::new();
    let mut has = BTreeSet::new();
    for line in &defaults {
        if line.starts_with('[') {
            section = line.replace("[source.events]", "[events]");
            has.insert((section.clone(), String::new()));
        } else if let Some((key, _)) = line.split_once(" = ") {
            has.insert((section.clone(), key.to_owned()));
        }
    }
    let sections = ["[cluster]", "[http]", "[events]", "[fields]", "[sessions]", "[[source]]", "[[class]]", "[[sink]]"];
    for section in sections {
        assert!(has.contains(&(section.to_owned(), String::new())), "no {section}");
        for key in known_keys(section) {
            assert!(has.contains(&(section.to_owned(), key.clone())), "no `{key}` in {section}");
        }
    }
}

/// As the configuration reader lists them, without what this version cannot do.
fn known_keys(section: &str) -> Vec<String> {
    if section == "[fields]" {
        return Vec::new();
    }
    let text = format!("{section}\nqqqqqqqqqqqqqqqqqqqq = 1\n");
    let error = config::parse("keys.toml", &text, &file(""), &Overrides::default()).unwrap_err();
    let help = error.help().unwrap().to_string();
    let keys = help.strip_prefix("known here: ").unwrap_or_else(|| panic!("{section}: {help}")).split(", ");
    // `kafka` is a table of its own.
    let absent = ["events", "kafka"];
    keys.map(|key| key.trim_matches('`').to_owned()).filter(|key| !absent.contains(&key.as_str())).collect()
}

#[test]
fn the_example_of_several_processes_is_one() {
    let overrides = Overrides { live: true, ..Overrides::default() };
    let plan = config::parse("processes.toml", &text("processes.toml"), &file(""), &overrides).unwrap();
    assert_eq!((plan.workers, plan.processes, plan.all_workers()), (2, 2, 4));
}

#[test]
fn the_example_of_hosts_is_one_and_needs_a_key() {
    let hosts = |has_key| config::hosts::parse("hosts.txt", &text("hosts.txt.example"), has_key);
    assert_eq!(hosts(true).unwrap(), ["10.0.0.1:7475", "10.0.0.2:7475", "10.0.0.3:7475"]);
    assert!(hosts(false).is_err());
}

/// The alert on dead letters summed `job` and `instance` away, met no series of events with those, and never fired. That
/// each fires is tested by promtool, which `.ci/run` installs; this says that guide, rules and metrics are of one piece.
#[test]
fn alerts_are_those_of_the_guide_and_ask_for_metrics_that_exist() {
    let (rules, tests) = (text("alerts.yaml"), text("alerts.test.yaml"));
    let guide = fs::read_to_string(file("../docs/guide/run.md")).unwrap();
    let metrics = Metrics::new();
    let _sink = metrics.sink("crm");
    let objective = Objective { within_ms: 250, from: Origin::Arrival };
    metrics.actions.begin(vec![("review".to_owned(), Some(objective))], vec!["fired"]);
    let metrics = metrics.text();
    for name in rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        assert!(tests.contains(&format!("alertname: {name}\n")), "{name} has no test");
    }
    for expression in rules.lines().filter_map(|line| line.trim().strip_prefix("expr: ")) {
        if expression.contains("node_filesystem") {
            continue;
        }
        assert!(guide.contains(&format!("| `{expression}` |")), "not in the guide: {expression}");
        for metric in expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
            let known = |line: &str| line.split(['{', ' ']).next() == Some(metric);
            assert!(!metric.starts_with("headwater_") || metrics.lines().any(known), "no metric {metric}");
        }
    }
}

#[test]
fn images_have_the_tag_of_this_version() {
    let image = concat!("headwater:", env!("CARGO_PKG_VERSION"));
    for name in ["compose.yaml", "statefulset.yaml"] {
        assert!(text(name).lines().any(|line| line.trim() == format!("image: {image}")), "{name}");
    }
}

#[test]
fn the_binary_shows_its_plan() {
    let folder = Folder::new();
    folder.write("headwater.toml", text("headwater.toml").replace("/var/log/nginx", "logs"));
    folder.write("tokens.toml", text("tokens.toml.example"));
    let run = folder.headwater(["plan", "headwater.toml"]);
    assert_eq!(run.code(), 0, "{}", run.stderr());
    assert!(run.stdout().contains("POST /v1/events\n"), "{}", run.stdout());
}

#[test]
fn the_tokens_fit_the_configuration() {
    let tokens = tokens::parse("tokens.toml", &text("tokens.toml.example"), &plan().sources).unwrap();
    assert_eq!(tokens.iter().map(|token| token.name.as_str()).collect::<Vec<_>>(), ["shop", "monitoring", "reader"]);
}

/// Checks the arguments of a `headwater run`; gives whether it restarts itself.
fn restarts(arguments: impl IntoIterator<Item = String>) -> bool {
    match Cli::read(["headwater".to_owned()].into_iter().chain(arguments)).unwrap().verb {
        Verb::Run(run) => {
            assert_eq!(run.config, PathBuf::from("/etc/headwater/headwater.toml"));
            assert!(run.data_dir.unwrap().starts_with("/var/lib/headwater"));
            !run.no_restart
        }
        verb => panic!("{verb:?}"),
    }
}

#[test]
fn units_start_what_the_command_line_knows() {
    let unit = text("headwater.service");
    let command = unit.lines().find_map(|line| line.strip_prefix("ExecStart=/usr/local/bin/headwater ")).unwrap();
    assert!(!restarts(command.split(' ').map(str::to_owned)), "systemd does");

    let hosts = text("hosts.conf");
    let command = hosts.lines().find_map(|line| line.strip_prefix("ExecStart=/usr/local/bin/headwater ")).unwrap();
    assert!(restarts(command.split(' ').map(str::to_owned)), "it tells why a process has ended");

    let docker = text("Dockerfile");
    let command = docker.lines().filter_map(|line| line.strip_prefix("CMD ")).next_back().unwrap();
    assert!(restarts(serde_json::from_str::<Vec<String>>(command).unwrap()));

    let pod = text("statefulset.yaml");
    let list = pod.lines().skip_while(|line| line.trim() != "args:").skip(1).map(str::trim);
    assert!(restarts(list.map_while(|line| line.strip_prefix("- ")).map(str::to_owned)));
}
