//! The text of a filter -> a predicate. Recursive descent, with a limit on depth.

use super::{Field, Filter, FilterError, Literal, Op};
use crate::collections::{Kind, Schema};
use crate::text::nearest::nearest;

/// Parentheses and `not`s within each other.
const DEPTH: usize = 32;
/// Comparisons that a row may take. A list takes few, however long it is.
const WEIGHT: usize = 4096;
/// Digits of a number before and after the point.
const DIGITS: (usize, usize) = (25, 6);

pub(super) fn filter(text: &str, schema: &Schema) -> Result<Filter, FilterError> {
    let mut parser = Parser { text, at: 0, schema, depth: 0 };
    let filter = parser.any()?;
    match parser.token()? {
        (at, Token::End) if filter.weight() > WEIGHT => {
            let message = format!("it takes more than {WEIGHT} comparisons; a list, as in `user in (…)`, takes few");
            parser.wrong(at, message)
        }
        (_, Token::End) => Ok(filter),
        (at, token) => parser.wrong(at, format!("expected `and`, `or` or the end, not {}", token.shown())),
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

struct Parser<'t> {
    text: &'t str,
    /// In bytes.
    at: usize,
    schema: &'t Schema,
    depth: usize,
}

impl<'t> Parser<'t> {
    fn wrong<R>(&self, at: usize, message: impl Into<String>) -> Result<R, FilterError> {
        Err(FilterError { at: self.text[..at].chars().count() + 1, message: message.into() })
    }

    /// The next token and where it begins.
    fn token(&mut self) -> Result<(usize, Token<'t>), FilterError> {
        const SIGNS: [&str; 12] = ["<=", ">=", "!=", "<>", "==", "=", "<", ">", "(", ")", ",", "."];
        let rest = self.text[self.at..].trim_start();
        let at = self.text.len() - rest.len();
        let Some(first) = rest.chars().next() else { return Ok((at, Token::End)) };
        if first == '"' || first == '\'' {
            return self.quoted(at, first);
        }
        let length = |fits: fn(char) -> bool| rest.find(|c| !fits(c)).unwrap_or(rest.len());
        if first.is_ascii_digit() || first == '-' {
            let digits = 1 + rest[1..].find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len() - 1);
            self.at = at + digits;
            return Ok((at, Token::Number(&rest[..digits])));
        }
        if let Some(sign) = SIGNS.into_iter().find(|sign| rest.starts_with(sign)) {
            self.at = at + sign.len();
            return Ok((at, Token::Sign(sign)));
        }
        let word = length(|c| c.is_alphanumeric() || c == '_');
        if word == 0 {
            return self.wrong(at, format!("`{first}` means nothing here; texts stand in quotes"));
        }
        self.at = at + word;
        Ok((at, Token::Word(&rest[..word])))
    }

    /// A text in quotes; within them a backslash takes the meaning of the quote or backslash behind it.
    fn quoted(&mut self, at: usize, quote: char) -> Result<(usize, Token<'t>), FilterError> {
        let mut text = String::new();
        let mut chars = self.text[at + 1..].char_indices();
        while let Some((offset, c)) = chars.next() {
            if c == quote {
                self.at = at + 1 + offset + 1;
                return Ok((at, Token::Text(text)));
            }
            let plain = if c == '\\' { chars.next().map(|(_, c)| c) } else { Some(c) };
            text.extend(plain);
        }
        self.wrong(at, "the text has no closing quote")
    }

    fn peek(&mut self) -> Result<Token<'t>, FilterError> {
        let before = self.at;
        let token = self.token();
        self.at = before;
        Ok(token?.1)
    }

    /// Takes the token if it is this word.
    fn word(&mut self, word: &str) -> Result<bool, FilterError> {
        let found = matches!(self.peek()?, Token::Word(next) if next.eq_ignore_ascii_case(word));
        if found {
            self.token()?;
        }
        Ok(found)
    }

    fn sign(&mut self, sign: &'static str) -> Result<bool, FilterError> {
        let found = self.peek()? == Token::Sign(sign);
        if found {
            self.token()?;
        }
        Ok(found)
    }

    fn expect(&mut self, sign: &'static str) -> Result<(), FilterError> {
        match self.token()? {
            (_, Token::Sign(found)) if found == sign => Ok(()),
            (at, token) => self.wrong(at, format!("expected `{sign}`, not {}", token.shown())),
        }
    }

    fn any(&mut self) -> Result<Filter, FilterError> {
        let mut any = vec![self.all()?];
        while self.word("or")? {
            any.push(self.all()?);
        }
        Ok(if any.len() == 1 { any.remove(0) } else { Filter::any(any) })
    }

    fn all(&mut self) -> Result<Filter, FilterError> {
        let mut all = vec![self.one()?];
        while self.word("and")? {
            all.push(self.one()?);
        }
        Ok(if all.len() == 1 { all.remove(0) } else { Filter::all(all) })
    }

    fn one(&mut self) -> Result<Filter, FilterError> {
        self.depth += 1;
        if self.depth > DEPTH {
            return self.wrong(self.at, format!("more than {DEPTH} parentheses within each other"));
        }
        let filter = if self.word("not")? {
            Filter::Not(Box::new(self.one()?))
        } else if self.sign("(")? {
            let any = self.any()?;
            self.expect(")")?;
            any
        } else {
            self.comparison()?
        };
        self.depth -= 1;
        Ok(filter)
    }

    fn comparison(&mut self) -> Result<Filter, FilterError> {
        let (at, column) = match self.token()? {
            (at, Token::Word(name)) => (at, self.column(at, name)?),
            (at, token) => return self.wrong(at, format!("expected a column, not {}", token.shown())),
        };
        let (name, kind) = (&self.schema.columns[column].name, self.schema.columns[column].kind);
        if kind == Kind::Classes && self.word("has")? {
            return match self.token()? {
                (_, Token::Text(class)) => Ok(Filter::Has(column, class)),
                (at, token) => self.wrong(at, format!("expected the name of a class in quotes, not {}", token.shown())),
            };
        }
        let (field, kind) = if kind == Kind::Classes {
            if !self.sign(".")? {
                return self.wrong(at, format!("write `{name} has \"CLASS\"` or `{name}.CLASS >= 1`"));
            }
            match self.token()? {
                (_, Token::Word(class)) => (Field::Class(column, class.to_owned()), Kind::Integer),
                (_, Token::Text(class)) => (Field::Class(column, class), Kind::Integer),
                (at, token) => return self.wrong(at, format!("expected the name of a class, not {}", token.shown())),
            }
        } else {
            (Field::Column(column), kind)
        };
        if self.word("in")? {
            self.expect("(")?;
            let mut literals = vec![self.literal(kind)?];
            while self.sign(",")? {
                literals.push(self.literal(kind)?);
            }
            self.expect(")")?;
            return Ok(Filter::In(field, literals.into_iter().collect()));
        }
        if kind == Kind::Text && self.word("starts_with")? {
            return match self.token()? {
                (_, Token::Text(prefix)) => Ok(Filter::StartsWith(field, prefix)),
                (at, token) => self.wrong(at, format!("expected a text in quotes, not {}", token.shown())),
            };
        }
        let op = match self.token()? {
            (_, Token::Sign("=" | "==")) => Op::Equal,
            (_, Token::Sign("!=" | "<>")) => Op::NotEqual,
            (_, Token::Sign("<")) => Op::Less,
            (_, Token::Sign("<=")) => Op::AtMost,
            (_, Token::Sign(">")) => Op::Greater,
            (_, Token::Sign(">=")) => Op::AtLeast,
            (at, token) => {
                let words = if kind == Kind::Text { ", `in` or `starts_with`" } else { " or `in`" };
                let message = format!("expected =, !=, <, <=, >, >={words}, not {}", token.shown());
                return self.wrong(at, message);
            }
        };
        Ok(Filter::Compare(field, op, self.literal(kind)?))
    }

    fn column(&self, at: usize, name: &str) -> Result<usize, FilterError> {
        let names = || self.schema.columns.iter().map(|column| column.name.as_str());
        if let Some(column) = self.schema.column(name) {
            return Ok(column);
        }
        let help = match nearest(name, names()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("the columns are {}", names().collect::<Vec<_>>().join(", ")),
        };
        self.wrong(at, format!("there is no column `{name}`: {help}"))
    }

    fn literal(&mut self, kind: Kind) -> Result<Literal, FilterError> {
        match self.token()? {
            (_, Token::Word(null)) if null.eq_ignore_ascii_case("null") => Ok(Literal::Null),
            (_, Token::Text(text)) if kind == Kind::Text => Ok(Literal::Text(text)),
            (at, Token::Number(digits)) if kind != Kind::Text => match millionths(digits) {
                Some(number) => Ok(Literal::Number(number)),
                None => self.wrong(at, format!("`{digits}` is no number that can be compared")),
            },
            (at, token) => {
                let wanted = if kind == Kind::Text { "a text in quotes" } else { "a number" };
                self.wrong(at, format!("expected {wanted}, not {}", token.shown()))
            }
        }
    }
}

fn millionths(text: &str) -> Option<i128> {
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |digits| (-1, digits));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let fits = |digits: &str, most: usize| {
        !digits.is_empty() && digits.len() <= most && digits.bytes().all(|byte| byte.is_ascii_digit())
    };
    if !fits(whole, DIGITS.0) || !fits(fraction, DIGITS.1) {
        return None;
    }
    format!("{whole}{fraction:0<6}").parse::<i128>().ok().map(|number| sign * number)
}
