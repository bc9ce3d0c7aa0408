use super::*;
use crate::decision::denial::Denial;

#[test]
fn an_expired_key_is_counted_as_a_revoked_one() {
    let counter = |denial| Counter::of_request(Outcome::Refused(denial));
    assert_eq!(counter(Denial::Expired), counter(Denial::Revoked));
    assert_ne!(counter(Denial::Revoked), counter(Denial::NotFound));
    let mut unreported = Unreported::default();
    for (denial, events) in [(Denial::Expired, 2), (Denial::Revoked, 3)] {
        unreported.add(Counter::Requests(Outcome::Refused(denial)), events);
    }
    let counts: Vec<_> = unreported.take_counts().collect();
    assert_eq!(counts, [(counter(Denial::Revoked), 5)]);
    assert_eq!(unreported.take_counts().count(), 0);
}

#[test]
fn counts_are_taken_once() {
    let mut unreported = Unreported::default();
    unreported.add(Counter::Requests(Outcome::Allowed), 2);
    unreported.add(Counter::EvictionsDeny, 5);
    unreported.add(Counter::Requests(Outcome::Allowed), 1);
    let counts: Vec<_> = unreported.take_counts().collect();
    assert_eq!(
        counts,
        [
            (Counter::Requests(Outcome::Allowed), 3),
            (Counter::EvictionsDeny, 5)
        ]
    );
    assert_eq!(unreported.take_counts().count(), 0);
}
