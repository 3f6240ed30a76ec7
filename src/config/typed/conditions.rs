//! What `when` of a rule may be: a text, or a table of what is asked of each field.

use super::{Named, OneOrMany};
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, Visitor};
use std::fmt;
use toml::Spanned;

/// The events of a rule: a predicate, or its short form.
#[derive(Debug)]
pub(in crate::config) enum When {
    Text(String),
    /// By field. All of them have to hold.
    Table(Named<Spanned<Asked>>),
}

impl<'de> Deserialize<'de> for When {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = When;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "a condition in quotes, such as \"price >= 0.01\", or a table such as { page = \"checkout\" }",
                )
            }

            fn visit_str<E>(self, text: &str) -> Result<When, E> {
                Ok(When::Text(text.into()))
            }

            fn visit_map<A: MapAccess<'de>>(self, table: A) -> Result<When, A::Error> {
                Named::deserialize(MapAccessDeserializer::new(table)).map(When::Table)
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// A condition of a rule on one field.
#[derive(Debug)]
pub(in crate::config) enum Asked {
    /// `field = value`
    Equals(Scalar),
    /// `field = { … }`: all of them have to hold.
    All(Box<Predicates>),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Predicates {
    #[serde(rename = "in")]
    pub one_of: Option<Spanned<Vec<Spanned<Scalar>>>>,
    pub prefix: Option<Spanned<OneOrMany<Spanned<String>>>>,
    pub suffix: Option<Spanned<OneOrMany<Spanned<String>>>>,
    pub contains: Option<Spanned<OneOrMany<Spanned<String>>>>,
    #[serde(alias = "regex")]
    pub matches: Option<Spanned<String>>,
    pub nocase: Option<Spanned<bool>>,
    pub not: Option<Box<Spanned<Asked>>>,
    pub exists: Option<bool>,
    pub min: Option<Spanned<Number>>,
    pub max: Option<Spanned<Number>>,
}

#[derive(Debug)]
pub(in crate::config) enum Scalar {
    Text(String),
    Integer(i64),
    Float(f64),
    Boolean(bool),
}

/// A bound. A whole one is not made a floating-point number, which has fewer digits.
#[derive(Clone, Copy, Debug)]
pub(in crate::config) enum Number {
    Integer(i64),
    Float(f64),
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl Visitor<'_> for Any {
            type Value = Number;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number")
            }

            fn visit_i64<E>(self, number: i64) -> Result<Number, E> {
                Ok(Number::Integer(number))
            }

            fn visit_f64<E>(self, number: f64) -> Result<Number, E> {
                Ok(Number::Float(number))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl Visitor<'_> for Any {
            type Value = Scalar;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string, a number, true or false")
            }

            fn visit_str<E>(self, text: &str) -> Result<Scalar, E> {
                Ok(Scalar::Text(text.into()))
            }

            fn visit_i64<E>(self, number: i64) -> Result<Scalar, E> {
                Ok(Scalar::Integer(number))
            }

            fn visit_f64<E>(self, number: f64) -> Result<Scalar, E> {
                Ok(Scalar::Float(number))
            }

            fn visit_bool<E>(self, truth: bool) -> Result<Scalar, E> {
                Ok(Scalar::Boolean(truth))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

impl<'de> Deserialize<'de> for Asked {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Asked;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "a string, a number, true, false, or a table such as { in = [\"a\", \"b\"] }, \
                     { prefix = \"a\" }, { contains = \"a\" }, { exists = true } or { min = 1, max = 2 }",
                )
            }

            fn visit_str<E>(self, text: &str) -> Result<Asked, E> {
                Ok(Asked::Equals(Scalar::Text(text.into())))
            }

            fn visit_i64<E>(self, number: i64) -> Result<Asked, E> {
                Ok(Asked::Equals(Scalar::Integer(number)))
            }

            fn visit_f64<E>(self, number: f64) -> Result<Asked, E> {
                Ok(Asked::Equals(Scalar::Float(number)))
            }

            fn visit_bool<E>(self, truth: bool) -> Result<Asked, E> {
                Ok(Asked::Equals(Scalar::Boolean(truth)))
            }

            fn visit_map<A: MapAccess<'de>>(self, table: A) -> Result<Asked, A::Error> {
                Predicates::deserialize(MapAccessDeserializer::new(table))
                    .map(|predicates| Asked::All(Box::new(predicates)))
            }
        }
        deserializer.deserialize_any(Any)
    }
}
