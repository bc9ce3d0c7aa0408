//! A bounded pool of entries by key hash, over [`quick_cache`]: its eviction (CLOCK-Pro) keeps
//! what is asked for again and again through a flood of what is asked for once.

use std::hash::{BuildHasher, Hasher};

use quick_cache::unsync::Cache;
use quick_cache::{Lifecycle, UnitWeighter};

use crate::request::key_hash::KeyHash;

/// A secret of the process, so that nobody can choose keys whose hashes meet in one bucket.
#[derive(Clone, Copy, Debug)]
pub struct Seed(u64);

impl Seed {
    /// Takes any random number.
    pub const fn new(random: u64) -> Self {
        // Even factors would lose bits.
        Self(random | 1)
    }
}

/// Key hashes are as good as random already; all there is to do is to mix the seed in.
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

    /// Both halves of the product: its low half alone would keep chosen low bits together.
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

/// Counts what is pushed out.
#[derive(Clone, Copy, Debug, Default)]
struct CountEvictions;

impl<V> Lifecycle<KeyHash, V> for CountEvictions {
    type RequestState = u64;

    fn on_evict(&self, evicted: &mut u64, _: KeyHash, _: V) {
        *evicted = evicted.saturating_add(1);
    }
}

/// At most so many entries.
#[derive(Debug)]
pub(super) struct Pool<V> {
    entries: Cache<KeyHash, V, UnitWeighter, Seed, CountEvictions>,
    evictions: u64,
}

impl<V> Pool<V> {
    pub(super) fn new(capacity: usize, seed: Seed) -> Self {
        // Half of the first number is how many hashes are remembered that were pushed out. Each
        // takes as much memory as an entry without its record, so it is half of what is usual.
        let remembered = capacity.div_ceil(2);
        let capacity = u64::try_from(capacity).unwrap_or(u64::MAX);
        Self {
            entries: Cache::with(remembered, capacity, UnitWeighter, seed, CountEvictions),
            evictions: 0,
        }
    }

    /// The entry, which is in use from now on.
    pub(super) fn get(&self, hash: &KeyHash) -> Option<&V> {
        self.entries.get(hash)
    }

    /// The entry, without a word on whether it is in use.
    pub(super) fn peek(&self, hash: &KeyHash) -> Option<&V> {
        self.entries.peek(hash)
    }

    pub(super) fn insert(&mut self, hash: KeyHash, value: V) {
        // In place where it can be: the library counts what is replaced as pushed out.
        if let Some(mut entry) = self.entries.get_mut(&hash) {
            *entry = value;
        } else {
            self.entries
                .insert_with_lifecycle(hash, value, &mut self.evictions);
        }
    }

    pub(super) fn remove(&mut self, hash: &KeyHash) {
        self.entries.remove(hash);
    }

    pub(super) fn clear(&mut self) {
        self.entries.clear();
    }

    /// Changes an entry that is there, without a word on whether it is in use.
    pub(super) fn change(&mut self, hash: &KeyHash, change: impl FnOnce(&mut V)) {
        if let Some(mut entry) = self.entries.peek_mut(hash) {
            change(&mut entry);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn take_evictions(&mut self) -> u64 {
        std::mem::take(&mut self.evictions)
    }
}

#[cfg(test)]
mod tests;
