//! Identities as the control partition has them.

use crate::fingerprint::{Canonical, hex};
use crate::plan::{IdentityPlan, Plan};
use serde::{Deserialize, Serialize};

/// Identities that do not depend on a plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NamedIdentity {
    /// Of what is linked, and of what a person may be.
    pub fingerprint: String,
    /// Milliseconds since 1970: events count that were received from then on. `None`: all do.
    pub since_ms: Option<i64>,
}

impl NamedIdentity {
    /// Returns what tells this beginning from others.
    pub fn id(&self) -> [u8; 16] {
        let mut to = Canonical::new("headwater identity v1");
        to.text(&self.fingerprint).option(self.since_ms, |to, since| {
            to.signed(since);
        });
        *to.finish().first_chunk().expect("a fingerprint has 32 bytes")
    }
}

/// Returns the fingerprint of which ids are joined, and by which rules.
pub(super) fn fingerprint(plan: &Plan, identity: &IdentityPlan) -> String {
    let IdentityPlan { kinds, rules, spec, begins: _ } = identity;
    let mut to = Canonical::new("headwater identity definition v1");
    let kinds: Vec<_> = kinds.iter().zip(&spec.kinds).collect();
    to.list(&kinds, |to, (name, field)| {
        to.text(name).option(**field, |to, field| {
            to.list(&plan.fields[field].candidates, |to, path| {
                to.text(&path.to_string());
            });
        });
    });
    to.list(&spec.links, |to, [one, other]| {
        to.number(u64::from(*one)).number(u64::from(*other));
    });
    to.list(&spec.block, |to, text| {
        to.text(text);
    });
    to.number(u64::from(rules.cap)).number(rules.unique);
    hex(&to.finish()[..16])
}
