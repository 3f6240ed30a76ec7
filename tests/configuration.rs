//! A correct configuration becomes a plan. For a wrong one, every mistake is shown with its place and a correction. The
//! cases are text: `tests/config/good/*.toml` beside the plan that each becomes, and `tests/config/wrong/*.toml` beside
//! what a terminal of 80 columns shows; files of tokens are in `tests/config/tokens`. `HEADWATER_UPDATE=1 cargo test
//! --locked` rewrites the expected files. Review the difference.

use headwater::config::tokens::{self, Token};
use headwater::config::{self, ConfigError, Overrides};
use headwater::plan::Plan;
use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme};
use std::fs;
use std::path::{Path, PathBuf};

#[test]
fn right_ones_become_plans() {
    check("good", |name, text| match config::parse(name, text, Path::new("/srv/shop"), &Overrides::default()) {
        Ok(plan) => format!("{plan:#?}\n"),
        Err(error) => panic!("{name}: {}", render(&error)),
    });
}

#[test]
fn wrong_ones_are_explained() {
    check("wrong", |name, text| match config::parse(name, text, Path::new("/srv/shop"), &Overrides::default()) {
        Ok(plan) => panic!("{name} was accepted: {plan:#?}"),
        Err(error) => render(&error),
    });
}

#[test]
fn wrong_files_of_tokens_are_explained() {
    let text =
        "source = [{ name = 'app', kind = 'http' }, { name = 'web', kind = 'http' }, { name = 'old', paths = 'a' }]";
    let sources = parse(text, &Overrides::default()).unwrap().sources;
    check("tokens", |name, text| match tokens::parse(name, text, &sources) {
        Ok(tokens) => tokens
            .iter()
            .map(|Token { name, sha256, scopes }| {
                let hash: String = sha256.iter().map(|byte| format!("{byte:02x}")).collect();
                format!("{name} {hash} {scopes:?}\n")
            })
            .collect(),
        Err(error) => render(&error),
    });
    // Without a source that can be posted to, there is nothing to name.
    let sources = parse("source = [{ name = 'old', paths = 'a' }]", &Overrides::default()).unwrap().sources;
    let scopes = "token = [{ name = 'a', sha256 = '".to_owned() + &"ab".repeat(32) + "', scopes = ['ingest:app'] }]";
    assert!(render(&tokens::parse("tokens.toml", &scopes, &sources).unwrap_err()).contains("of kind \"http\""));
}

fn parse(text: &str, overrides: &Overrides) -> Result<Plan, ConfigError> {
    config::parse("shop.toml", text, Path::new("/srv/shop"), overrides)
}

fn files(files: &[&str]) -> Overrides {
    Overrides { files: files.iter().map(PathBuf::from).collect(), ..Overrides::default() }
}

const TWO_SOURCES: &str = "
    [[source]]
    name = 'web'
    paths = ['web/*.log', 'all/one.log']
    [[source]]
    name = 'app'
    paths = ['app', '/var/app/**/*.json', 'all/one.log']
";

#[test]
fn the_command_line_overrides_the_file() {
    let text = "cluster = { workers = 2 }\nsessions = { gap = '1h' }\nsource = [{ name = 'a', paths = ['b'] }]";
    let plan = parse(text, &Overrides { workers: Some(3), gap: Some(5), ..Overrides::default() }).unwrap();
    assert_eq!((plan.workers, plan.sessions.gap), (3, 5));
    let plan = parse(text, &Overrides::default()).unwrap();
    assert_eq!((plan.workers, plan.sessions.gap), (2, 3_600_000_000));
    assert_eq!(plan.sources[0].paths, [PathBuf::from("/srv/shop/b")]);
}

#[test]
fn given_files_are_read_by_the_only_source_even_if_it_has_no_paths() {
    for (text, name) in [("", "files"), ("[[source]]\nname = 'a'", "a"), ("[[source]]\nname = 'a'\npaths = 'b'", "a")] {
        let plan = parse(text, &files(&["/x/one.csv", "/y"])).unwrap();
        assert_eq!(plan.sources.len(), 1);
        assert_eq!(plan.sources[0].name, name);
        assert_eq!(plan.sources[0].paths, [PathBuf::from("/x/one.csv"), PathBuf::from("/y")]);
    }
}

#[test]
fn relative_files_are_meant_in_the_current_folder_not_in_that_of_the_configuration() {
    let plan = parse("", &files(&["one.csv"])).unwrap();
    assert_eq!(plan.sources[0].paths, [std::env::current_dir().unwrap().join("one.csv")]);
}

#[test]
fn a_given_file_goes_to_the_source_whose_paths_it_fits() {
    let plan =
        parse(TWO_SOURCES, &files(&["/srv/shop/web/1.log", "/srv/shop/app/deep/2", "/var/app/a/3.json"])).unwrap();
    assert_eq!(plan.sources[0].paths, [PathBuf::from("/srv/shop/web/1.log")]);
    assert_eq!(plan.sources[1].paths, [PathBuf::from("/srv/shop/app/deep/2"), PathBuf::from("/var/app/a/3.json")]);
}

#[test]
fn a_given_file_that_fits_no_source_or_several_is_refused() {
    // A glob's `*` stays within one folder, so this is not one of web/*.log.
    let error = parse(TWO_SOURCES, &files(&["/srv/shop/web/deep/1.log"])).unwrap_err();
    assert!(matches!(&error, ConfigError::UnmatchedFile { sources, .. } if sources == "`web`, `app`"), "{error}");
    let error = parse(TWO_SOURCES, &files(&["/srv/shop/all/one.log"])).unwrap_err();
    assert!(matches!(&error, ConfigError::AmbiguousFile { sources, .. } if sources == "`web`, `app`"), "{error}");
}

#[test]
fn who_reads_no_source_needs_no_paths() {
    let overrides = Overrides { without_files: true, ..Overrides::default() };
    for text in ["", "[[source]]\nname = 'a'"] {
        assert!(parse(text, &Overrides::default()).is_err());
        assert!(parse(text, &overrides).unwrap().sources[0].paths.is_empty());
    }
}

#[test]
fn paths_are_meant_in_the_folder_of_the_file_whose_name_is_no_pattern() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("shop [2024]");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("one.csv"), "").unwrap();
    let file = folder.join("shop.toml");
    fs::write(&file, "[[source]]\nname = 'a'\npaths = ['*.csv', 'one.csv']").unwrap();
    let plan = config::load(&file, &Overrides::default()).unwrap();
    assert_eq!(plan.config, file);
    assert_eq!(plan.data_dir, folder.join("data"));
    let [pattern, plain] = plan.sources[0].paths.as_slice() else { panic!("{:?}", plan.sources[0].paths) };
    assert_eq!(*plain, folder.join("one.csv"));
    let found: Vec<PathBuf> = glob::glob(&pattern.to_string_lossy()).unwrap().map(Result::unwrap).collect();
    assert_eq!(found, [folder.join("one.csv")]);
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = config::load(Path::new("/nowhere/shop.toml"), &Overrides::default()).unwrap_err();
    assert_eq!(error.to_string(), "cannot read the configuration /nowhere/shop.toml");
}

fn check(folder: &str, run: impl Fn(&str, &str) -> String) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config").join(folder);
    let mut cases: Vec<PathBuf> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    cases.sort();
    assert!(!cases.is_empty(), "no cases in {}", folder.display());
    let mut differing = String::new();
    for case in cases {
        let name = case.file_name().unwrap().to_string_lossy();
        let actual = run(&name, &fs::read_to_string(&case).unwrap());
        let expected = case.with_extension("txt");
        if std::env::var_os("HEADWATER_UPDATE").is_some() {
            fs::write(&expected, &actual).unwrap();
        }
        if fs::read_to_string(&expected).ok().as_ref() != Some(&actual) {
            differing += &format!("--- {name}\n{actual}\n");
        }
    }
    assert!(differing.is_empty(), "not as expected (HEADWATER_UPDATE=1 rewrites):\n{differing}");
}

fn render(error: &dyn Diagnostic) -> String {
    let mut text = String::new();
    GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor())
        .with_width(80)
        .render_report(&mut text, error)
        .unwrap();
    // Editors strip blanks at the end of lines; a terminal does not show them.
    text.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}
