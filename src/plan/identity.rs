//! Identities, after every check.

use super::StateBegins;
use crate::collections::identities::IdentitySchema;
use dataflows::EventTime;
use dataflows::stitch::Rules;
use headwater_decode::spec::LinkSpec;

/// Which ids are of one person, and what decoding looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityPlan {
    /// The names of the kinds.
    pub kinds: Vec<String>,
    pub rules: Rules,
    pub spec: LinkSpec,
    /// Of a run.
    pub begins: Option<StateBegins>,
}

impl IdentityPlan {
    /// Returns what rows name.
    pub fn schema(&self) -> IdentitySchema {
        let since = match &self.begins {
            Some(StateBegins::Since { ms, .. }) => *ms,
            Some(StateBegins::Later) | None => None,
        };
        IdentitySchema {
            kinds: self.kinds.iter().map(|kind| kind.as_str().into()).collect(),
            since: since.and_then(|ms| EventTime::from_micros(ms.saturating_mul(1000))),
        }
    }

    /// Returns what decoding reads; `None`: events do not count yet.
    pub(super) fn spec(&self) -> Option<LinkSpec> {
        (self.begins != Some(StateBegins::Later)).then(|| self.spec.clone())
    }

    /// Returns the names of the unique kinds.
    pub fn unique(&self) -> impl Iterator<Item = &str> {
        let unique = self.rules.unique;
        (0..).zip(&self.kinds).filter(move |(kind, _)| unique >> kind & 1 == 1).map(|(_, name): (u32, _)| name.as_str())
    }
}
