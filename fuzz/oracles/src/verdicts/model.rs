//! The naive model: of each key the last verdict that may be kept, and when it was last said to
//! have changed.
//!
//! It does not say what a cache must remember, but where there is room for all it says what a
//! request must not be refused for want of.

use std::time::Duration;

use keystile::auth::answer::{Source, Verdict};
use keystile::engine::settings::Settings;
use serde_json::json;

use super::answers::{Given, Kind};
use super::{At, By, KEYS, RECENTLY, RETRY, TIMEOUT};

/// When scripts begin, in ms since the Unix epoch.
pub(super) const WALL: u64 = 1_800_000_000_000;

/// A configuration. Times are in ms.
pub(super) struct Rules {
    allow: u64,
    not_found: u64,
    revoked: u64,
    stale_if_error: u64,
    refresh_ahead: f64,
    /// In percent.
    jitter: u64,
    environment: Option<&'static str>,
    /// Room for one verdict in each pool, instead of for all.
    small: bool,
    feed: Option<FeedRules>,
}

struct FeedRules {
    interval: u64,
    stale_after: u64,
    allow_when_stale: u64,
}

impl Rules {
    /// By number: plain; with a feed; with jitter, of one environment; without a cache; without
    /// room; with a feed, without grace and with refreshes at once.
    pub(super) const ALL: [Self; 6] = [
        Self::PLAIN,
        Self {
            allow: 10_000,
            not_found: 5_000,
            revoked: 10_000,
            refresh_ahead: 0.1,
            feed: Some(FeedRules {
                interval: 100,
                stale_after: 400,
                allow_when_stale: 250,
            }),
            ..Self::PLAIN
        },
        Self {
            jitter: 50,
            environment: Some("production"),
            ..Self::PLAIN
        },
        Self {
            allow: 0,
            not_found: 0,
            revoked: 0,
            ..Self::PLAIN
        },
        Self {
            small: true,
            ..Self::PLAIN
        },
        Self {
            stale_if_error: 0,
            refresh_ahead: 0.0001,
            feed: Some(FeedRules {
                interval: 1_000,
                stale_after: 5_000,
                allow_when_stale: 500,
            }),
            ..Self::PLAIN
        },
    ];

    const PLAIN: Self = Self {
        allow: 1_000,
        not_found: 300,
        revoked: 2_000,
        stale_if_error: 3_000,
        refresh_ahead: 0.8,
        jitter: 0,
        environment: None,
        small: false,
        feed: None,
    };

    pub(super) fn config(&self) -> Settings {
        let ms = |ms: u64| format!("{ms}ms");
        let feed = self.feed.as_ref().map(|feed| {
            json!({
                "interval": ms(feed.interval),
                "stale_after": ms(feed.stale_after),
                "allow_ttl_when_stale": ms(feed.allow_when_stale),
            })
        });
        #[allow(clippy::cast_precision_loss, reason = "a percentage")]
        let jitter = self.jitter as f64 / 100.0;
        let config = json!({
            "lookup": {"cluster": "auth", "timeout": ms(TIMEOUT)},
            "credential": {"format": {"prefix": "key-", "min_length": 5}},
            "environment": self.environment,
            "cache": {
                "allow_ttl": ms(self.allow),
                "not_found_ttl": ms(self.not_found),
                "revoked_ttl": ms(self.revoked),
                "stale_if_error": ms(self.stale_if_error),
                "refresh_ahead": self.refresh_ahead,
                "jitter": jitter,
                "max_allow_entries": self.entries(),
                "max_deny_entries": self.entries(),
            },
            "feed": feed,
        });
        keystile::config::parse(config.to_string().as_bytes()).expect("a good configuration")
    }

    /// The most verdicts of a pool.
    pub(super) fn entries(&self) -> usize {
        if self.small { 1 } else { 100 }
    }

    /// Whether an answer is about this environment.
    fn is_ours(&self, kind: Kind) -> bool {
        self.environment
            .is_none_or(|ours| kind.environment() == ours)
    }

    /// Whether an answer lets requests through while it lasts.
    fn allows(&self, kind: Kind) -> bool {
        kind.is_active() && self.is_ours(kind)
    }

    /// Whether an answer is that there is no record here.
    fn is_none(&self, kind: Kind) -> bool {
        kind.is_not_found() || (kind.is_verdict() && !self.is_ours(kind))
    }

    /// For how long an answer is kept at most.
    fn ttl(&self, kind: Kind) -> u64 {
        let ttl = match kind {
            Kind::ActiveAndLarge => 0,
            _ if self.allows(kind) => self.allow,
            _ if kind.is_revoked() && self.is_ours(kind) => self.revoked,
            _ => self.not_found,
        };
        kind.max_age().map_or(ttl, |longest| longest.min(ttl))
    }
}

/// What is known of a key.
#[derive(Clone, Copy, Default)]
struct Known {
    /// The answer that was kept last, by its number.
    kept: Option<usize>,
    /// When a lookup last failed since then: surely, and perhaps.
    failed: (Option<u64>, Option<u64>),
    /// When the key was last said to have changed.
    changed: Option<At>,
}

pub(super) struct Model {
    pub(super) rules: &'static Rules,
    pub(super) has_cursor: bool,
    /// Until when all changes are known.
    complete_until: Option<u64>,
    /// When the auth cluster last answered.
    answered: Option<u64>,
    /// Whether a lookup has failed since.
    failing: bool,
    keys: [Known; KEYS],
    /// All answers, of whatever lookup.
    given: Vec<Given>,
}

impl Model {
    pub(super) fn new(rules: &'static Rules) -> Self {
        Self {
            rules,
            has_cursor: false,
            complete_until: None,
            answered: None,
            failing: false,
            keys: [Known::default(); KEYS],
            given: Vec::new(),
        }
    }

    /// The number of the answer.
    pub(super) fn is_given(&mut self, given: Given) -> usize {
        self.given.push(given);
        self.given.len() - 1
    }

    /// Whether what was asked at this time may be of before a change.
    pub(super) fn is_outdated(&self, key: usize, asked: At) -> bool {
        self.keys[key]
            .changed
            .is_some_and(|changed| changed > asked)
    }

    /// A verdict has come.
    pub(super) fn keeps(&mut self, number: usize, outdated: bool) {
        let given = &self.given[number];
        let known = &mut self.keys[given.key];
        if !outdated {
            known.kept = Some(number).filter(|_| self.rules.ttl(given.kind) > 0);
            known.failed = (None, None);
        }
    }

    /// A lookup has failed. Where the circuit breaker was full, that is nothing to remember of a
    /// record in grace.
    pub(super) fn fails(&mut self, key: usize, by: By, now: u64, wall: Duration) {
        let kept = self.keys[key].kept.map(|kept| &self.given[kept]);
        let (surely, perhaps) = match kept {
            Some(kept) if by == By::Overflow => {
                let age = now - kept.made.ms;
                let (shortest, longest) = self.life(kept, now);
                let (lasts, may_last) = self.grace(kept, now, wall);
                (age < shortest || !may_last, age < longest || !lasts)
            }
            _ => (true, true),
        };
        let failed = &mut self.keys[key].failed;
        if surely {
            failed.0 = Some(now);
        }
        if perhaps {
            failed.1 = Some(now);
        }
    }

    /// An answer says whether the auth cluster can be reached.
    pub(super) fn is_reached(&mut self, kind: Kind, now: u64) {
        match kind {
            Kind::NotSent | Kind::Overflow => {}
            kind if kind.is_verdict() => {
                self.answered = Some(now);
                self.failing = false;
            }
            _ => self.failing = true,
        }
    }

    /// Whether a lookup that could not be sent found the circuit breaker full.
    pub(super) fn is_breaker_full(&self, under_way: bool, now: u64) -> bool {
        let recently = self.answered.is_some_and(|at| now - at < RECENTLY);
        recently || (under_way && !self.failing)
    }

    /// The feed was read: these keys have changed.
    pub(super) fn is_told(&mut self, keys: &[usize], complete_until: Option<u64>, now: At) {
        self.has_cursor = true;
        self.answered = Some(now.ms);
        self.failing = false;
        self.complete_until = complete_until.or(self.complete_until);
        for key in keys {
            self.changes(*key, now);
        }
    }

    /// A live lookup came to an answer, from which the cache learns. `false` where this model
    /// cannot tell what it learns.
    pub(super) fn learns(&mut self, number: usize, now: At) -> bool {
        let given = self.given[number];
        let kept = self.keys[given.key].kept.map(|kept| self.given[kept]);
        let both_none = kept
            .is_some_and(|kept| self.rules.is_none(kept.kind) && self.rules.is_none(given.kind));
        if !self.rules.small && kept.is_some() && given.kind.is_verdict() && !both_none {
            self.changes(given.key, now);
        }
        !self.rules.small
    }

    fn changes(&mut self, key: usize, now: At) {
        self.keys[key] = Known {
            kept: None,
            failed: (None, None),
            changed: Some(now),
        };
    }

    pub(super) fn is_feed_stale(&self, now: u64) -> bool {
        self.rules.feed.as_ref().is_some_and(|feed| {
            self.complete_until
                .is_none_or(|known| now - known >= feed.stale_after)
        })
    }

    /// For how long the answer is fresh: at least, and at most.
    fn life(&self, given: &Given, now: u64) -> (u64, u64) {
        let ttl = self.rules.ttl(given.kind);
        let limit = self.rules.feed.as_ref().map(|feed| feed.allow_when_stale);
        let limit = limit.filter(|_| self.rules.allows(given.kind) && self.is_feed_stale(now));
        let limit = limit.unwrap_or(u64::MAX);
        (self.shortest(ttl).min(limit), ttl.min(limit))
    }

    fn shortest(&self, ttl: u64) -> u64 {
        ttl - (ttl * self.rules.jitter).div_ceil(100)
    }

    /// Whether the answer counts in an outage: surely, and at all.
    fn grace(&self, given: &Given, now: u64, wall: Duration) -> (bool, bool) {
        let ends = given.ends.is_some_and(|end| end <= wall);
        let until = |ttl: u64| {
            let end = given.made.ms + ttl;
            let known = self
                .complete_until
                .map_or(given.made.ms, |known| known.min(end));
            known.max(given.made.ms) + self.rules.stale_if_error
        };
        let ttl = self.rules.ttl(given.kind);
        let lasts = |ttl| self.rules.allows(given.kind) && !ends && now < until(ttl);
        (lasts(self.shortest(ttl)), lasts(ttl))
    }

    /// For how long the answer has not been fresh: at least, and at most.
    fn stale_for(&self, given: &Given, now: u64) -> (u64, u64) {
        let ttl = self.rules.ttl(given.kind);
        let (shortest, longest) = self.life(given, now);
        let since = |ttl: u64, life: u64| {
            let known = self.complete_until.unwrap_or(0).min(given.made.ms + ttl);
            now.saturating_sub(known.max(given.made.ms + life))
        };
        (since(ttl, longest), since(self.shortest(ttl), shortest))
    }

    /// For how long a record counts because of a full circuit breaker.
    fn overflow_grace(&self) -> u64 {
        let feed = self.rules.feed.as_ref();
        feed.map_or(60_000, |feed| feed.allow_when_stale)
    }

    /// A request is to make a lookup, so nothing counts without one.
    pub(super) fn has_nothing(&self, key: usize, now: u64, wall: Duration) {
        let known = &self.keys[key];
        let kept = known.kept.filter(|_| !self.rules.small);
        if let Some(kept) = kept.map(|number| &self.given[number]) {
            let fresh = now - kept.made.ms < self.life(kept, now).0;
            let failed = known.failed.0.is_some_and(|failed| now - failed < RETRY);
            let spared = failed && self.grace(kept, now, wall).0;
            assert!(!fresh && !spared, "{kept:?} counts, and is asked about");
        }
    }

    /// A request got this verdict, from this source. `is_asked`: a lookup of its key is under way.
    #[allow(clippy::too_many_arguments, reason = "all that a verdict depends on")]
    pub(super) fn counts(
        &self,
        key: usize,
        verdict: &Verdict,
        source: Option<Source>,
        by: By,
        now: At,
        wall: Duration,
        is_asked: bool,
    ) {
        let known = &self.keys[key];
        let kept = known.kept.map(|number| &self.given[number]);
        let number = match verdict {
            Verdict::Indeterminate(_) => {
                assert!(
                    source.is_none() && matches!(by, By::Failure | By::Overflow),
                    "no verdict, though there is one"
                );
                if let Some(kept) = kept.filter(|_| !self.rules.small) {
                    let age = now.ms - kept.made.ms;
                    let is_short = by != By::Overflow
                        || self.stale_for(kept, now.ms).1 < self.overflow_grace();
                    let counts = age < self.life(kept, now.ms).0
                        || (self.grace(kept, now.ms, wall).0 && is_short);
                    assert!(!counts, "{kept:?} counts, and is not used");
                }
                return;
            }
            Verdict::Active(record) | Verdict::Revoked(record) => {
                record.key_id().parse().expect("the number of an answer")
            }
            Verdict::NotFound => match by {
                By::Answer(number) => number,
                By::Asking | By::Failure | By::Overflow => {
                    known.kept.expect("nobody said that there is no record")
                }
            },
        };
        let given = &self.given[number];
        let as_given = match verdict {
            Verdict::Active(_) => self.rules.allows(given.kind),
            Verdict::Revoked(_) => given.kind.is_revoked() && self.rules.is_ours(given.kind),
            Verdict::NotFound => self.rules.is_none(given.kind),
            Verdict::Indeterminate(_) => false,
        };
        assert!(
            as_given && given.key == key,
            "{verdict:?} was never said of key {key}: {given:?}"
        );
        assert!(
            !self.is_outdated(key, given.made),
            "{given:?} is of before a change"
        );
        let age = now.ms - given.made.ms;
        let (shortest, longest) = self.life(given, now.ms);
        match source {
            None => panic!("{verdict:?} is from nowhere"),
            Some(Source::Lookup | Source::Coalesced) => assert_eq!(by, By::Answer(number)),
            Some(Source::Cache) => {
                assert_eq!(known.kept, Some(number), "not what was kept last");
                assert!(
                    age < longest,
                    "{given:?} is no longer fresh, but {age} ms old"
                );
            }
            Some(Source::Stale) => {
                assert_eq!(known.kept, Some(number), "not what was kept last");
                assert!(age >= shortest, "{given:?} is fresh");
                assert!(
                    self.grace(given, now.ms, wall).1,
                    "{given:?} is too old for grace"
                );
                assert!(
                    by != By::Overflow || self.stale_for(given, now.ms).0 < self.overflow_grace(),
                    "{given:?} is too old for a full circuit breaker"
                );
                // To a request that waited in vain, that alone is an outage.
                if by == By::Asking {
                    let failed = known.failed.1.expect("grace is for outages");
                    assert!(now.ms - failed < RETRY || is_asked, "nobody asks again");
                }
            }
        }
    }
}
