#![allow(
    clippy::arithmetic_side_effects,
    reason = "a test that overflows fails, as it should"
)]

use std::collections::{BTreeMap, HashSet};
use std::sync::LazyLock;

use proptest::collection::vec;
use proptest::prelude::{Strategy, any, prop_oneof};
use proptest::{prop_assert, prop_assert_eq, proptest};

use super::*;
use crate::request::key_hash::KeyHasher;

/// Hashing is slow without optimisation, and these tests do little else.
static HASHES: LazyLock<Vec<KeyHash>> = LazyLock::new(|| {
    let keys = 0..21_000_u16;
    keys.map(|key| KeyHasher::default().hash(&key.to_be_bytes()))
        .collect()
});

fn hash(key: u16) -> KeyHash {
    HASHES[usize::from(key)]
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Insert(u16, u32),
    Get(u16),
    Change(u16, u32),
    Remove(u16),
}

fn events(keys: u16) -> impl Strategy<Value = Vec<Event>> {
    let key = 0..keys;
    let event = prop_oneof![
        4 => (key.clone(), any::<u32>()).prop_map(|(key, value)| Event::Insert(key, value)),
        4 => key.clone().prop_map(Event::Get),
        1 => (key.clone(), any::<u32>()).prop_map(|(key, value)| Event::Change(key, value)),
        1 => key.prop_map(Event::Remove),
    ];
    vec(event, 0..300)
}

proptest! {
    /// The naive model is a map of everything that was ever inserted. A pool may forget entries, but
    /// only when it is full, and it never returns anything but the last value.
    #[test]
    fn a_pool_is_a_map_with_evictions(capacity in 1..40_usize, events in events(60), seed in any::<u64>()) {
        let mut pool = Pool::new(capacity, Seed::new(seed));
        let mut model = BTreeMap::new();
        let mut evicted = 0;
        for event in events {
            let before = pool.len();
            match event {
                Event::Insert(key, value) => {
                    let known = pool.get(&hash(key)).is_some();
                    pool.insert(hash(key), value);
                    model.insert(key, value);
                    if known || before < capacity {
                        prop_assert_eq!(pool.get(&hash(key)), Some(&value), "{:?} is lost", event);
                    }
                }
                Event::Get(key) => {
                    if let Some(found) = pool.get(&hash(key)) {
                        prop_assert_eq!(Some(found), model.get(&key), "{:?}", event);
                    }
                }
                Event::Change(key, value) => {
                    let known = pool.get(&hash(key)).is_some();
                    pool.change(&hash(key), |entry| *entry = value);
                    if known {
                        model.insert(key, value);
                    }
                }
                Event::Remove(key) => {
                    pool.remove(&hash(key));
                    model.remove(&key);
                    prop_assert!(pool.get(&hash(key)).is_none(), "{:?} is still there", event);
                }
            }
            prop_assert!(pool.len() <= capacity, "{} of {}", pool.len(), capacity);
            evicted += pool.take_counts().1;
            let held = model.keys().filter(|key| pool.get(&hash(**key)).is_some()).count();
            prop_assert_eq!(held, pool.len(), "the pool holds only what was inserted");
            // An entry that was inserted but is missing was evicted, and counted.
            prop_assert!(usize::try_from(evicted).unwrap() >= model.len() - held);
        }
    }

    /// With room for all entries, a pool behaves like the model.
    #[test]
    fn nothing_is_lost_while_there_is_room(events in events(60), seed in any::<u64>()) {
        let mut pool = Pool::new(60, Seed::new(seed));
        let mut model = BTreeMap::new();
        for event in events {
            match event {
                Event::Insert(key, value) => {
                    pool.insert(hash(key), value);
                    model.insert(key, value);
                }
                Event::Get(_) => {}
                Event::Change(key, value) => {
                    pool.change(&hash(key), |entry| *entry = value);
                    model.entry(key).and_modify(|entry| *entry = value);
                }
                Event::Remove(key) => {
                    pool.remove(&hash(key));
                    model.remove(&key);
                }
            }
            for key in 0..60 {
                prop_assert_eq!(pool.get(&hash(key)), model.get(&key), "{:?}", event);
            }
        }
        prop_assert_eq!(pool.take_counts().1, 0);
    }
}

/// LRU eviction would lose all keys in use to any scan as long as the pool.
#[test]
fn keys_in_use_survive_a_scan() {
    let mut pool = Pool::new(100, Seed::new(1));
    let in_use = 0..50;
    for round in 0..3 {
        for key in in_use.clone() {
            if pool.get(&hash(key)).is_none() {
                pool.insert(hash(key), round);
            }
        }
    }
    for key in 1_000..21_000 {
        pool.insert(hash(key), 9);
        // Only now and then: after many more keys than the pool holds.
        if key % 500 == 0 {
            for key in in_use.clone() {
                let _ = pool.get(&hash(key));
            }
        }
    }
    let left = in_use.filter(|key| pool.get(&hash(*key)).is_some()).count();
    assert_eq!(left, 50);
}

/// The seed spreads hashes that agree in many bits, which clients could choose.
#[test]
fn chosen_hashes_do_not_collide() {
    // The bits that choose one of 65,536 buckets.
    let bucket = |seed: Seed, word: u64| {
        let mut hasher = seed.build_hasher();
        hasher.write_u64(word);
        hasher.finish() & 0xffff
    };
    for seed in [0x9e37_79b9_7f4a_7c15, 0xdead_beef_cafe_f00d] {
        let seed = Seed::new(seed);
        for shift in [0, 16, 32, 48] {
            let chosen = (0..10_000_u64).map(|n| n.rotate_left(shift).wrapping_mul(0x1_0001));
            let met: HashSet<_> = chosen.map(|word| bucket(seed, word)).collect();
            // Random numbers would fill about 9,300 buckets.
            assert!(met.len() > 8_000, "{seed:?} {shift}: {}", met.len());
        }
    }
}
