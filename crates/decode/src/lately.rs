//! A bounded memory of the keys that were seen last.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;

/// Two generations. When the young one is full it becomes the old one. The keys of the old one are forgotten, except
/// those that were asked for in between. So frequent keys stay, at the cost of a plain table.
#[derive(Debug)]
pub struct Lately<K, V> {
    young: Table<K, V>,
    old: Table<K, V>,
    limit: usize,
}

type Table<K, V> = HashMap<K, V, foldhash::fast::FixedState>;

impl<K: Eq + Hash, V: Copy> Lately<K, V> {
    /// Remembers at least the `limit` keys met last, at most twice as many.
    pub fn new(limit: usize) -> Lately<K, V> {
        Lately { young: Table::default(), old: Table::default(), limit: limit.max(1) }
    }

    #[inline]
    pub fn get<Q: Eq + Hash + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        match self.young.get(key) {
            Some(value) => Some(*value),
            None => self.revive(key),
        }
    }

    fn revive<Q: Eq + Hash + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let (key, value) = self.old.remove_entry(key)?;
        self.insert(key, value);
        Some(value)
    }

    pub fn insert(&mut self, key: K, value: V) {
        if self.young.len() >= self.limit {
            std::mem::swap(&mut self.young, &mut self.old);
            self.young.clear();
        }
        self.young.insert(key, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_frequent_stays_and_the_rest_is_bounded() {
        let mut lately: Lately<String, u32> = Lately::new(10);
        lately.insert("frequent".into(), 7);
        for number in 0..1000 {
            assert_eq!(lately.get("frequent"), Some(7));
            assert_eq!(lately.get(number.to_string().as_str()), None);
            lately.insert(number.to_string(), number);
            assert_eq!(lately.get(number.to_string().as_str()), Some(number));
            assert!(lately.young.len() + lately.old.len() <= 20);
        }
        assert_eq!(lately.get("0"), None);
        // The last ten, whatever came between.
        assert!((990..1000).all(|number: u32| lately.get(number.to_string().as_str()) == Some(number)));
    }
}
