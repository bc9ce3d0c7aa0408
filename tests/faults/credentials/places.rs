//! Keys in places where they are no credential, and more than one key in a request.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use keystile_e2e::client;
use keystile_e2e::counters::Counters;
use keystile_e2e::recording_upstream::{ENTITLED, NAMED};
use libtest_mimic::Trial;

use super::{Field, KEY, Line, OTHER, Probe, line};
use crate::range::{OnDemand, PATH, Range, Steady, end_of, key_id};

type Case = fn(&Field, &Range, &Counters) -> Result<()>;

pub(super) fn trials(range: &Arc<OnDemand>, field: &Field) -> Vec<Trial> {
    let rows: [(&str, Case); 6] = [
        ("a key elsewhere is none", elsewhere),
        ("a key in body or trailers is none", behind_the_head),
        ("a key in lines that are no header's", damaged_lines),
        ("two sources in each order", two_sources),
        ("repeated and joined", repeated),
        ("identity headers in any spelling", identity),
    ];
    let trials = rows.into_iter().map(|(name, case)| {
        let field = field.clone();
        range.trial(&format!("credentials: {name}"), move |range, name| {
            range.case(name, Steady::on("steady")?, |counters| {
                case(&field, range, counters)
            })
        })
    });
    trials.collect()
}

/// Keys in the target, and in headers that are not sources.
fn elsewhere(field: &Field, range: &Range, counters: &Counters) -> Result<()> {
    const HEADERS: [&str; 34] = [
        "api-key",
        "apikey",
        "x-apikey",
        "x-api-key2",
        "xx-api-key",
        "x-api-ke",
        "x-api_key",
        "x_api_key",
        "x-api.key",
        "x-access-token",
        "x-auth-token",
        "x-authorization",
        "authorization2",
        "authentication",
        "proxy-authorization",
        "proxy-authenticate",
        "www-authenticate",
        "x-forwarded-authorization",
        "x-forwarded-access-token",
        "x-original-authorization",
        "x-amz-security-token",
        "x-goog-api-key",
        "ocp-apim-subscription-key",
        "bearer",
        "token",
        "key",
        "cookie",
        "set-cookie",
        "cookie2",
        "from",
        "user-agent",
        "referer",
        "x-request-id",
        "traceparent",
    ];
    let spellings = [
        KEY.to_owned(),
        format!("Bearer {KEY}"),
        format!("x-api-key={KEY}"),
        format!("authorization=Bearer {KEY}; x-api-key: {KEY}"),
    ];
    let headers = HEADERS.iter().flat_map(|header| {
        let of_spelling = |value: &String| Probe::new(*header, vec![line(header, value)]);
        spellings.iter().map(of_spelling).collect::<Vec<_>>()
    });
    let targets = [
        "{path}?x-api-key={key}",
        "{path}?api_key={key}&access_token={key}&authorization=Bearer%20{key}",
        "{path}?{key}",
        "{path}?authorization:Bearer+{key}",
        "{path}/{key}",
        "{path};x-api-key={key}",
        "{path};authorization=Bearer%20{key}",
        "{path}%0d%0ax-api-key:%20{key}%0d%0a",
        "{path}?%0d%0ax-api-key:%20{key}%0d%0a",
        "http://{key}@test{path}",
        "http://bearer:{key}@test{path}",
        "http://test{path}?x-api-key={key}",
    ];
    let targets = targets.map(|target| {
        let target = target.replace("{path}", PATH).replace("{key}", KEY);
        Probe {
            target,
            ..Probe::new("in the target", vec![])
        }
    });
    let probes: Vec<_> = headers.chain(targets).collect();
    field.send(range, counters, "default", &probes)?;
    // The same, beside an empty credential or one of another scheme.
    for beside in [
        line("x-api-key", ""),
        line("authorization", ""),
        line("authorization", "Bearer"),
        line("authorization", "Basic dTpw"),
    ] {
        let probes: Vec<_> = probes
            .iter()
            .cloned()
            .map(|mut probe| {
                probe.lines.push(beside.clone());
                probe
            })
            .collect();
        field.send(range, counters, "default", &probes)?;
    }
    // Targets that Envoy may refuse do not get in either.
    for target in ["{path}#x-api-key={key}", "{path}#?x-api-key={key}"] {
        let target = target.replace("{path}", PATH).replace("{key}", KEY);
        let answer = client::get(range.envoy.listener("default")?, &target, []);
        counters.count("a fragment", end_of(&answer));
        let status = answer?.status;
        ensure!([400, 401].contains(&status), "{target}: {status}");
    }
    Ok(())
}

/// A key in the body of a refused request cannot matter, as the body is not read. Trailers of an
/// allowed request with another key change nothing.
fn behind_the_head(_: &Field, range: &Range, counters: &Counters) -> Result<()> {
    let to = range.envoy.listener("default")?;
    let bodies = [
        (
            "content-type: application/x-www-form-urlencoded\r\n",
            format!("x-api-key={KEY}&access_token={KEY}"),
        ),
        (
            "content-type: application/json\r\n",
            format!("{{\"x-api-key\":\"{KEY}\",\"authorization\":\"Bearer {KEY}\"}}"),
        ),
        ("", format!("x-api-key: {KEY}\r\n\r\n")),
        (
            "",
            format!("\r\n\r\nGET {PATH} HTTP/1.1\r\nx-api-key: {KEY}\r\n\r\n"),
        ),
    ];
    let trailers = [
        format!("x-api-key: {KEY}\r\n"),
        format!("authorization: Bearer {KEY}\r\n"),
        format!("x-api-key: {OTHER}\r\nX_API_KEY: {OTHER}\r\nx-keystile-key-id: key_1\r\n"),
    ];
    let with_body = bodies
        .iter()
        .map(|(lines, body)| format!("{lines}content-length: {}\r\n\r\n{body}", body.len()));
    let with_trailers = trailers.iter().map(|trailers| {
        format!("te: trailers\r\ntrailer: x-api-key\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n{trailers}\r\n")
    });
    let head = format!("POST {PATH} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n");
    let id = key_id(KEY)?;
    for (index, rest) in with_body.chain(with_trailers).enumerate() {
        let answer =
            client::send(to, format!("{head}{rest}").as_bytes()).and_then(client::Sent::response);
        counters.count("without a key in the head", end_of(&answer));
        let answer = answer.with_context(|| rest.clone())?;
        ensure!(
            answer.text().contains("\"api_key_missing\""),
            "{rest}: {answer:?}"
        );

        let name = format!("behind-{index}");
        let lines = format!("x-api-key: {KEY}\r\n{ENTITLED}: {id}\r\n{NAMED}: {name}\r\n");
        let answer = client::send(to, format!("{head}{lines}{rest}").as_bytes())
            .and_then(client::Sent::response);
        counters.count("with a key in the head", end_of(&answer));
        ensure!(answer.is_ok_and(|a| a.status == 200), "{rest}");
        let arrived = range.upstream.named(&name);
        let [arrived] = &arrived[..] else {
            anyhow::bail!("{rest}: arrived {} times", arrived.len());
        };
        let behind = format!("{:?}", arrived.trailers);
        for word in [KEY, OTHER, "key_1"] {
            ensure!(!behind.contains(word), "{rest}: {arrived:?}");
        }
    }
    Ok(())
}

/// Lines that a lenient server reads as the header, or that Envoy folds into it. Whatever Envoy makes
/// of them, either the whole key is there or the request is refused.
fn damaged_lines(field: &Field, range: &Range, counters: &Counters) -> Result<()> {
    let to = range.envoy.listener("default")?;
    let (half, rest) = KEY.split_at(20);
    let id = key_id(KEY)?;
    // The lines, and the possible statuses: 400 from Envoy, 401 from the filter, or 200 if these lines
    // are the header according to HTTP.
    let rows: [(&str, String, &[u16]); 17] = [
        (
            "space before the colon",
            format!("x-api-key : {KEY}"),
            &[400, 401],
        ),
        (
            "tab before the colon",
            format!("x-api-key\t: {KEY}"),
            &[400, 401],
        ),
        (
            "space before the name",
            format!(" x-api-key: {KEY}"),
            &[400, 401],
        ),
        ("no colon", format!("x-api-key {KEY}"), &[400, 401]),
        ("no name", format!(": {KEY}"), &[400, 401]),
        ("two colons", format!("x-api-key:: {KEY}"), &[400, 401]),
        ("equals sign", format!("x-api-key={KEY}"), &[400, 401]),
        ("quoted name", format!("\"x-api-key\": {KEY}"), &[400, 401]),
        (
            "NUL in the name",
            format!("x-api-\0key: {KEY}"),
            &[400, 401],
        ),
        (
            "non-UTF-8 name",
            format!("x-api-key\u{fffd}: {KEY}"),
            &[400, 401],
        ),
        (
            "Kelvin sign in the name",
            format!("x-api-\u{212a}ey: {KEY}"),
            &[400, 401],
        ),
        (
            "folded in the key",
            format!("x-api-key: {half}\r\n {rest}"),
            &[400, 401],
        ),
        (
            "folded in the key by a tab",
            format!("x-api-key: {half}\r\n\t{rest}"),
            &[400, 401],
        ),
        (
            "folded in a bearer's key",
            format!("authorization: Bearer {half}\r\n {rest}"),
            &[400, 401],
        ),
        ("no space", format!("x-api-key:{KEY}"), &[200]),
        // RFC 9112 section 5.2: a fold is equivalent to spaces.
        (
            "folded before the key",
            format!("x-api-key:\r\n {KEY}"),
            &[200, 400, 401],
        ),
        (
            "folded behind the scheme",
            format!("authorization: Bearer\r\n {KEY}"),
            &[200, 400, 401],
        ),
    ];
    let lookups = field.0.lookups();
    let mut passed = 0;
    for (name, lines, statuses) in rows {
        // Marked as entitled only if it may get in.
        let mark = match statuses.contains(&200) {
            true => format!("{ENTITLED}: {id}\r\n"),
            false => String::new(),
        };
        let request = format!(
            "GET {PATH} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n{mark}x-first: 1\r\n{lines}\r\n\r\n"
        );
        let answer = client::send(to, request.as_bytes()).and_then(client::Sent::response);
        counters.count(name, end_of(&answer));
        let answer = answer.with_context(|| name)?;
        ensure!(statuses.contains(&answer.status), "{name}: {answer:?}");
        passed += usize::from(answer.status == 200);
    }
    let made = field.0.lookups() - lookups;
    ensure!(made == passed, "{made} lookups for {passed} keys");
    Ok(())
}

/// All pairs of values in the two sources, with their lines in both orders.
fn two_sources(field: &Field, range: &Range, counters: &Counters) -> Result<()> {
    let values: [&[u8]; 10] = [
        b"",
        b" \t",
        KEY.as_bytes(),
        OTHER.as_bytes(),
        b"aw_short",
        b"aw_0aB3dE-fG7hI_kLmN0pQrStUvWxYz1234567890",
        b"aw_0unknown-fG7hI_kLmN0pQrStUvWxYz1234567890",
        b"\xff\xfe",
        b"one two",
        b",",
    ];
    let schemes = ["Bearer ", "bearer\t", "Basic ", ""];
    let mut probes = Vec::new();
    for scheme in schemes {
        for authorization in values {
            for x_api_key in values {
                let authorization = [scheme.as_bytes(), authorization].concat();
                let mut lines = vec![
                    line("Authorization", authorization),
                    line("X-Api-Key", x_api_key),
                ];
                probes.push(Probe::new("authorization first", lines.clone()));
                lines.reverse();
                probes.push(Probe::new("x-api-key first", lines));
            }
        }
    }
    for listener in ["default", "forward"] {
        field.send(range, counters, listener, &probes)?;
        field.send_by_http2(range, counters, listener, &probes)?;
    }
    Ok(())
}

/// The same header 2 to 100 times, and values joined by characters that often join values.
fn repeated(field: &Field, range: &Range, counters: &Counters) -> Result<()> {
    let mut probes = Vec::new();
    let second: [&[u8]; 6] = [
        KEY.as_bytes(),
        OTHER.as_bytes(),
        b"",
        b" ",
        b"aw_short",
        b"\xff",
    ];
    for (header, scheme) in [
        ("x-api-key", ""),
        ("authorization", "Bearer "),
        ("authorization", ""),
    ] {
        let first = line(header, format!("{scheme}{KEY}"));
        for value in second {
            let again = line(
                &header.to_ascii_uppercase(),
                [scheme.as_bytes(), value].concat(),
            );
            let other = line(header, value);
            for between in [vec![], vec![line("x-other", "1")]] {
                for again in [&again, &other] {
                    let one = std::slice::from_ref(&first);
                    let two = std::slice::from_ref(again);
                    probes.push(Probe::new("repeated", [one, &between, two].concat()));
                    probes.push(Probe::new("repeated", [two, &between, one].concat()));
                }
            }
        }
        for times in [2, 3, 10, 100] {
            let lines = vec![first.clone(); times];
            probes.push(Probe::new(format!("{times} times"), lines));
        }
        for join in [
            ",", ", ", " ,", ",,", ";", "; ", "|", "&", "\t,\t", " ", "%2c", "%0d%0a", "\\", "\"",
        ] {
            let values = [
                format!("{scheme}{KEY}{join}{KEY}"),
                format!("{scheme}{KEY}{join}{scheme}{KEY}"),
                format!("{scheme}{KEY}{join}"),
                format!("{scheme}{join}{KEY}"),
                format!("{join}{scheme}{KEY}"),
                format!("{join}{scheme}{KEY}{join}"),
                format!("{scheme}{KEY}{join}{OTHER}"),
            ];
            for value in values {
                probes.push(Probe::new(
                    format!("joined by {join:?}"),
                    vec![line(header, value)],
                ));
            }
        }
    }
    field.send(range, counters, "default", &probes)?;
    field.send_by_http2(range, counters, "default", &probes)
}

/// The upstream gets one identity header of each name, which is not the client's.
fn identity(_: &Field, range: &Range, counters: &Counters) -> Result<()> {
    let id = key_id(KEY)?;
    let mut names: Vec<_> = [
        "X-Keystile-Key-Id",
        "X-KEYSTILE-KEY-ID",
        "x-keystile_key.id",
        "X_Keystile-Key_ID",
        "X-KEYSTILE_ACCOUNT-ID",
        "X.KEYSTILE~ACCOUNT|ID",
    ]
    .map(str::to_owned)
    .into();
    // All characters that are neither letters nor digits (RFC 9110 section 5.6.2).
    for separator in "!#$%&'*+-.^_`|~".chars() {
        for name in ["x-keystile-key-id", "x-keystile-account-id"] {
            names.push(name.replace('-', &separator.to_string()));
        }
    }
    let to = range.envoy.listener("default")?;
    for (index, name) in names.iter().enumerate() {
        for times in [1, 2, 100] {
            for connection in ["", "x-keystile-key-id, x-keystile-account-id", "x-api-key"] {
                let case = format!("identity-{index}-{times}-{connection}");
                let spoofed: Line = line(name, "key_1");
                let mut lines = vec![spoofed; times];
                if !connection.is_empty() {
                    lines.push(line("connection", connection));
                }
                let refused = Probe::new(&case, lines.clone()).bytes(&[]);
                lines.insert(times / 2, line("x-api-key", KEY));
                let marks = [(ENTITLED, id.as_str()), (NAMED, &case)];
                let allowed = Probe::new(&case, lines).bytes(&marks);
                for (bytes, statuses) in [(refused, &[401][..]), (allowed, &[200, 401][..])] {
                    let answer =
                        keystile_e2e::keep_alive::KeepAliveClient::new(to).exchange(&bytes);
                    counters.count("spoofed", end_of(&answer));
                    let answer = answer.with_context(|| case.clone())?;
                    // If `connection` names the credential, the credential is hop-by-hop
                    // and may not count.
                    let statuses = if connection == "x-api-key" {
                        statuses
                    } else {
                        &statuses[..1]
                    };
                    ensure!(statuses.contains(&answer.status), "{case}: {answer:?}");
                    if answer.status == 200 {
                        let arrived = range.upstream.named(&case);
                        let [arrived] = &arrived[..] else {
                            anyhow::bail!("{case}: arrived {} times", arrived.len());
                        };
                        let spoofed = arrived.headers.iter().any(|(_, value)| value == "key_1");
                        ensure!(!spoofed, "{case}: {arrived:?}");
                        ensure!(
                            arrived.values("x-keystile-account-id").len() == 1,
                            "{arrived:?}"
                        );
                    }
                }
            }
        }
    }
    Ok(())
}
