//! Thousands of generated header lists, the same on each run. The outcome of each must be the one that
//! the model predicts.

use std::sync::Arc;

use anyhow::{Result, anyhow};
use libtest_mimic::Trial;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::{BASE64, Field, HEX, KEY, Line, OTHER, Probe};
use crate::range::{OnDemand, Steady};

/// The number of lists for each listener.
const LISTS: usize = 1500;

pub(super) fn trials(range: &Arc<OnDemand>, field: &Field) -> Vec<Trial> {
    let listeners = ["default", "forward", "schemes", "no_prefix"];
    let trials = listeners.map(|listener| {
        let field = field.clone();
        let name = format!("credentials: made-up headers, {listener}");
        range.trial(&name, move |range, name| {
            let probes = sample(LISTS)?;
            range.case(name, Steady::on("steady")?, |counters| {
                // Few at a time, so that a wrong number of lookups is easy to locate.
                for probes in probes.chunks(100) {
                    field.send(range, counters, listener, probes)?;
                    field.send_by_http2(range, counters, listener, probes)?;
                }
                Ok(())
            })
        })
    });
    trials.into()
}

fn sample(count: usize) -> Result<Vec<Probe>> {
    let mut runner = TestRunner::deterministic();
    let lists = vec(header(), 0..4);
    (0..count)
        .map(|index| {
            let list = lists.new_tree(&mut runner);
            let list = list.map_err(|reason| anyhow!("{reason}"))?.current();
            Ok(Probe::new(format!("list {index}"), list))
        })
        .collect()
}

fn header() -> impl Strategy<Value = Line> {
    let name = select(vec![
        "authorization",
        "Authorization",
        "x-api-key",
        "X-API-Key",
        "x-token",
        "x_api_key",
        "api-key",
        "x-keystile-key-id",
        "cookie",
    ]);
    (name, value()).prop_map(|(name, value)| (name.to_owned(), value))
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    let scheme = select(vec![
        "", "", "Bearer ", "bearer\t", "ApiKey ", "TOKEN  ", "key ", "Basic ", "Bearer",
    ]);
    let clean = (scheme, select(vec![KEY, KEY, OTHER, HEX, BASE64]))
        .prop_map(|(scheme, key)| format!("{scheme}{key}").into_bytes());
    let part = select(vec![
        KEY.as_bytes(),
        OTHER.as_bytes(),
        HEX.as_bytes(),
        BASE64.as_bytes(),
        b"Bearer",
        b"ApiKey",
        b"Basic",
        b" ",
        b"\t",
        b",",
        b";",
        b"=",
        b"\"",
        b"aw_",
        b"aw_short",
        b"k.",
        b"k.0123456789",
        b"0123456789abcdef0123456789abcdef0123456789abcdef",
        b"\xff",
        b"\xc2\xa0",
        b"\x0b",
        b"\x7f",
        b"",
    ]);
    let odd = vec(part, 0..5).prop_map(|parts| parts.concat());
    prop_oneof![3 => clean, 2 => odd]
}
