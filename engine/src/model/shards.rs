//! A map that can be changed without disturbing its readers: changing a clone copies only the
//! shards that the change touches.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::Arc;

/// With a million entries, each shard holds about a thousand.
const SHARDS: usize = 1024;

/// A persistent hash map: clones share their unchanged shards.
#[derive(Clone, Debug)]
pub struct Shards<K, V> {
    hasher: RandomState,
    shards: Vec<Arc<HashMap<K, V, RandomState>>>,
}

impl<K: Hash + Eq + Clone, V: Clone> Shards<K, V> {
    /// An empty map.
    pub fn new() -> Self {
        let hasher = RandomState::new();
        let empty = Arc::new(HashMap::with_hasher(hasher.clone()));
        Self {
            hasher,
            shards: vec![empty; SHARDS],
        }
    }

    pub fn get<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.shards.get(self.shard(key))?.get(key)
    }

    /// The stored key that equals `key`, so that callers can share it.
    pub fn key<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<&K>
    where
        K: Borrow<Q>,
    {
        self.shards
            .get(self.shard(key))?
            .get_key_value(key)
            .map(|(key, _)| key)
    }

    pub fn insert(&mut self, key: K, value: V) {
        let at = self.shard(&key);
        if let Some(shard) = self.shards.get_mut(at) {
            Arc::make_mut(shard).insert(key, value);
        }
    }

    /// Removes `key`. An absent key copies no shard.
    pub fn remove<Q: Hash + Eq + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let at = self.shard(key);
        let shard = self.shards.get_mut(at)?;
        if shard.contains_key(key) {
            Arc::make_mut(shard).remove(key)
        } else {
            None
        }
    }

    /// All values, in no particular order.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.shards.iter().flat_map(|shard| shard.values())
    }

    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.len()).sum()
    }

    fn shard<Q: Hash + ?Sized>(&self, key: &Q) -> usize {
        let hash = self.hasher.hash_one(key);
        // The low bits choose the bucket inside the shard, so the shard is chosen by the high ones.
        usize::try_from(hash >> 48).unwrap_or_default() % SHARDS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changing_a_copy_of_shards_leaves_the_original_unchanged() {
        let mut one = Shards::new();
        for n in 0..5000u32 {
            one.insert(n, n);
        }
        let mut two = one.clone();
        two.insert(7, 70);
        two.remove(&8);
        assert_eq!(two.remove(&8), None);
        assert_eq!(
            (one.get(&7), one.get(&8), one.len()),
            (Some(&7), Some(&8), 5000)
        );
        assert_eq!(
            (two.get(&7), two.get(&8), two.len()),
            (Some(&70), None, 4999)
        );
        assert_eq!(one.get(&5000), None);
    }
}
