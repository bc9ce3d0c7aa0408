//! Every byte at every position, every length, and every spelling of the scheme.

use std::sync::Arc;

use anyhow::Result;
use keystile_e2e::counters::Counters;
use libtest_mimic::Trial;

use super::{Field, KEY, Probe, line};
use crate::range::{OnDemand, Range, Steady};

type Sweep = fn(&Field, &Range, &Counters) -> Result<()>;

pub(super) fn trials(range: &Arc<OnDemand>, field: &Field) -> Vec<Trial> {
    // The slow ones are ignored by default.
    let rows: [(&str, bool, Sweep); 8] = [
        (
            "each byte in place of each of a key",
            false,
            |field, range, counters| {
                in_place_of_each("x-api-key", "", |probes| {
                    field.send(range, counters, "default", probes)
                })
            },
        ),
        (
            "each byte in place of each of a key, HTTP/2",
            true,
            |field, range, counters| {
                in_place_of_each("x-api-key", "", |probes| {
                    field.send_by_http2(range, counters, "default", probes)
                })
            },
        ),
        (
            "each byte in place of each of a bearer's key",
            true,
            |field, range, counters| {
                in_place_of_each("authorization", "Bearer ", |probes| {
                    by_both(field, range, counters, probes)
                })
            },
        ),
        ("each byte between any two of a key", true, between_any_two),
        ("each byte around key and scheme", false, around),
        ("each length", false, lengths),
        ("each case of the scheme", false, cases_of_the_scheme),
        ("each byte of a key left out, or twice", false, edited),
    ];
    let trials = rows.into_iter().map(|(name, is_long, sweep)| {
        let field = field.clone();
        let trial = range.trial(&format!("credentials: {name}"), move |range, name| {
            range.case(name, Steady::on("steady")?, |counters| {
                sweep(&field, range, counters)
            })
        });
        trial.with_ignored_flag(is_long)
    });
    trials.collect()
}

/// Sends the probes over both protocols, as far as these can carry them.
fn by_both(field: &Field, range: &Range, counters: &Counters, probes: &[Probe]) -> Result<()> {
    field.send(range, counters, "default", probes)?;
    field.send_by_http2(range, counters, "default", probes)
}

fn in_place_of_each(
    header: &str,
    scheme: &str,
    send: impl Fn(&[Probe]) -> Result<()>,
) -> Result<()> {
    for at in 0..KEY.len() {
        let probes: Vec<_> = (0..=u8::MAX)
            .map(|byte| {
                let mut value = format!("{scheme}{KEY}").into_bytes();
                value[scheme.len() + at] = byte;
                Probe::new(format!("{byte:#04x} at {at}"), vec![line(header, value)])
            })
            .collect();
        send(&probes)?;
    }
    Ok(())
}

fn between_any_two(field: &Field, range: &Range, counters: &Counters) -> Result<()> {
    for at in 1..KEY.len() {
        let probes: Vec<_> = (0..=u8::MAX)
            .map(|byte| {
                let mut value = KEY.as_bytes().to_vec();
                value.insert(at, byte);
                Probe::new(
                    format!("{byte:#04x} before {at}"),
                    vec![line("x-api-key", value)],
                )
            })
            .collect();
        by_both(field, range, counters, &probes)?;
    }
    Ok(())
}

/// Each byte before, after and between keys, and before, in and after the scheme, also in place of the
/// space that follows it.
fn around(field: &Field, range: &Range, counters: &Counters) -> Result<()> {
    let places: [(&str, &str, [&str; 2]); 9] = [
        ("before the key", "x-api-key", ["", KEY]),
        ("after the key", "x-api-key", [KEY, ""]),
        ("between two", "x-api-key", [KEY, KEY]),
        ("before the scheme", "authorization", ["", "Bearer {key}"]),
        ("in the scheme", "authorization", ["Bea", "rer {key}"]),
        ("after the scheme", "authorization", ["Bearer", " {key}"]),
        ("as separator", "authorization", ["Bearer", "{key}"]),
        (
            "before a bearer's key",
            "authorization",
            ["Bearer ", "{key}"],
        ),
        (
            "after a bearer's key",
            "authorization",
            ["Bearer {key}", ""],
        ),
    ];
    for (place, header, [before, after]) in places {
        let probes: Vec<_> = (0..=u8::MAX)
            .map(|byte| {
                let mut value = before.replace("{key}", KEY).into_bytes();
                value.push(byte);
                value.extend(after.replace("{key}", KEY).as_bytes());
                Probe::new(format!("{byte:#04x} {place}"), vec![line(header, value)])
            })
            .collect();
        by_both(field, range, counters, &probes)?;
    }
    Ok(())
}

/// Each length up to 300 bytes, then doubled up to 60 KiB, with and without the beginning of a key.
fn lengths(field: &Field, range: &Range, counters: &Counters) -> Result<()> {
    let doubled = (0..)
        .map(|n| 320 << n)
        .take_while(|length| *length < 60 * 1024);
    let lengths = (1..=300).chain(doubled).chain([60 * 1024]);
    let probes: Vec<_> = lengths
        .flat_map(|length: usize| {
            ["aw_0", "", KEY].map(|beginning| {
                let mut value = beginning.to_owned();
                value.extend(std::iter::repeat_n('k', length.saturating_sub(value.len())));
                value.truncate(length);
                Probe::new(
                    format!("{length} bytes from {beginning:?} on"),
                    vec![line("x-api-key", value)],
                )
            })
        })
        .collect();
    by_both(field, range, counters, &probes)
}

/// All 64 spellings, and words that are not the scheme, each followed by every kind of space.
fn cases_of_the_scheme(field: &Field, range: &Range, counters: &Counters) -> Result<()> {
    let cases = (0..64_u32).map(|bits| {
        let letters = "bearer".chars().enumerate();
        let letters = letters.map(|(at, letter)| match bits >> at & 1 {
            0 => letter,
            _ => letter.to_ascii_uppercase(),
        });
        letters.collect::<String>()
    });
    let others = [
        "",
        "B",
        "Beare",
        "Bearers",
        "Bearer:",
        "Bearer=",
        "Basic",
        "Token",
        "ApiKey",
        "\"Bearer\"",
        "Bearer,",
    ];
    let spaces: [&[u8]; 9] = [
        b" ",
        b"  ",
        b"\t",
        b" \t ",
        b"",
        b"\xa0",
        b"\xc2\xa0",
        b"\xe2\x80\x83",
        b"+",
    ];
    let schemes: Vec<_> = cases.chain(others.map(str::to_owned)).collect();
    let probes: Vec<_> = schemes
        .iter()
        .flat_map(|scheme| spaces.map(|spaces| (scheme, spaces)))
        .map(|(scheme, spaces)| {
            let value = [scheme.as_bytes(), spaces, KEY.as_bytes()].concat();
            Probe::new(
                format!("{scheme:?}, {}", spaces.escape_ascii()),
                vec![line("authorization", value)],
            )
        })
        .collect();
    by_both(field, range, counters, &probes)
}

/// Each character missing, twice, in the other case, or swapped with the next.
fn edited(field: &Field, range: &Range, counters: &Counters) -> Result<()> {
    let mut probes = Vec::new();
    for at in 0..KEY.len() {
        let key = KEY.as_bytes();
        let (before, behind) = key.split_at(at);
        let other_case = if key[at].is_ascii_lowercase() {
            key[at].to_ascii_uppercase()
        } else {
            key[at].to_ascii_lowercase()
        };
        let mut swapped = key.to_vec();
        swapped.swap(at, (at + 1) % key.len());
        for (edit, value) in [
            ("missing", [before, &behind[1..]].concat()),
            ("twice", [before, &behind[..1], behind].concat()),
            (
                "in the other case",
                [before, &[other_case], &behind[1..]].concat(),
            ),
            ("swapped", swapped),
            ("and on missing", before.to_vec()),
            ("and before missing", behind[1..].to_vec()),
        ] {
            probes.push(Probe::new(
                format!("{at} {edit}"),
                vec![line("x-api-key", value)],
            ));
        }
    }
    by_both(field, range, counters, &probes)
}
