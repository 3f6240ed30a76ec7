//! Help shows how to use each verb, and shells complete commands, options and values.

use crate::headwater::Folder;

const VERBS: [&str; 17] = [
    "replay",
    "run",
    "backfill",
    "forget",
    "subscribe",
    "peek",
    "funnel",
    "status",
    "actions",
    "doctor",
    "plan",
    "explain",
    "test",
    "rules",
    "label",
    "generate",
    "completions",
];

#[test]
fn every_verb_has_examples_and_exit_codes() {
    let folder = Folder::new();
    for verb in VERBS {
        let run = folder.headwater([verb, "--help"]);
        assert_eq!(run.code(), 0);
        let help = run.stdout();
        assert!(help.contains(&format!("Examples:\n  headwater {verb}")), "{help}");
        assert!(help.contains("Exit codes: 0 "), "{help}");
    }
    let help = folder.headwater(["--help"]).stdout();
    for verb in VERBS {
        assert!(help.contains(&format!("\n  {verb} ")), "{verb} in {help}");
    }
    for code in ["\n  0  ", "\n  1  ", "\n  2  ", "\n  101  "] {
        assert!(help.contains(code), "{code:?} in {help}");
    }
}

#[test]
fn shells_complete_every_verb() {
    let folder = Folder::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let run = folder.headwater(["completions", shell]);
        assert_eq!(run.code(), 0);
        for verb in VERBS {
            assert!(run.stdout().contains(verb), "{verb} for {shell}");
        }
    }
    assert_eq!(folder.headwater(["completions", "cmd"]).code(), 2);
}
