//! What has become of the cases: for a person, and as JUnit's XML for tools that collect the results of tests.

use crate::text::{BOLD, Text, plural, printable, printable_lines};
use std::fmt::{self, Write};

/// The cases of all files, with what failed.
#[derive(Debug, Default)]
pub struct Report {
    pub(super) suites: Vec<Suite>,
}

/// The cases of one file.
#[derive(Debug)]
pub(super) struct Suite {
    pub file: String,
    pub cases: Vec<Outcome>,
}

/// One case.
#[derive(Debug)]
pub(super) struct Outcome {
    pub name: String,
    pub line: usize,
    /// Each of several lines.
    pub failures: Vec<String>,
    pub seconds: f64,
}

impl Suite {
    fn failed(&self) -> usize {
        self.cases.iter().filter(|case| !case.failures.is_empty()).count()
    }
}

impl Report {
    /// Returns whether no case failed.
    pub fn is_passed(&self) -> bool {
        self.failed() == 0
    }

    fn failed(&self) -> usize {
        self.suites.iter().map(Suite::failed).sum()
    }

    fn cases(&self) -> usize {
        self.suites.iter().map(|suite| suite.cases.len()).sum()
    }

    /// Returns a line for each case, then what failed, then the numbers.
    pub fn render(&self, color: bool) -> String {
        let mut text = Text::new(color);
        // Writing into a string does not fail.
        let _ = self.write(&mut text);
        text.out
    }

    fn write(&self, text: &mut Text) -> fmt::Result {
        let (bold, plain) = text.style(BOLD);
        for Suite { file, cases } in &self.suites {
            writeln!(text.out, "{}", printable(file))?;
            for Outcome { name, failures, .. } in cases {
                match failures.is_empty() {
                    true => writeln!(text.out, "  ok    {}", printable(name))?,
                    false => writeln!(text.out, "  {bold}FAIL{plain}  {}", printable(name))?,
                }
            }
        }
        for Suite { file, cases } in &self.suites {
            for Outcome { name, line, failures, .. } in cases.iter().filter(|case| !case.failures.is_empty()) {
                writeln!(text.out, "\n{bold}{}{plain}  {}:{line}", printable(name), printable(file))?;
                for line in failures.iter().flat_map(|failure| failure.lines()) {
                    writeln!(text.out, "  {}", printable(line))?;
                }
            }
        }
        let (cases, failed) = (self.cases(), self.failed());
        let noun = plural(cases as u64, "case");
        writeln!(text.out, "\n{cases} {noun}: {} passed, {failed} failed", cases - failed)
    }

    /// Returns the results in the XML that JUnit made common.
    pub fn junit(&self) -> String {
        let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
        // Writing into a string does not fail.
        let _ = self.write_junit(&mut out);
        out
    }

    fn write_junit(&self, out: &mut String) -> fmt::Result {
        writeln!(out, "<testsuites tests=\"{}\" failures=\"{}\">", self.cases(), self.failed())?;
        for suite in &self.suites {
            let (file, tests, failed) = (escaped(&suite.file), suite.cases.len(), suite.failed());
            writeln!(out, "  <testsuite name=\"{file}\" tests=\"{tests}\" failures=\"{failed}\">")?;
            for Outcome { name, line, failures, seconds } in &suite.cases {
                let head =
                    format!("    <testcase classname=\"{file}\" name=\"{}\" time=\"{seconds:.3}\"", escaped(name));
                if failures.is_empty() {
                    writeln!(out, "{head}/>")?;
                    continue;
                }
                let whole = failures.join("\n");
                let first = whole.lines().next().unwrap_or_default();
                writeln!(out, "{head}>")?;
                let (first, whole) = (escaped(first), escaped(&whole));
                writeln!(out, "      <failure message=\"{first}\">line {line} of the file\n{whole}</failure>")?;
                writeln!(out, "    </testcase>")?;
            }
            writeln!(out, "  </testsuite>")?;
        }
        writeln!(out, "</testsuites>")
    }
}

/// XML has no characters of control, not even escaped ones.
fn escaped(text: &str) -> String {
    let text = printable_lines(text, false);
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_say_what_failed_and_are_safe_to_print() {
        let case = |name: &str, failures: &[&str]| Outcome {
            name: name.into(),
            line: 3,
            failures: failures.iter().map(|text| (*text).to_owned()).collect(),
            seconds: 0.0125,
        };
        let cases = vec![case("a < b", &[]), case("c\x1b[2J", &["sessions: \"1\" & 2\n- { user = \"\x07\" }"])];
        let report = Report { suites: vec![Suite { file: "t.toml".into(), cases }] };
        assert!(!report.is_passed());
        assert_eq!(
            report.render(false),
            "t.toml\n  ok    a < b\n  FAIL  c\\u{1b}[2J\n\nc\\u{1b}[2J  t.toml:3\n  sessions: \"1\" & 2\n  \
             - { user = \"\\u{7}\" }\n\n2 cases: 1 passed, 1 failed\n"
        );
        assert_eq!(
            report.junit(),
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites tests=\"2\" failures=\"1\">\n  \
             <testsuite name=\"t.toml\" tests=\"2\" failures=\"1\">\n    \
             <testcase classname=\"t.toml\" name=\"a &lt; b\" time=\"0.013\"/>\n    \
             <testcase classname=\"t.toml\" name=\"c\\u{1b}[2J\" time=\"0.013\">\n      \
             <failure message=\"sessions: &quot;1&quot; &amp; 2\">line 3 of the file\nsessions: &quot;1&quot; &amp; 2\n\
             - { user = &quot;\\u{7}&quot; }</failure>\n    </testcase>\n  </testsuite>\n</testsuites>\n"
        );
    }
}
