//! The file of tokens, [`HttpPlan::tokens`](crate::plan::HttpPlan): the clients of the HTTP server, and their scopes.
//! It holds the SHA-256 of each token, so that a reader of the file cannot use the token.

use super::error::{ConfigError, Problem, Problems};
use super::typed::Tables;
use crate::plan::{SourceKind, SourcePlan};
use crate::text::nearest::nearest;
use serde::Deserialize;
use std::collections::HashMap;
use std::path::Path;
use toml::Spanned;

/// A token, as far as the file knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// For logs: the token itself is never shown.
    pub name: String,
    pub sha256: [u8; 32],
    /// Never empty.
    pub scopes: Vec<Scope>,
}

/// A permission of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Posts events to the source of this name; to all of them if there is none.
    Ingest(Option<String>),
    /// Reads the collection of this name; all of them if there is none.
    Subscribe(Option<String>),
    /// Reads what the process says of itself.
    Admin,
}

const HASH_HELP: &str = "write the 64 digits that printf %s \"$TOKEN\" | sha256sum prints";
const SCOPES_HELP: &str = "write scopes = [\"ingest:*\"], or \"ingest:SOURCE\", \"subscribe:COLLECTION\", \"subscribe:*\", \
                           \"admin\"";

/// SHA-256 of no bytes at all: what `sha256sum` prints for a variable that was not set.
const OF_NOTHING: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct File {
    token: Tables<Typed>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table, [[token]]")]
struct Typed {
    name: Option<Spanned<String>>,
    sha256: Option<Spanned<String>>,
    scopes: Option<Spanned<Vec<Spanned<String>>>>,
}

/// Reads and checks a file of tokens. `sources` are those of the plan.
pub fn load(path: &Path, sources: &[SourcePlan]) -> Result<Vec<Token>, ConfigError> {
    let unreadable = |source| ConfigError::UnreadableTokens { path: path.to_owned(), source };
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    parse(&path.to_string_lossy(), &text, sources)
}

/// Checks the text of a file of tokens. `name` stands for it in errors.
pub fn parse(name: &str, text: &str, sources: &[SourcePlan]) -> Result<Vec<Token>, ConfigError> {
    let typed: File =
        toml::from_str(text).map_err(|error| Problems::from(Problem::of_toml(&error, text)).into_error(name, text))?;
    let mut problems = Problems::default();
    if typed.token.0.is_empty() {
        problems.push(
            0..0,
            "no tokens: no client could use the server",
            "add a [[token]] with name, sha256 and scopes",
        );
    }
    let (mut names, mut hashes) = (HashMap::new(), HashMap::new());
    let mut tokens = Vec::new();
    for table in &typed.token.0 {
        let Typed { name, sha256, scopes } = table.get_ref();
        let mut missing = |key, help| problems.push(table.span(), format!("a [[token]] without `{key}`"), help);
        if name.is_none() {
            missing("name", "add name = \"...\", which logs can show");
        }
        if sha256.is_none() {
            missing("sha256", HASH_HELP);
        }
        if scopes.is_none() {
            missing("scopes", SCOPES_HELP);
        }
        let (Some(name), Some(sha256), Some(scopes)) = (name, sha256, scopes) else { continue };
        if name.get_ref().is_empty() {
            problems.push(name.span(), "the name of the token is empty", "write a name that logs can show");
        } else if names.insert(name.get_ref(), ()).is_some() {
            let message = format!("two tokens have the name `{}`", name.get_ref());
            problems.push(name.span(), message, "give each token a name of its own");
        }
        let hash = hash(sha256, &mut problems);
        if let Some(other) = hash.and_then(|hash| hashes.insert(hash, name.get_ref())) {
            let message = format!("the token `{other}` has the same hash");
            problems.push(sha256.span(), message, "list a token once, with all its scopes");
        }
        if scopes.get_ref().is_empty() {
            problems.push(scopes.span(), "no scopes: the token would be good for nothing", SCOPES_HELP);
        }
        tokens.push(Token {
            name: name.get_ref().clone(),
            sha256: hash.unwrap_or_default(),
            scopes: scopes.get_ref().iter().filter_map(|scope| check(scope, sources, &mut problems)).collect(),
        });
    }
    if problems.is_empty() { Ok(tokens) } else { Err(problems.into_error(name, text)) }
}

fn hash(typed: &Spanned<String>, problems: &mut Problems) -> Option<[u8; 32]> {
    let text = typed.get_ref().to_ascii_lowercase();
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let bytes: Option<Vec<u8>> =
        text.as_bytes().chunks(2).map(|pair| Some(digit(pair[0])? << 4 | digit(*pair.get(1)?)?)).collect();
    let hash = bytes.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
    if hash.is_none() {
        problems.push(typed.span(), "this is no SHA-256", HASH_HELP);
    } else if text == OF_NOTHING {
        problems.push(typed.span(), "this is the SHA-256 of nothing: the token was empty", "set TOKEN first");
    }
    hash
}

fn check(typed: &Spanned<String>, sources: &[SourcePlan], problems: &mut Problems) -> Option<Scope> {
    let text = typed.get_ref().as_str();
    let (verb, object) = text.split_once(':').map_or((text, None), |(verb, object)| (verb, Some(object)));
    match (verb, object) {
        ("admin", None) => Some(Scope::Admin),
        ("ingest", Some("*")) => Some(Scope::Ingest(None)),
        ("subscribe", Some("*")) => Some(Scope::Subscribe(None)),
        ("subscribe", Some(collection)) if !collection.is_empty() => Some(Scope::Subscribe(Some(collection.into()))),
        ("ingest", Some(name)) if !name.is_empty() => {
            let posted = || sources.iter().filter(|source| source.kind == SourceKind::Http);
            let names = || posted().map(|source| source.name.as_str());
            if !names().any(|known| known == name) {
                let help = match (nearest(name, names()), names().next()) {
                    (Some(near), _) => format!("did you mean \"ingest:{near}\"?"),
                    (None, None) => "the configuration has no [[source]] of kind \"http\"".into(),
                    (None, Some(_)) => {
                        let names: Vec<_> = names().map(|name| format!("`{name}`")).collect();
                        format!("the sources of kind \"http\" are: {}", names.join(", "))
                    }
                };
                problems.push(typed.span(), format!("no source `{name}` can be posted to"), help);
            }
            Some(Scope::Ingest(Some(name.into())))
        }
        _ => {
            problems.push(typed.span(), format!("unknown scope `{text}`"), SCOPES_HELP);
            None
        }
    }
}
