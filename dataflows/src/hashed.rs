//! A hash map whose order cannot reach an output: the only place that may name one.

#![expect(clippy::disallowed_types, reason = "what it lets out is sorted, or does not depend on the order")]

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;

/// Values by key, looked up by hash. Its hash function is fixed, and it can not be iterated over in the order of hashes.
#[derive(Clone)]
pub(crate) struct Hashed<K, V>(HashMap<K, V, foldhash::fast::FixedState>);

impl<K, V> Default for Hashed<K, V> {
    fn default() -> Self {
        Hashed(HashMap::default())
    }
}

impl<K: Eq + Hash, V> Hashed<K, V> {
    /// Returns the value of a key.
    #[inline]
    pub fn get(&self, key: &K) -> Option<&V> {
        self.0.get(key)
    }

    /// Returns the value of a key, which is the default one if the key was absent.
    #[inline]
    pub fn or_default(&mut self, key: K) -> &mut V
    where
        V: Default,
    {
        self.0.entry(key).or_default()
    }

    /// Inserts the value of a key that is absent, or else gives it back.
    #[inline]
    pub fn insert_new(&mut self, key: K, value: V) -> Option<V> {
        match self.0.entry(key) {
            Entry::Vacant(place) => {
                place.insert(value);
                None
            }
            Entry::Occupied(_) => Some(value),
        }
    }

    /// Removes a key.
    pub fn remove(&mut self, key: &K) {
        self.0.remove(key);
    }

    /// Returns all keys, in order.
    pub fn sorted_keys(&self) -> Vec<K>
    where
        K: Ord + Copy,
    {
        let mut keys: Vec<K> = self.0.keys().copied().collect();
        keys.sort_unstable();
        keys
    }

    /// Returns all keys and values in the order of keys.
    pub fn into_sorted(self) -> Vec<(K, V)>
    where
        K: Ord,
    {
        let mut rows: Vec<_> = self.0.into_iter().collect();
        rows.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        rows
    }

    /// Calls `each` with every value, which must neither depend on the order of calls nor let it out.
    pub fn values_in_no_order(&self, each: impl FnMut(&V)) {
        self.0.values().for_each(each);
    }

    /// Changes every value by `change`, which must not depend on the order of calls.
    pub fn change_in_no_order(&mut self, change: impl FnMut(&mut V)) {
        self.0.values_mut().for_each(change);
    }

    /// Keeps what `keep` says, which must neither depend on the order of calls nor let it out.
    pub fn retain_in_no_order(&mut self, keep: impl FnMut(&K, &mut V) -> bool) {
        self.0.retain(keep);
    }
}
