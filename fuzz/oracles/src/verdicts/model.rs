//! The naive model: for each key, the last verdict that may be kept, and when it last changed.
//!
//! It does not say what a cache must remember. But if there is room for all verdicts, it says which
//! of them must be used before a request is refused.

use std::time::Duration;

use keystile::auth::answer::Source;

use super::answers::{Given, Kind};
use super::ends::{Decision, Seen};
use super::rules::Rules;
use super::view::{Known, View};
use super::{At, DecidedBy, KEYS, OUTAGE, RECENTLY, RETRY};

pub(super) struct Model {
    pub(super) rules: &'static Rules,
    /// The cursor of the next poll.
    pub(super) cursor: Option<String>,
    complete_until: Option<u64>,
    /// When the auth cluster last answered.
    answered: Option<u64>,
    /// Whether a lookup has failed since.
    failing: bool,
    keys: [Known; KEYS],
    /// All answers, to any lookup.
    given: Vec<Given>,
}

impl Model {
    pub(super) fn new(rules: &'static Rules) -> Self {
        Self {
            rules,
            cursor: None,
            complete_until: None,
            answered: None,
            failing: false,
            keys: [Known::default(); KEYS],
            given: Vec::new(),
        }
    }

    /// Returns a key as it is known now.
    pub(super) fn view(&self, key: usize, now: u64, wall: Duration) -> View {
        View {
            rules: self.rules,
            key,
            known: self.keys[key],
            complete_until: self.complete_until,
            now,
            wall,
        }
    }

    /// Adds an answer; returns its number.
    pub(super) fn add_answer(&mut self, given: Given) -> usize {
        self.given.push(given);
        self.given.len() - 1
    }

    /// Returns true if the answer to a lookup sent at this time may predate a change.
    pub(super) fn is_outdated(&self, key: usize, asked: At) -> bool {
        let known = &self.keys[key];
        known
            .changed
            .max(known.reset)
            .is_some_and(|changed| changed > asked)
    }

    /// Keeps the verdict of a lookup. Its key has not changed since the lookup was sent.
    pub(super) fn keep(&mut self, number: usize) {
        let given = &self.given[number];
        let known = &mut self.keys[given.key];
        known.kept = Some(number).filter(|_| self.rules.ttl(given.kind) > 0);
        known.failed = (None, None);
        known.fresh_until_reset = None;
    }

    /// Notes that a lookup has failed. If the circuit breaker was full, a record in grace does not
    /// remember it.
    pub(super) fn note_failure(&mut self, view: &View, by: DecidedBy) {
        let (surely, perhaps) = match view.known.kept.map(|kept| &self.given[kept]) {
            Some(kept) if by == DecidedBy::Overflow => {
                let age = view.now - kept.made.ms;
                let (shortest, longest) = view.life(kept);
                let (lasts, may_last) = view.grace(kept);
                (age < shortest || !may_last, age < longest || !lasts)
            }
            _ => (true, true),
        };
        let failed = &mut self.keys[view.key].failed;
        if surely {
            failed.0 = Some(view.now);
        }
        if perhaps {
            failed.1 = Some(view.now);
        }
    }

    /// Notes that a lookup was not sent because others of its key have failed: for a request without
    /// a usable verdict, or perhaps to refresh the one that it used.
    pub(super) fn note_held_back(&mut self, view: &View, is_refresh: bool) {
        let kept = view.known.kept.map(|kept| &self.given[kept]);
        let (surely, perhaps) = match kept {
            Some(kept) if is_refresh => view.is_refresh_due(kept),
            _ => {
                let recently =
                    |failed: Option<u64>| failed.is_some_and(|failed| view.now - failed < RETRY);
                let (surely, perhaps) = view.known.failed;
                (!recently(perhaps), !recently(surely))
            }
        };
        let failed = &mut self.keys[view.key].failed;
        if surely {
            failed.0 = Some(view.now);
        }
        if perhaps {
            failed.1 = Some(view.now);
        }
    }

    /// Notes what an answer says about whether the auth cluster can be reached.
    pub(super) fn note_reachability(&mut self, kind: Kind, now: u64) {
        match kind {
            Kind::Overflow => {}
            kind if kind.is_verdict() => {
                self.answered = Some(now);
                self.failing = false;
            }
            _ => self.failing = true,
        }
    }

    /// Returns true if a lookup that could not be sent found the circuit breaker full; `in_flight`
    /// says whether other lookups are in flight.
    pub(super) fn is_breaker_full(&self, in_flight: bool, now: u64) -> bool {
        let recently = self.answered.is_some_and(|at| now - at < RECENTLY);
        recently || (in_flight && !self.failing)
    }

    /// Notes that the feed was read: these keys have changed.
    pub(super) fn apply_page(&mut self, keys: &[usize], complete_until: Option<u64>, now: At) {
        self.answered = Some(now.ms);
        self.failing = false;
        self.complete_until = complete_until.or(self.complete_until);
        for key in keys {
            self.note_change(*key, now);
        }
    }

    /// Notes that any key may have changed. Records stay in grace.
    pub(super) fn apply_reset(&mut self, complete_until: u64, now: At) {
        let known_until = self.complete_until.replace(complete_until);
        self.answered = Some(now.ms);
        self.failing = false;
        for known in &mut self.keys {
            known.reset = Some(now);
            let kept = known.kept.map(|kept| &self.given[kept]);
            match kept.filter(|kept| self.rules.allows(kept.kind)) {
                Some(kept) => {
                    let fresh = known_until.unwrap_or(0).saturating_sub(kept.made.ms);
                    let before = known.fresh_until_reset.unwrap_or(u64::MAX);
                    known.fresh_until_reset = Some(fresh.min(before));
                }
                None => (known.kept, known.failed) = (None, (None, None)),
            }
        }
    }

    /// Notes the answer to an uncached lookup. If it differs from the kept one, the key has changed.
    pub(super) fn note_uncached(&mut self, number: usize, now: At) {
        let given = self.given[number];
        let kept = self.keys[given.key].kept.map(|kept| self.given[kept]);
        let both_none = kept
            .is_some_and(|kept| self.rules.is_none(kept.kind) && self.rules.is_none(given.kind));
        if kept.is_some() && given.kind.is_verdict() && !both_none {
            self.note_change(given.key, now);
        }
    }

    fn note_change(&mut self, key: usize, now: At) {
        self.keys[key] = Known {
            changed: Some(now),
            reset: self.keys[key].reset,
            ..Known::default()
        };
    }

    /// Checks that nothing may be used for a request without a lookup.
    pub(super) fn assert_lookup_needed(&self, view: &View) {
        let Some(kept) = self.surely_kept(view) else {
            return;
        };
        let fresh = view.now - kept.made.ms < view.life(kept).0;
        let failed = view.known.failed.0;
        let spared = failed.is_some_and(|failed| view.now - failed < RETRY) && view.grace(kept).0;
        assert!(
            !fresh && !spared,
            "a lookup was sent, though {kept:?} could be used"
        );
    }

    /// Returns true if a lookup that is sent now certainly tests whether an outage is over.
    pub(super) fn tests_outage(&self, view: &View) -> bool {
        let failed = view.known.failed.0;
        failed.is_some_and(|failed| view.now - failed < OUTAGE) && self.is_in_grace(view)
    }

    /// Returns true if a record may certainly be used in an outage.
    pub(super) fn is_in_grace(&self, view: &View) -> bool {
        self.surely_kept(view)
            .is_some_and(|kept| view.grace(kept).0)
    }

    /// Checks whether a key was rightly looked up again, or not, when its fresh verdict was used.
    /// `may_be_sent` says that no other lookup of it is in flight.
    pub(super) fn assert_refresh(&self, view: &View, refreshed: bool, may_be_sent: bool) {
        let kept = view.known.kept.map(|kept| &self.given[kept]);
        let (surely, perhaps) = kept.map_or((false, false), |kept| view.is_refresh_due(kept));
        if refreshed {
            assert!(perhaps && may_be_sent, "{kept:?} was refreshed too soon");
        } else {
            assert!(!surely || !may_be_sent, "{kept:?} was not refreshed");
        }
    }

    /// Checks the end of a request that got its verdict at the moment of `view`. `wall` is the time
    /// of the end.
    pub(super) fn assert_end(&self, seen: &Seen, view: &View, by: DecidedBy, wall: Duration) {
        let kept = view.known.kept;
        let number = match (seen.decision, by) {
            (Decision::NoVerdict, DecidedBy::NoVerdict) => return assert_eq!(seen.source, None),
            (Decision::NoVerdict, _) => return self.assert_no_verdict_usable(seen, view, by),
            (_, DecidedBy::NoVerdict) => panic!("{seen:?}, though there is no verdict"),
            (Decision::NotFound, DecidedBy::Answer(number)) => number,
            (Decision::NotFound, _) => kept.expect("no answer said that there is no record"),
            (
                Decision::Allowed(number)
                | Decision::Described(number)
                | Decision::Expired(number)
                | Decision::Revoked(number),
                _,
            ) => number,
        };
        let given = &self.given[number];
        let (ends, kind) = (given.ends.is_some_and(|end| end <= wall), given.kind);
        let as_given = match seen.decision {
            Decision::Allowed(_) | Decision::Described(_) => self.rules.allows(kind) && !ends,
            Decision::Expired(_) => self.rules.allows(kind) && ends,
            Decision::Revoked(_) => kind.is_revoked() && self.rules.is_ours(kind),
            Decision::NotFound => self.rules.is_none(kind),
            Decision::NoVerdict => false,
        };
        assert!(
            as_given && given.key == view.key,
            "{seen:?} does not follow from the answer about key {}: {given:?}",
            view.key
        );
        let changed = view.known.changed;
        let age = view.now - given.made.ms;
        let (shortest, longest) = view.life(given);
        match seen.source {
            None => panic!("{seen:?} has no source"),
            Some(Source::Lookup | Source::Coalesced) => {
                return assert_eq!(by, DecidedBy::Answer(number));
            }
            Some(Source::Cache | Source::Stale) => {
                assert_eq!(kept, Some(number), "not the last verdict that was kept");
                let outdated = changed.is_some_and(|changed| changed > given.made);
                assert!(!outdated, "{given:?} predates a change");
            }
        }
        if seen.source == Some(Source::Cache) {
            assert!(age < longest, "{given:?} was used as fresh after {age} ms");
            return;
        }
        assert!(age >= shortest, "{given:?} was used as stale, but is fresh");
        assert!(view.grace(given).1, "{given:?} is too old for grace");
        assert!(
            by != DecidedBy::Overflow || view.stale_for(given).0 < view.overflow_grace(),
            "{given:?} is too old for a full circuit breaker"
        );
        // For a request that waited in vain, that alone is an outage.
        if let DecidedBy::AtOnce { lookup_in_flight } = by {
            let failed = view
                .known
                .failed
                .1
                .expect("a stale record was used without a failed lookup");
            assert!(
                view.now - failed < RETRY || lookup_in_flight,
                "a stale record was used without a new lookup"
            );
        }
    }

    /// Checks that a request that was refused for lack of a verdict could not have got one.
    fn assert_no_verdict_usable(&self, seen: &Seen, view: &View, by: DecidedBy) {
        assert!(
            seen.source.is_none() && matches!(by, DecidedBy::Failure | DecidedBy::Overflow),
            "refused for lack of a verdict, though there is one"
        );
        if let Some(kept) = self.surely_kept(view) {
            let age = view.now - kept.made.ms;
            let is_short =
                by != DecidedBy::Overflow || view.stale_for(kept).1 < view.overflow_grace();
            let counts = age < view.life(kept).0 || (view.grace(kept).0 && is_short);
            assert!(!counts, "{kept:?} could be used, but was not");
        }
    }

    /// Returns the answer that was kept last, if there is room for all.
    fn surely_kept(&self, view: &View) -> Option<&Given> {
        let kept = view.known.kept.filter(|_| !self.rules.small);
        kept.map(|kept| &self.given[kept])
    }
}
