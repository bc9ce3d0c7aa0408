//! A bounded pool of entries by key hash, based on [`quick_cache`]. Its eviction (CLOCK-Pro) keeps
//! entries that are used repeatedly through a flood of entries that are used once.

use std::hash::{BuildHasher, Hasher};

use quick_cache::unsync::Cache;
use quick_cache::{Lifecycle, UnitWeighter};

use crate::request::key_hash::KeyHash;

/// A secret of the process, so that clients cannot choose keys whose hashes share a bucket.
#[derive(Clone, Copy, Debug)]
pub struct Seed(u64);

impl Seed {
    /// Creates a seed from any random number.
    pub const fn new(random: u64) -> Self {
        // An even factor would lose bits.
        Self(random | 1)
    }
}

/// Key hashes are already random, so it is enough to mix in the seed.
impl BuildHasher for Seed {
    type Hasher = Mixed;

    fn build_hasher(&self) -> Mixed {
        Mixed {
            seed: self.0,
            word: 0,
        }
    }
}

pub struct Mixed {
    seed: u64,
    word: u64,
}

impl Hasher for Mixed {
    fn write_u64(&mut self, word: u64) {
        self.word ^= word;
    }

    fn write_u32(&mut self, word: u32) {
        self.write_u64(word.into());
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    /// Returns both halves of the product, combined: the low half alone would keep chosen low bits
    /// together.
    fn finish(&self) -> u64 {
        let product = u128::from(self.word).wrapping_mul(u128::from(self.seed));
        #[allow(
            clippy::cast_possible_truncation,
            reason = "the half that is cut off is the other operand"
        )]
        {
            (product as u64) ^ ((product >> 64) as u64)
        }
    }
}

/// Counts evictions.
#[derive(Clone, Copy, Debug, Default)]
struct CountEvictions;

impl<V> Lifecycle<KeyHash, V> for CountEvictions {
    type RequestState = u64;

    fn on_evict(&self, evicted: &mut u64, _: KeyHash, _: V) {
        *evicted = evicted.saturating_add(1);
    }
}

/// A map with a maximum number of entries.
#[derive(Debug)]
pub(super) struct Pool<V> {
    entries: Cache<KeyHash, V, UnitWeighter, Seed, CountEvictions>,
    insertions: u64,
    evictions: u64,
}

impl<V> Pool<V> {
    pub(super) fn new(capacity: usize, seed: Seed) -> Self {
        // The library remembers the hashes of evicted entries, half as many as its first argument
        // says. Each takes as much memory as an entry without its record, so the argument is half the
        // usual.
        let remembered = capacity.div_ceil(2);
        let capacity = u64::try_from(capacity).unwrap_or(u64::MAX);
        Self {
            entries: Cache::with(remembered, capacity, UnitWeighter, seed, CountEvictions),
            insertions: 0,
            evictions: 0,
        }
    }

    /// Returns the entry and marks it as used.
    pub(super) fn get(&self, hash: &KeyHash) -> Option<&V> {
        self.entries.get(hash)
    }

    /// Returns the entry without marking it as used.
    pub(super) fn peek(&self, hash: &KeyHash) -> Option<&V> {
        self.entries.peek(hash)
    }

    pub(super) fn insert(&mut self, hash: KeyHash, value: V) {
        // In place if possible: the library counts a replaced entry as evicted.
        if let Some(mut entry) = self.entries.get_mut(&hash) {
            *entry = value;
        } else {
            self.insertions = self.insertions.saturating_add(1);
            self.entries
                .insert_with_lifecycle(hash, value, &mut self.evictions);
        }
    }

    pub(super) fn remove(&mut self, hash: &KeyHash) {
        self.entries.remove(hash);
    }

    /// Returns all entries, without marking them as used.
    pub(super) fn iter(&self) -> impl Iterator<Item = &V> {
        self.entries.iter().map(|(_, value)| value)
    }

    pub(super) fn clear(&mut self) {
        self.entries.clear();
    }

    /// Changes an existing entry without marking it as used.
    pub(super) fn change(&mut self, hash: &KeyHash, change: impl FnOnce(&mut V)) {
        if let Some(mut entry) = self.entries.peek_mut(hash) {
            change(&mut entry);
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns how many entries were added and evicted since the last call.
    pub(super) fn take_counts(&mut self) -> (u64, u64) {
        let insertions = std::mem::take(&mut self.insertions);
        (insertions, std::mem::take(&mut self.evictions))
    }
}

#[cfg(test)]
mod tests;
