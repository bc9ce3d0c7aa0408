//! Request targets, from lists and generated from parts.

use std::sync::Arc;

use anyhow::{Result, anyhow, ensure};
use keystile_e2e::client;
use keystile_e2e::counters::Counters;
use keystile_e2e::recording_upstream::ENTITLED;
use libtest_mimic::Trial;
use proptest::collection::vec;
use proptest::sample::select;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;

use super::{Field, ID, PLACES, Place, SHIPPED, Who, case};
use crate::range::{OnDemand, end_of};

/// Beginnings of targets: open paths, paths next to them, and others.
const BEGINNINGS: [&str; 17] = [
    "/v1/astro",
    "/v1/astro/",
    "/v1/numerology/",
    "/v1/a-b/c",
    "/public",
    "/public/",
    "/open/",
    "/healthz",
    "/v1/keys/me",
    "/v1/x/",
    "/",
    "",
    "http://other.example/public/",
    "http://other.example:8080/v1/astro/",
    "https://user@other.example/healthz",
    "//other.example/public/",
    "/\\other.example/public/",
];

/// Parts that climb, or hide that they do, or end a path early, for some server.
const PARTS: [&[u8]; 70] = [
    b"",
    b"/",
    b"//",
    b"///",
    b"/.",
    b"/./",
    b"/..",
    b"/../",
    b"..",
    b"...",
    b"....//",
    b".",
    b"/.../",
    b"%2e",
    b"%2E%2e",
    b".%2e",
    b"%2e.",
    b"/%2e%2e/",
    b"/.%2E/",
    b"%252e%252e",
    b"/%252e%252e/",
    b"%2f",
    b"%2F..%2F",
    b"..%2f",
    b"%2f..",
    b"%252f",
    b"..%252f..",
    b"%25252f",
    b"\\",
    b"\\..\\",
    b"/..\\",
    b"%5c",
    b"%5C..%5c",
    b"..%5c",
    b"%255c..",
    b";",
    b";x=1",
    b"/;/",
    b"..;",
    b"/..;/",
    b"/..;x=1/",
    b"/;..",
    b"%3b",
    b"..%3b/",
    b"/.;/",
    b"?",
    b"?/../..",
    b"%3f",
    b"..%3f",
    b"%23",
    b"..%23/",
    b"&x",
    b"%00",
    b"..%00/",
    b".%00.",
    b"%0a",
    b".%0a./",
    b".%09./",
    b"..%20/",
    b"%20../",
    b"..%0d%0a/",
    b"%c0%af",
    b"/%c0%ae%c0%ae/",
    b"%c1%9c",
    b"/%u002e%u002e/",
    b"%u2215",
    b"caf\xc3\xa9",
    b"%e2%80%a5",
    b"%ff",
    b"%zz",
];

const ENDS: [&str; 7] = ["", "/", "x", "/x", "/v1/x", "/../v1/x", "/public"];

/// Generated targets for each listener.
const MADE_UP: usize = 600;

/// A case with many targets for one place.
type Sweep = fn(&Field<'_>, &Counters, &Place) -> Result<()>;

pub(super) fn trials(range: &Arc<OnDemand>) -> Vec<Trial> {
    let mut trials = vec![
        case(range, "made-up targets", |field, counters| {
            let mut runner = TestRunner::deterministic();
            for place in &PLACES {
                let targets = made_up(&mut runner)?;
                field.send(counters, place, &targets)?;
                field.send_by_http2(counters, place, &targets)?;
            }
            Ok(())
        }),
        case(range, "long paths", long),
        case(range, "targets of other forms", other_forms),
        case(range, "what is inside gets in", inside),
    ];
    for place in &PLACES {
        let both: [(&str, Sweep); 2] = [
            ("lists of targets", listed),
            ("each byte in a path", each_byte),
        ];
        trials.extend(both.map(|(name, sweep)| {
            let run = move |field: &Field<'_>, counters: &Counters| sweep(field, counters, place);
            let trial = case(range, &format!("{name}, {}", place.exempting), run);
            // They take long, so only the shorter one runs by default, on the shipped settings.
            let is_short = place.exempting == SHIPPED.exempting && name == "lists of targets";
            trial.with_ignored_flag(!is_short)
        }));
    }
    trials
}

fn listed(field: &Field<'_>, counters: &Counters, place: &Place) -> Result<()> {
    let targets: Vec<_> = BEGINNINGS
        .iter()
        .flat_map(|beginning| PARTS.iter().map(move |part| (beginning, part)))
        .flat_map(|both| ENDS.iter().map(move |end| (both, end)))
        .map(|((beginning, part), end)| [beginning.as_bytes(), part, end.as_bytes()].concat())
        .collect();
    field.send(counters, place, &targets)
}

/// Each byte raw, encoded, and encoded twice, where it may end a segment, be a dot, or be between dots.
fn each_byte(field: &Field<'_>, counters: &Counters, place: &Place) -> Result<()> {
    let places = [
        ("/v1/astro", "x"),
        ("/v1/astro/..", "/x"),
        ("/v1/astro/.", "./x"),
        ("/v1/astro/", "../x"),
        ("/public", "x"),
        ("/public/..", "/x"),
        ("/public/.", "./x"),
        ("/open/", "../x"),
        ("/healthz", ""),
        ("", "/healthz"),
        ("/v1/keys/me", ""),
    ];
    let mut targets = Vec::new();
    for byte in 0..=u8::MAX {
        // After a raw line feed, the rest would be another request.
        let raw = (byte != b'\n').then(|| vec![byte]);
        let encoded = [format!("%{byte:02x}"), format!("%25{byte:02X}")].map(String::into_bytes);
        for byte in raw.into_iter().chain(encoded) {
            targets
                .extend(places.map(|(before, behind)| {
                    [before.as_bytes(), &byte, behind.as_bytes()].concat()
                }));
        }
    }
    field.send(counters, place, &targets)?;
    field.send_by_http2(counters, place, &targets)
}

fn made_up(runner: &mut TestRunner) -> Result<Vec<Vec<u8>>> {
    let words: Vec<&[u8]> = vec![b"x", b"v1", b"public", b"astro", b"healthz", b"admin"];
    let part = select(PARTS.iter().copied().chain(words).collect::<Vec<_>>());
    let target = (select(BEGINNINGS.to_vec()), vec(part, 0..7))
        .prop_map(|(beginning, parts)| [beginning.as_bytes(), &parts.concat()].concat());
    (0..MADE_UP)
        .map(|_| {
            let tree = target
                .new_tree(runner)
                .map_err(|reason| anyhow!("{reason}"))?;
            Ok(tree.current())
        })
        .collect()
}

/// Paths of 8 KiB and 60 KiB, some of which climb.
fn long(field: &Field<'_>, counters: &Counters) -> Result<()> {
    let mut targets = Vec::new();
    for beginning in ["/v1/astro/", "/public/", "/v1/x/"] {
        for part in [
            "x", "/", "x/", "./", "../", "%2e%2e/", "%2f", "..%2f", ";", "%25", "a/../", "\\", "%",
        ] {
            for size in [8, 60] {
                let target = beginning.to_owned() + &part.repeat(size * 1024 / part.len());
                targets.push(target.clone().into_bytes());
                targets.push((target + "/../v1/x").into_bytes());
            }
        }
    }
    for place in [&SHIPPED, &PLACES[0], &PLACES[4], &PLACES[7]] {
        field.send(counters, place, &targets)?;
    }
    Ok(())
}

/// Authority-form, asterisk-form, and invalid targets, also with other methods.
fn other_forms(field: &Field<'_>, counters: &Counters) -> Result<()> {
    let targets = [
        "*",
        "",
        "test:80",
        "public",
        "healthz",
        "v1/astro",
        "?/healthz",
        "#/healthz",
        "http:",
        "http:/healthz",
        "http:///healthz",
        "http://test",
        "http://test?/healthz",
        "http://test#/healthz",
        "HTTP://TEST/x",
        "ftp://test/x",
        "/x /healthz",
        "/x\t/healthz",
        "/x HTTP/1.1 /healthz",
        "/x HTTP/1.0",
        "/x\u{a0}/healthz",
    ];
    let key = format!("x-api-key: {}", field.key);
    let id = format!("{ENTITLED}: {ID}");
    for place in &PLACES {
        for method in ["GET", "POST", "OPTIONS", "CONNECT", "TRACE", "get", "PURGE"] {
            for target in targets {
                for (who, lines) in [
                    (Who::RuleAuth, vec![]),
                    (Who::Key, vec![key.as_str(), id.as_str()]),
                ] {
                    let listener = place.listener(who);
                    let to = field.range.envoy.listener(listener)?;
                    let request = client::head(method, target, lines);
                    let answer = client::send(to, request.as_bytes())?.response();
                    counters.count("another form", end_of(&answer));
                    let status = answer?.status;
                    let refused = [400, 401, 403, 404, 405, 426].contains(&status);
                    ensure!(refused, "{listener}: {method} {target:?}: {status}");
                }
            }
        }
    }
    Ok(())
}

/// The opposite case: plain paths are let in everywhere.
fn inside(field: &Field<'_>, counters: &Counters) -> Result<()> {
    let own = [
        "/v1/astro",
        "/v1/astro/",
        "/v1/numerology/",
        "/v1/a-b",
        "/v1/astro/natal/2026",
    ];
    let more = [
        "?x=/../y",
        "/a.b",
        "/a..b",
        "/...",
        "/a%20b",
        "/caf%C3%A9",
        "/~x",
        "/a+b",
        "/a:b@c",
        "/100%25",
    ];
    let targets: Vec<_> = own
        .iter()
        .flat_map(|own| more.map(|more| format!("{own}{more}").into_bytes()))
        .chain(own.map(|own| own.as_bytes().to_vec()))
        .collect();
    for place in &PLACES {
        let listener = place.strict;
        let to = field.range.envoy.listener(listener)?;
        for target in &targets {
            let target = std::str::from_utf8(target)?;
            let lines = [
                format!("x-api-key: {}", field.key),
                format!("{ENTITLED}: {ID}"),
            ];
            let answer = client::get(to, target, lines.iter().map(String::as_str));
            counters.count("inside", end_of(&answer));
            let answer = answer?;
            ensure!(
                super::is_forwarded(&answer),
                "{listener}: {target}: {answer:?}"
            );
        }
    }
    Ok(())
}
