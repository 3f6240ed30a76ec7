//! What goes into identities: the links between aliases of one person that an event names.

use crate::identity::UserKey;
use crate::time::EventTime;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use std::sync::Arc;

/// An id of a person: a value of a kind, such as of a cookie, a device or an account. The same value of two kinds is two
/// aliases. Ordered by kind, then by text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Alias {
    /// Index among the kinds of the definition.
    pub kind: u8,
    /// The value.
    pub text: Arc<str>,
}

impl Alias {
    /// Returns the key whose worker has the rows of all aliases of this text: that of the user of this name.
    pub fn key(&self) -> UserKey {
        UserKey::of(&self.text)
    }
}

/// Two aliases that some event names together. They differ, and the lesser one comes first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Link([Alias; 2]);

impl Link {
    /// Makes a link; `None`: nothing links an alias to itself.
    pub fn new(one: Alias, other: Alias) -> Option<Link> {
        (one != other).then(|| Link(if one < other { [one, other] } else { [other, one] }))
    }

    /// Returns both aliases, in order.
    pub fn ends(&self) -> &[Alias; 2] {
        &self.0
    }
}

/// A link, and the time of an event that has it.
pub type Seen = (Link, EventTime);

/// The links of one event: as a rule, one.
pub type Links = SmallVec<[Link; 1]>;
