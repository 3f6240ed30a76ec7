//! Layouts of log lines, as servers are configured with them: the directives of Apache's `LogFormat`, and the variables
//! of nginx's `log_format`.

use crate::clf::{self, EXTRAS, Quoted, Request};
use memchr::memmem;
use std::borrow::Cow;

/// A layout, as a row of fields with what stands before each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    steps: Vec<Step>,
    /// Behind the last field.
    tail: String,
    names: Vec<String>,
    /// Steps that a line has to have.
    required: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Step {
    before: String,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Word,
    /// A time, in its own form.
    Time,
    /// In quotes, with escapes.
    Quoted,
    /// As a quoted text or a word: three columns.
    Request {
        quoted: bool,
    },
}

/// Names of what a line cannot be without, where the layout has it.
const VITAL: [&str; 4] = ["host", "time", "method", "status"];

impl Layout {
    /// Reads directives. Which notation it is shows in the first sign of one: `%` or `$`.
    ///
    /// # Errors
    /// What is wrong, in words for the user.
    pub fn parse(text: &str) -> Result<Layout, String> {
        let text = text.replace("\\\"", "\"").replace("\\t", "\t");
        let mut layout = Layout::default();
        let mut literal = String::new();
        let apache = match text.find(['%', '$']) {
            Some(at) => text.as_bytes()[at] == b'%',
            None => return Err(format!("the layout `{text}` has no directive, such as `%h` or `$remote_addr`")),
        };
        let mut rest = text.as_str();
        while let Some(first) = rest.chars().next() {
            rest = &rest[first.len_utf8()..];
            let name = match first {
                '%' if apache && rest.starts_with('%') => {
                    rest = &rest[1..];
                    literal.push('%');
                    continue;
                }
                '%' if apache => {
                    let (name, bracketed, after) = directive(rest)?;
                    rest = after;
                    if bracketed {
                        layout.add(literal.clone() + "[", name, Kind::Time)?;
                        literal = "]".into();
                        continue;
                    }
                    name
                }
                '$' if !apache => {
                    let (name, after) = variable(rest)?;
                    rest = after;
                    name
                }
                other => {
                    literal.push(other);
                    continue;
                }
            };
            // `%U%q`: the path goes on with the query.
            if name == "query" && literal.is_empty() && !layout.steps.is_empty() {
                continue;
            }
            let quoted = literal.ends_with('"');
            let kind = match name.as_str() {
                "request" => Kind::Request { quoted },
                _ if quoted => Kind::Quoted,
                "time" => Kind::Time,
                _ => Kind::Word,
            };
            layout.add(std::mem::take(&mut literal), name, kind)?;
        }
        layout.tail = literal;
        // Several fields may share one pair of quotes: `"%m %U"`.
        for index in 0..layout.steps.len() {
            let next = layout.steps.get(index + 1).map_or(&layout.tail, |next| &next.before);
            if !next.starts_with('"') {
                let kind = &mut layout.steps[index].kind;
                *kind = match *kind {
                    Kind::Request { .. } => Kind::Request { quoted: false },
                    Kind::Quoted => Kind::Word,
                    kind => kind,
                };
            }
        }
        let vital = |step: &Step, name: &str| matches!(step.kind, Kind::Request { .. }) || VITAL.contains(&name);
        let names = layout.step_names();
        let last = layout.steps.iter().zip(&names).rposition(|(step, name)| vital(step, name));
        layout.required = last.map_or(layout.steps.len(), |last| last + 1);
        Ok(layout)
    }

    /// Returns the names of its columns.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    fn add(&mut self, before: String, name: String, kind: Kind) -> Result<(), String> {
        if before.is_empty() && !self.steps.is_empty() {
            return Err(format!("nothing stands before `{name}` in the layout: where it begins is not clear"));
        }
        let names = match kind {
            Kind::Request { .. } => vec!["method".into(), "path".into(), "protocol".into()],
            _ => vec![name],
        };
        for name in names {
            let mut free: String = name.clone();
            let mut number = 1;
            while self.names.contains(&free) {
                number += 1;
                free = format!("{name}_{number}");
            }
            self.names.push(free);
        }
        self.steps.push(Step { before, kind });
        Ok(())
    }

    /// Returns the name of the first column of each step.
    fn step_names(&self) -> Vec<&str> {
        let mut names = self.names.iter();
        let name = |step: &Step| {
            let name = names.next().map_or("", String::as_str);
            if matches!(step.kind, Kind::Request { .. }) {
                names.by_ref().take(2).for_each(drop);
            }
            name
        };
        self.steps.iter().map(name).collect()
    }

    /// Returns whether a line has this layout, and every field in it that tells.
    pub fn fits(&self, line: &str) -> bool {
        let names = self.step_names();
        let Ok(cells) = self.fields(line) else { return false };
        names.iter().zip(&cells).all(|(name, cell)| match *name {
            "status" => *cell == "-" || cell.len() == 3 && cell.bytes().all(|byte| byte.is_ascii_digit()),
            "host" => !cell.is_empty() && !cell.trim_start_matches('[').contains(['"', '[', '{', '=']),
            "time" => is_time(cell),
            "bytes" | "received_bytes" | "duration_ms" | "client_port" => is_number(cell),
            "type" => ["http", "https", "h2", "h3", "grpcs", "ws", "wss", "tls"].contains(cell),
            _ => true,
        }) && cells.len() >= self.required
    }

    /// Returns the cells of a line without its line end: those of its columns, and what is behind them.
    ///
    /// # Errors
    /// Where the line differs, in words.
    pub fn cells<'l>(&self, line: &'l str) -> Result<Vec<Cow<'l, str>>, String> {
        let fields = self.fields(line)?;
        let mut cells = Vec::with_capacity(self.names.len() + EXTRAS);
        for (index, step) in self.steps.iter().enumerate() {
            let text = fields.get(index).copied().unwrap_or_default();
            match step.kind {
                Kind::Word => cells.push(clf::plain(text.trim_end_matches(' '))),
                Kind::Time => cells.push(clf::time(text)),
                Kind::Quoted => cells.push(clf::quoted(text)),
                Kind::Request { .. } => {
                    let request = Request::parse(text);
                    cells.extend([request.method, request.path, request.protocol].map(clf::quoted));
                }
            }
        }
        if let Some(rest) = fields.get(self.steps.len()) {
            clf::extras(rest, EXTRAS, &mut cells);
        }
        Ok(cells)
    }

    /// Returns the texts of the fields as they are written, and then the rest of the line.
    fn fields<'l>(&self, line: &'l str) -> Result<Vec<&'l str>, String> {
        let mut fields = Vec::with_capacity(self.steps.len() + 1);
        let mut rest = line;
        for (index, step) in self.steps.iter().enumerate() {
            let Some(after) = literal(&step.before, rest) else {
                // Perhaps with the quote of the field before.
                if index >= self.required && step.before.starts_with(rest.trim_end()) {
                    return Ok(fields);
                }
                let name = self.step_names().get(index).copied().unwrap_or_default();
                return Err(format!(
                    "`{}` of the layout does not stand before its `{name}`",
                    step.before.escape_debug()
                ));
            };
            let next = self.steps.get(index + 1).map_or(self.tail.as_str(), |next| &next.before);
            let quoted = matches!(step.kind, Kind::Quoted | Kind::Request { quoted: true });
            let (text, after) = if quoted { closed(after, next) } else { word(after, next, step.kind) };
            fields.push(text);
            rest = after;
        }
        rest = rest.strip_prefix(self.tail.trim_end()).unwrap_or(rest);
        fields.push(rest.trim_start_matches(' '));
        Ok(fields)
    }
}

/// Returns whether a field has a whole number, or is absent.
fn is_number(cell: &str) -> bool {
    let digits = cell.strip_prefix(['+', '-']).unwrap_or(cell);
    cell == "-" || !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// Returns whether a field may be a time: a date with the time of day, or seconds since 1970 with their fraction.
fn is_time(cell: &str) -> bool {
    let digits = cell.bytes().filter(u8::is_ascii_digit).count();
    let is_epoch = || cell.split_once('.').is_some_and(|(whole, rest)| whole.len() == 10 && digits == 10 + rest.len());
    cell.len() >= 19 && digits >= 12 || is_epoch()
}

/// Returns what follows a literal. One that ends with a blank takes all blanks.
fn literal<'l>(literal: &str, text: &'l str) -> Option<&'l str> {
    let rest = text.strip_prefix(literal)?;
    Some(if literal.ends_with(' ') { rest.trim_start_matches(' ') } else { rest })
}

/// Returns the text up to the quote that `next` begins with, and the rest, which begins with that quote.
fn closed<'l>(text: &'l str, next: &str) -> (&'l str, &'l str) {
    // A quote belongs to the text unless the line goes on behind it as the layout does.
    let behind = next.strip_prefix('"').unwrap_or(next);
    let mut from = 0;
    while let Some(quote) = Quoted::end(&text[from..]).map(|at| from + at) {
        if text[quote + 1..].starts_with(behind) || text[quote + 1..].trim_end().is_empty() {
            return (&text[..quote], &text[quote..]);
        }
        from = quote + 1;
    }
    (text, "")
}

/// Returns the text up to `next`, and the rest, which begins with it.
fn word<'l>(text: &'l str, next: &str, kind: Kind) -> (&'l str, &'l str) {
    if next.is_empty() {
        let end = if kind == Kind::Time { None } else { text.find(' ') };
        return text.split_at(end.unwrap_or(text.len()));
    }
    let end = match next {
        // An address may have colons itself.
        ":" => {
            let end = text.find(' ').unwrap_or(text.len());
            text[..end].rfind(':')
        }
        " " => text.find(' '),
        _ => memmem::find(text.as_bytes(), next.as_bytes()),
    };
    // Both ends are boundaries: what is found is text itself.
    text.split_at(end.unwrap_or(text.len()))
}

/// Returns the name of the column of a directive of Apache, whether it is a time in brackets, and what follows.
fn directive(text: &str) -> Result<(String, bool, &str), String> {
    let mut rest = text.trim_start_matches(|c: char| c.is_ascii_digit() || "!,<>".contains(c));
    let mut argument = "";
    if let Some(after) = rest.strip_prefix('{') {
        let (inner, after) = after.split_once('}').ok_or("the layout has a `{` that is never closed")?;
        (argument, rest) = (inner, after.trim_start_matches(['<', '>']));
    }
    let wrong =
        || format!("the layout has a directive that is not known: `%{}`", text.chars().take(12).collect::<String>());
    let letter = rest.chars().next().ok_or_else(wrong)?;
    let (letters, rest) = rest.split_at(if rest.starts_with("^t") { 3.min(rest.len()) } else { letter.len_utf8() });
    let lower = argument.to_lowercase().replace('-', "_");
    let name = match letters {
        "h" => "host",
        "a" if argument == "c" => "peer",
        "a" => "host",
        "A" => "local_ip",
        "l" => "ident",
        "u" => "user",
        "t" if argument.is_empty() => return Ok(("time".into(), true, rest)),
        "t" => "time",
        "r" => "request",
        "m" => "method",
        "U" => "path",
        "q" => "query",
        "H" => "protocol",
        "f" => "file",
        "s" => "status",
        "b" | "B" => "bytes",
        "O" => "bytes_sent",
        "I" => "bytes_received",
        "S" => "bytes_transferred",
        "D" => "duration_us",
        "T" if argument == "ms" => "duration_ms",
        "T" if argument == "us" => "duration_us",
        "T" => "duration_s",
        "v" => "vhost",
        "V" => "server_name",
        "p" => "port",
        "P" => "pid",
        "X" => "connection",
        "k" => "keepalive",
        "L" => "log_id",
        "R" => "handler",
        "i" => return Ok((header(&lower), false, rest)),
        "o" => return Ok((format!("out_{lower}"), false, rest)),
        "C" => return Ok((format!("cookie_{lower}"), false, rest)),
        "e" => return Ok((format!("env_{lower}"), false, rest)),
        "n" => return Ok((format!("note_{lower}"), false, rest)),
        "x" => return Ok((lower, false, rest)),
        _ => return Err(wrong()),
    };
    Ok((name.into(), false, rest))
}

/// Returns the name of the column of a variable of nginx, and what follows.
fn variable(text: &str) -> Result<(String, &str), String> {
    let (name, rest) = match text.strip_prefix('{') {
        Some(inner) => inner.split_once('}').ok_or("the layout has a `{` that is never closed")?,
        None => {
            let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
            text.split_at(end)
        }
    };
    if name.is_empty() {
        return Err("the layout has a `$` without a name behind it".into());
    }
    let known = match name {
        "remote_addr" => "host",
        "remote_user" => "user",
        "time_local" | "time_iso8601" | "msec" => "time",
        "body_bytes_sent" => "bytes",
        "request_method" => "method",
        "request_uri" | "uri" => "path",
        "args" | "query_string" => "query",
        "server_protocol" => "protocol",
        "host" => "vhost",
        _ => match name.strip_prefix("http_") {
            Some(of_header) => return Ok((header(of_header), rest)),
            None => name,
        },
    };
    Ok((known.into(), rest))
}

/// Returns the name of the column of a header of the request, in lower case and with underscores.
fn header(name: &str) -> String {
    match name {
        "referer" => "referrer",
        "user_agent" => "agent",
        "x_forwarded_for" => "forwarded_for",
        "host" => "vhost",
        name => name,
    }
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::{Heading, LogReader};
    use crate::reading::Reading;
    use crate::tabular::tests::{path_set, texts};
    use proptest::prelude::*;

    /// Returns the columns of a line, joined by `|`.
    fn read(layout: &str, names: &[&str], line: &str) -> Result<String, String> {
        let paths = path_set(names);
        let heading = Heading { layout: layout.into(), prefix: None };
        let mut reading = Reading::default();
        let mut reader = LogReader::new(&heading, &paths)?;
        reader.read(line.as_bytes(), &mut reading).map_err(|fault| fault.message)?;
        Ok(texts(&reading, &paths).join("|"))
    }

    #[test]
    fn directives_are_read() {
        let combined = r#"%h %l %u %t \"%r\" %>s %b \"%{Referer}i\" \"%{User-Agent}i\""#;
        let nginx = r#"$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_x_id""#;
        let cases = [
            (
                combined,
                &["host", "time", "path", "agent"][..],
                r#"h - - [T] "GET /a HTTP/1.1" 200 5 "-" "x \"y\"""#,
                r#"h|T|/a|x "y""#,
            ),
            (combined, &["user", "agent", "extra_1"], r#"h - a b [T] "GET / HTTP/1.1" 200 5 "-" "x" 7"#, "a b|x|7"),
            (combined, &["host", "status", "referrer"], r#"h - - [T] "-" 408 -"#, "h|408|"),
            (nginx, &["user", "x_id", "bytes"], r#"h - u [T] "GET / HTTP/1.1" 200 5 "id 1""#, "u|id 1|5"),
            ("%v:%p %a", &["vhost", "port", "host"], "[::1]:80 ::2", "[::1]|80|::2"),
            (
                "%t %{ms}T %D %%",
                &["time", "duration_ms", "duration_us"],
                "[01/May/2024 10:00:00] 3 4 %",
                "2024-05-01T10:00:00|3|4",
            ),
            (r#""%m %U%q %H" %{c}a"#, &["method", "path", "peer"], r#""GET /a?b=1 HTTP/1.1" p"#, "GET|/a?b=1|p"),
            (
                "%{sec}t %{X-A}o %{s}C %{x}e %{n}n",
                &["time", "out_x_a", "cookie_s", "env_x", "note_n"],
                "1 2 3 4 5",
                "1|2|3|4|5",
            ),
            ("$a, $b", &["a", "b"], "x y, z", "x y|z"),
            ("${a}s $a", &["a", "a_2"], "1s 2", "1|2"),
        ];
        for (layout, names, line, expected) in cases {
            assert_eq!(read(layout, names, line).as_deref(), Ok(expected), "{layout}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (layout, message) in [
            ("combinde", "the layout `combinde` has no directive, such as `%h` or `$remote_addr`"),
            ("%h%u", "nothing stands before `user` in the layout: where it begins is not clear"),
            ("%h %y", "the layout has a directive that is not known: `%y`"),
            ("%h %{x", "the layout has a `{` that is never closed"),
            ("$a $", "the layout has a `$` without a name behind it"),
        ] {
            assert_eq!(Layout::parse(layout).unwrap_err(), message);
        }
        let line = read("%h [%u] %s", &["host"], "h u 200").unwrap_err();
        assert_eq!(line, "` [` of the layout does not stand before its `user`");
    }

    proptest! {
        /// What nginx and Apache write in a layout is read back, whatever is quoted.
        #[test]
        fn what_was_written_is_read(
            host in "[a-z0-9.:]{1,9}", path in "/[a-z/]{0,6}", agent in "[a-zA-Z ();/\"]{1,12}", status in 100..600_u32
        ) {
            prop_assume!(agent.trim() == agent);
            let escaped = agent.replace('"', "\\\"");
            let line = format!("{host} [17/May/2015:10:05:03 +0000] \"GET {path} HTTP/1.1\" {status} \"{escaped}\" 0.5");
            let expected = format!("{host}|{path}|{status}|{agent}|0.5");
            for layout in [
                r#"%h %t "%r" %>s "%{User-Agent}i" %T"#,
                r#"$remote_addr [$time_local] "$request" $status "$http_user_agent" $duration_s"#,
            ] {
                let names = ["host", "path", "status", "agent", "duration_s"];
                prop_assert_eq!(read(layout, &names, &line), Ok(expected.clone()), "{}", line);
            }
        }

        #[test]
        fn no_text_panics(layout in "[%$\"{}hrtuvia :\\[\\]é]{0,12}", line in "[a\"\\\\ :\\[\\]é-]{0,20}") {
            if let Ok(layout) = Layout::parse(&layout) {
                _ = layout.cells(&line);
                _ = layout.fits(&line);
            }
        }
    }
}
