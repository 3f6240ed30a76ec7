//! The text of a predicate -> its tree. Recursive descent, with a limit on depth.

use super::{Literal, Op, Predicate, PredicateError};
use dataflows::Decimal;
use dataflows::rules::{Pattern, Place, TextTest};
use std::ops::Range;

/// Parentheses and `not`s within each other.
const DEPTH: usize = 32;
/// Comparisons that a row or an event may take. A list takes few, however long it is.
const WEIGHT: usize = 4096;

/// The names that a text may use, and their fields.
pub trait Names {
    type Field: Clone + Ord;

    /// The word for a name in messages: a column, a field.
    const NOUN: &'static str;
    /// A value that is an empty text counts as absent.
    const EMPTY_IS_ABSENT: bool;

    /// # Errors
    /// The mistake in the name, and a correction.
    fn find(&mut self, name: &Name) -> Result<Found<Self::Field>, String>;
}

/// A name as it was written: parts with dots between.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// Without blanks around the dots.
    pub text: String,
    /// Without quotes.
    pub parts: Vec<String>,
}

/// A field that has been found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found<F> {
    pub field: F,
    pub kind: Kind,
}

/// The kind of values of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Text,
    Number,
    /// Numbers of events by class.
    Classes,
    /// Texts, some of which are numbers.
    Any,
}

/// Reads a predicate on the names of `names`.
///
/// # Errors
/// Where it is wrong, and what would be right.
pub fn parse<N: Names>(text: &str, names: &mut N) -> Result<Predicate<N::Field>, PredicateError> {
    let mut parser = Parser { text, at: 0, names, depth: 0 };
    let predicate = parser.any()?;
    match parser.token()? {
        (at, Token::End) if predicate.weight() > WEIGHT => {
            let message = format!("it takes more than {WEIGHT} comparisons; a list, as in `user in (…)`, takes few");
            parser.wrong(at..at, message)
        }
        (_, Token::End) => Ok(predicate),
        (at, token) => parser.unexpected("`and`, `or` or the end", at, &token),
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Token<'t> {
    Word(&'t str),
    Text(String),
    Number(&'t str),
    /// An operator, a parenthesis, a comma or a point.
    Sign(&'static str),
    End,
}

impl Token<'_> {
    fn shown(&self) -> String {
        match self {
            Token::Word(word) | Token::Number(word) => format!("`{word}`"),
            Token::Text(text) => format!("the text {text:?}"),
            Token::Sign(sign) => format!("`{sign}`"),
            Token::End => "the end".into(),
        }
    }
}

struct Parser<'t, 'n, N> {
    text: &'t str,
    /// In bytes.
    at: usize,
    names: &'n mut N,
    depth: usize,
}

impl<'t, N: Names> Parser<'t, '_, N> {
    fn wrong<R>(&self, bytes: Range<usize>, message: impl Into<String>) -> Result<R, PredicateError> {
        let at = self.text[..bytes.start].chars().count() + 1;
        Err(PredicateError { at, bytes, message: message.into() })
    }

    /// Returns the error that the token between `at` and here should not be there.
    fn unexpected<R>(&self, expected: &str, at: usize, token: &Token<'_>) -> Result<R, PredicateError> {
        self.wrong(at..self.at.max(at), format!("expected {expected}, not {}", token.shown()))
    }

    /// Goes to the next token. Returns the rest from there.
    fn rest(&mut self) -> &'t str {
        let rest = self.text[self.at..].trim_start();
        self.at = self.text.len() - rest.len();
        rest
    }

    /// Returns the next token and where it begins.
    fn token(&mut self) -> Result<(usize, Token<'t>), PredicateError> {
        const SIGNS: [&str; 12] = ["<=", ">=", "!=", "<>", "==", "=", "<", ">", "(", ")", ",", "."];
        let rest = self.rest();
        let at = self.at;
        let Some(first) = rest.chars().next() else { return Ok((at, Token::End)) };
        if first == '"' || first == '\'' {
            let text = self.quoted(first)?;
            return Ok((at, Token::Text(text)));
        }
        if first.is_ascii_digit() || first == '-' {
            let number = &rest[..number(rest)];
            self.at += number.len();
            return Ok((at, Token::Number(number)));
        }
        if let Some(sign) = SIGNS.into_iter().find(|sign| rest.starts_with(sign)) {
            self.at += sign.len();
            return Ok((at, Token::Sign(sign)));
        }
        let word = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        if word == 0 {
            let help = match first {
                '&' => "write `and`",
                '|' => "write `or`",
                '!' => "write `not`",
                _ => "texts stand in quotes",
            };
            return self.wrong(at..at + first.len_utf8(), format!("`{first}` means nothing here; {help}"));
        }
        self.at += word;
        Ok((at, Token::Word(&rest[..word])))
    }

    /// Reads the next text in quotes. In it a backslash takes the meaning of the quote or backslash behind it. A quote
    /// does the same for a quote behind it, as in SQL.
    fn quoted(&mut self, quote: char) -> Result<String, PredicateError> {
        let at = self.at;
        let mut text = String::new();
        let mut chars = self.text[at + 1..].char_indices().peekable();
        while let Some((offset, c)) = chars.next() {
            let twice = c == quote && chars.peek().is_some_and(|(_, next)| *next == quote);
            if c == quote && !twice {
                self.at = at + 1 + offset + 1;
                return Ok(text);
            }
            let plain = if c == '\\' || twice { chars.next().map(|(_, c)| c) } else { Some(c) };
            text.extend(plain);
        }
        self.wrong(at..self.text.len(), "the text has no closing quote")
    }

    fn peek(&mut self) -> Result<Token<'t>, PredicateError> {
        let before = self.at;
        let token = self.token();
        self.at = before;
        Ok(token?.1)
    }

    /// Takes the token if it is this word.
    fn word(&mut self, word: &str) -> Result<bool, PredicateError> {
        let found = matches!(self.peek()?, Token::Word(next) if next.eq_ignore_ascii_case(word));
        if found {
            self.token()?;
        }
        Ok(found)
    }

    fn sign(&mut self, sign: &'static str) -> Result<bool, PredicateError> {
        let found = self.peek()? == Token::Sign(sign);
        if found {
            self.token()?;
        }
        Ok(found)
    }

    fn expect(&mut self, sign: &'static str) -> Result<(), PredicateError> {
        match self.token()? {
            (_, Token::Sign(found)) if found == sign => Ok(()),
            (at, token) => self.unexpected(&format!("`{sign}`"), at, &token),
        }
    }

    fn any(&mut self) -> Result<Predicate<N::Field>, PredicateError> {
        let mut any = vec![self.all()?];
        while self.word("or")? {
            any.push(self.all()?);
        }
        Ok(if any.len() == 1 { any.remove(0) } else { Predicate::any(any) })
    }

    fn all(&mut self) -> Result<Predicate<N::Field>, PredicateError> {
        let mut all = vec![self.one()?];
        while self.word("and")? {
            all.push(self.one()?);
        }
        Ok(if all.len() == 1 { all.remove(0) } else { Predicate::all(all) })
    }

    fn one(&mut self) -> Result<Predicate<N::Field>, PredicateError> {
        self.depth += 1;
        if self.depth > DEPTH {
            return self.wrong(self.at..self.at, format!("more than {DEPTH} parentheses within each other"));
        }
        let rest = self.rest();
        let predicate = if is_word(rest, "not") {
            self.at += "not".len();
            Predicate::Not(Box::new(self.one()?))
        } else if rest.starts_with('(') {
            self.expect("(")?;
            let any = self.any()?;
            self.expect(")")?;
            any
        } else {
            self.test()?
        };
        self.depth -= 1;
        Ok(predicate)
    }

    /// Returns the parts of a name. A part in double quotes may have any characters.
    fn name(&mut self) -> Result<(Range<usize>, Name), PredicateError> {
        let expected = format!("a {}", N::NOUN);
        let mut name = Name { text: String::new(), parts: Vec::new() };
        let start = self.at + (self.text[self.at..].len() - self.text[self.at..].trim_start().len());
        loop {
            let rest = self.rest();
            let at = self.at;
            if rest.starts_with('"') {
                name.parts.push(self.quoted('"')?);
                // Elements of an array, in a path.
                while self.text[self.at..].starts_with("[]") {
                    self.at += "[]".len();
                }
            } else {
                let stops = |c: char| c.is_whitespace() || "=<>!(),.'\"&|".contains(c);
                let part = &rest[..rest.find(stops).unwrap_or(rest.len())];
                if part.is_empty() {
                    let (at, token) = self.token()?;
                    return self.unexpected(&expected, at, &token);
                }
                self.at += part.len();
                name.parts.push(part.to_owned());
            }
            name.text.push_str(&self.text[at..self.at]);
            let end = self.at;
            if !self.rest().starts_with('.') {
                self.at = end;
                return Ok((start..end, name));
            }
            self.at += 1;
            name.text.push('.');
        }
    }

    fn test(&mut self) -> Result<Predicate<N::Field>, PredicateError> {
        let (place, name) = self.name()?;
        let Found { field, kind } = match self.names.find(&name) {
            Ok(found) => found,
            Err(message) => return self.wrong(place, message),
        };
        if kind == Kind::Classes {
            if !self.word("has")? {
                let name = &name.text;
                return self.wrong(place, format!("write `{name} has \"CLASS\"` or `{name}.CLASS >= 1`"));
            }
            return match self.token()? {
                (_, Token::Text(class)) => Ok(Predicate::Has(field, class)),
                (at, token) => self.unexpected("the name of a class in quotes", at, &token),
            };
        }
        if self.word("is")? {
            let not = self.word("not")?;
            if !self.word("null")? {
                let (at, token) = self.token()?;
                return self.unexpected(if not { "`null`" } else { "`null` or `not null`" }, at, &token);
            }
            let op = if not { Op::NotEqual } else { Op::Equal };
            return Ok(Predicate::Compare(field, op, Literal::Null));
        }
        let not = self.word("not")?;
        let predicate = self.by_word(&field, kind)?;
        match (predicate, not) {
            (Some(predicate), false) => Ok(predicate),
            (Some(predicate), true) => Ok(Predicate::Not(Box::new(predicate))),
            (None, not) => self.comparison(field, kind, not),
        }
    }

    /// Reads a test that begins with a word that may have `not` in front.
    fn by_word(&mut self, field: &N::Field, kind: Kind) -> Result<Option<Predicate<N::Field>>, PredicateError> {
        let field = field.clone();
        if self.word("in")? {
            self.expect("(")?;
            let mut literals = vec![self.literal(kind)?];
            while self.sign(",")? {
                literals.push(self.literal(kind)?);
            }
            self.expect(")")?;
            if let Some(texts) = self.nocase(&literals)? {
                return Ok(Some(Predicate::Texts(field, texts)));
            }
            return Ok(Some(Predicate::In(field, literals.into_iter().collect())));
        }
        if self.word("between")? {
            self.rest();
            let start = self.at;
            let low = self.literal(kind)?;
            if !self.word("and")? {
                let (at, token) = self.token()?;
                return self.unexpected("`and`", at, &token);
            }
            let high = self.literal(kind)?;
            let message = match (&low, &high) {
                (Literal::Text(low), Literal::Text(high)) if low <= high => None,
                (Literal::Number(low), Literal::Number(high)) if low <= high => None,
                (Literal::Text(_), Literal::Text(_)) | (Literal::Number(_), Literal::Number(_)) => {
                    Some("nothing is between these; write the smaller one first")
                }
                _ => Some("`between` takes two numbers, or two texts"),
            };
            return match message {
                None => Ok(Some(Predicate::Between(field, low, high))),
                Some(message) => self.wrong(start..self.at, message),
            };
        }
        if matches!(kind, Kind::Text | Kind::Any) {
            if self.word("matches")? {
                return match self.token()? {
                    (at, Token::Text(text)) => match Pattern::new(&text) {
                        Ok(pattern) => Ok(Some(Predicate::Matches(field, pattern))),
                        Err(wrong) => self.wrong(at..self.at, wrong),
                    },
                    (at, token) => self.unexpected("a regular expression in quotes", at, &token),
                };
            }
            for (word, place) in [("starts_with", Place::Start), ("ends_with", Place::End), ("contains", Place::Within)]
            {
                if self.word(word)? {
                    return self.texts(field, place).map(Some);
                }
            }
            if self.word("like")? {
                let (place, pattern) = self.prefix("a text in quotes, such as 'x%'")?;
                let prefix = pattern.strip_suffix('%').filter(|prefix| !prefix.contains(['%', '_']));
                return match prefix {
                    Some(prefix) => Ok(Some(Predicate::StartsWith(field, prefix.to_owned()))),
                    None => self.wrong(
                        place,
                        "`like` takes the beginning of a text and one `%` behind it, as 'x%'; write `starts_with` for a \
                         beginning with `%` or `_` in it",
                    ),
                };
            }
        }
        Ok(None)
    }

    /// Reads what is looked for at a place in a text: a text or a list of them, and whether case matters.
    fn texts(&mut self, field: N::Field, place: Place) -> Result<Predicate<N::Field>, PredicateError> {
        let mut texts = Vec::new();
        if self.sign("(")? {
            texts.push(self.prefix("a text in quotes")?.1);
            while self.sign(",")? {
                texts.push(self.prefix("a text in quotes")?.1);
            }
            self.expect(")")?;
        } else {
            texts.push(self.prefix("a text in quotes, or several in parentheses")?.1);
        }
        let fold = self.word("nocase")?;
        Ok(match (place, fold, texts.as_slice()) {
            (Place::Start, false, [prefix]) => Predicate::StartsWith(field, prefix.clone()),
            _ => Predicate::Texts(field, TextTest::new(place, texts, fold)),
        })
    }

    /// Reads `nocase` behind texts.
    fn nocase(&mut self, literals: &[Literal]) -> Result<Option<TextTest>, PredicateError> {
        self.rest();
        let at = self.at;
        if !self.word("nocase")? {
            return Ok(None);
        }
        let texts = literals.iter().map(|literal| match literal {
            Literal::Text(text) => Some(text.clone()),
            _ => None,
        });
        match texts.collect::<Option<Vec<String>>>() {
            Some(texts) => Ok(Some(TextTest::new(Place::Whole, texts, true))),
            None => self.wrong(at..self.at, "`nocase` stands behind texts only"),
        }
    }

    fn prefix(&mut self, expected: &str) -> Result<(Range<usize>, String), PredicateError> {
        match self.token()? {
            (at, Token::Text(text)) if N::EMPTY_IS_ABSENT && (text.is_empty() || text == "%") => {
                self.wrong(at..self.at, "every text has an empty one: write `is not null`")
            }
            (at, Token::Text(text)) => Ok((at..self.at, text)),
            (at, token) => self.unexpected(expected, at, &token),
        }
    }

    /// `not`: it was in front of another word than those that take it.
    fn comparison(&mut self, field: N::Field, kind: Kind, not: bool) -> Result<Predicate<N::Field>, PredicateError> {
        let words = if matches!(kind, Kind::Text | Kind::Any) {
            "`in`, `between`, `like`, `starts_with`, `ends_with`, `contains` or `matches`"
        } else {
            "`in` or `between`"
        };
        let op = match self.token()? {
            (at, token) if not => return self.unexpected(words, at, &token),
            (_, Token::Sign("=" | "==")) => Op::Equal,
            (_, Token::Sign("!=" | "<>")) => Op::NotEqual,
            (_, Token::Sign("<")) => Op::Less,
            (_, Token::Sign("<=")) => Op::AtMost,
            (_, Token::Sign(">")) => Op::Greater,
            (_, Token::Sign(">=")) => Op::AtLeast,
            (at, token) => return self.unexpected(&format!("=, <>, <, <=, >, >=, `is null`, {words}"), at, &token),
        };
        let literal = self.literal(kind)?;
        if matches!(op, Op::Equal | Op::NotEqual)
            && let Some(texts) = self.nocase(std::slice::from_ref(&literal))?
        {
            let equal = Predicate::Texts(field, texts);
            return Ok(if op == Op::Equal { equal } else { Predicate::Not(Box::new(equal)) });
        }
        Ok(Predicate::Compare(field, op, literal))
    }

    fn literal(&mut self, kind: Kind) -> Result<Literal, PredicateError> {
        let word = |word: &str, wanted: &str| word.eq_ignore_ascii_case(wanted);
        match self.token()? {
            (_, Token::Word(null)) if word(null, "null") => Ok(Literal::Null),
            (_, Token::Word(truth)) if kind == Kind::Any && (word(truth, "true") || word(truth, "false")) => {
                Ok(Literal::Text(truth.to_ascii_lowercase()))
            }
            (at, Token::Text(text)) if N::EMPTY_IS_ABSENT && text.is_empty() => {
                self.wrong(at..self.at, "an empty text counts as absent: write `is null`")
            }
            (_, Token::Text(text)) if kind != Kind::Number => Ok(Literal::Text(text)),
            (at, Token::Number(digits)) if kind != Kind::Text => match Decimal::literal(digits) {
                Some(number) => Ok(Literal::Number(number)),
                None => {
                    let help = "write at most 25 digits before the point, and at most six behind it";
                    self.wrong(at..self.at, format!("`{digits}` is no number that can be compared; {help}"))
                }
            },
            (at, token) => {
                let expected = match kind {
                    Kind::Text => "a text in quotes",
                    Kind::Number | Kind::Classes => "a number",
                    Kind::Any => "a text in quotes, a number, true, false or null",
                };
                self.unexpected(expected, at, &token)
            }
        }
    }
}

/// Returns the number of bytes of `text`, which begins with a digit or a minus, that are meant as a number.
fn number(text: &str) -> usize {
    let digits = |from: usize| {
        let rest = &text[from..];
        from + rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len())
    };
    let end = digits(1);
    let exponent = text[end..].strip_prefix(['e', 'E']).map(|rest| rest.strip_prefix(['+', '-']).unwrap_or(rest));
    match exponent {
        Some(rest) if rest.starts_with(|c: char| c.is_ascii_digit()) => digits(text.len() - rest.len()),
        _ => end,
    }
}

/// Returns whether `text` begins with this word.
fn is_word(text: &str, word: &str) -> bool {
    text.split_at_checked(word.len()).is_some_and(|(first, rest)| {
        first.eq_ignore_ascii_case(word) && !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_')
    })
}
