//! The table of misbehaviour over HTTP/2.

use std::time::Duration;

use keystile_e2e::frames::Act::{self, Close, Frame, GoAway, Times, Wait};
use keystile_e2e::frames::Conduct;
use keystile_e2e::frames::On::{Connection, Lookup, Pushed, Unopened};
use keystile_e2e::http2::kind::{
    CONTINUATION, DATA, HEADERS, PING, PRIORITY, PUSH_PROMISE, RST_STREAM, SETTINGS, WINDOW_UPDATE,
};
use keystile_e2e::http2::{END_HEADERS, END_STREAM, block, frame};
use keystile_e2e::keys::GOOD;

use super::expect::Expect::{self, Internal, Refused};
use super::records::allowed;
use super::rows::TIMEOUT;

/// A row of the table.
pub(crate) struct Manners {
    pub(crate) name: String,
    pub(crate) conduct: Conduct,
    pub(crate) expect: Expect,
    /// Whether lookups arrive at all, and so can be made to wait.
    pub(crate) holds: bool,
}

/// Rows of a kind.
pub(crate) struct Table {
    pub(crate) name: &'static str,
    pub(crate) rows: Vec<Manners>,
    /// Whether lookups time out, or may.
    pub(crate) times_out: bool,
}

pub(crate) fn tables() -> Vec<Table> {
    let table = |name, rows| Table {
        name,
        rows,
        times_out: false,
    };
    let mut resets = resets();
    resets.extend(acts(after_resets()));
    vec![
        table("RST_STREAM", resets),
        table("GOAWAY", acts(goaway())),
        table("odd heads", acts(heads())),
        table("odd trailers", acts(trailers())),
        table("frames against the rules", acts(against_the_rules())),
        table("another greeting", greetings()),
        Table {
            times_out: true,
            ..table("too late, and floods", late())
        },
    ]
}

fn row(name: &str, acts: Vec<Act>, expect: Expect) -> Manners {
    Manners {
        name: name.to_owned(),
        conduct: Conduct::of(acts),
        expect,
        holds: true,
    }
}

fn acts(rows: Vec<(&str, Vec<Act>, Expect)>) -> Vec<Manners> {
    let rows = rows.into_iter();
    rows.map(|(name, acts, expect)| row(name, acts, expect))
        .collect()
}

/// Returns a header block of these fields in one frame.
fn head(flags: u8, fields: &[(&str, &str)]) -> Act {
    Frame(HEADERS, END_HEADERS | flags, Lookup, block(fields))
}

fn status(status: &str) -> Act {
    head(0, &[(":status", status)])
}

fn data(flags: u8, text: &str) -> Act {
    Frame(DATA, flags, Lookup, text.into())
}

fn reset(code: u32) -> Act {
    Frame(RST_STREAM, 0, Lookup, code.to_be_bytes().to_vec())
}

/// Returns the complete answer of a good auth cluster.
fn good() -> Vec<Act> {
    vec![status("200"), data(END_STREAM, GOOD)]
}

fn and(mut first: Vec<Act>, then: Vec<Act>) -> Vec<Act> {
    first.extend(then);
    first
}

/// Resets with each error code, and with one that does not exist.
fn resets() -> Vec<Manners> {
    let codes = (0..=13).chain([255]);
    codes
        .map(|code| {
            row(
                &format!("reset with code {code}"),
                vec![reset(code)],
                Internal,
            )
        })
        .collect()
}

fn after_resets() -> Vec<(&'static str, Vec<Act>, Expect)> {
    let half = &GOOD[..GOOD.len() / 2];
    vec![
        (
            "reset after the head",
            vec![status("200"), reset(0)],
            Internal,
        ),
        (
            "reset after the head of a 404",
            vec![status("404"), reset(0)],
            Internal,
        ),
        (
            "reset inside the body",
            vec![status("200"), data(0, half), reset(8)],
            Internal,
        ),
        (
            "reset after the body, without its end",
            vec![status("200"), data(0, GOOD), reset(0)],
            Internal,
        ),
        (
            "closed after the body, without its end",
            vec![status("200"), data(0, GOOD), Close],
            Internal,
        ),
        (
            "closed after the head",
            vec![status("200"), Close],
            Internal,
        ),
        ("closed without a frame", vec![Close], Internal),
        ("a whole answer", good(), allowed()),
        (
            "reset after a whole answer",
            and(good(), vec![reset(0)]),
            allowed(),
        ),
        (
            "not found",
            vec![head(END_STREAM, &[(":status", "404")])],
            Refused("api_key_not_found"),
        ),
    ]
}

fn goaway() -> Vec<(&'static str, Vec<Act>, Expect)> {
    vec![
        ("not for the lookup", vec![GoAway(false, 0)], Internal),
        (
            "not for the lookup, to calm down",
            vec![GoAway(false, 11)],
            Internal,
        ),
        (
            "not for the lookup, and closed",
            vec![GoAway(false, 0), Close],
            Internal,
        ),
        (
            "not for the lookup, and its answer",
            and(vec![GoAway(false, 0)], good()),
            Internal,
        ),
        (
            "for the lookup, and closed",
            vec![GoAway(true, 0), Close],
            Internal,
        ),
        (
            "for the lookup, and closed inside its body",
            vec![GoAway(true, 0), status("200"), data(0, GOOD), Close],
            Internal,
        ),
        (
            "for the lookup, and reset",
            vec![GoAway(true, 0), reset(7)],
            Internal,
        ),
        (
            "for the lookup, and its answer",
            and(vec![GoAway(true, 0)], good()),
            allowed(),
        ),
        (
            "between head and body of the lookup",
            vec![status("200"), GoAway(true, 0), data(END_STREAM, GOOD)],
            allowed(),
        ),
    ]
}

fn heads() -> Vec<(&'static str, Vec<Act>, Expect)> {
    let of = |fields: &[(&str, &str)]| vec![head(0, fields), data(END_STREAM, GOOD)];
    let long = "y".repeat(100);
    let many: Vec<_> = (0..1000).map(|_| ("x-many", "y")).collect();
    let large: Vec<_> = (0..700).map(|_| ("x-large", &*long)).collect();
    let with = |more: &[(&'static str, &str)]| {
        let fields = [&[(":status", "200")], more].concat();
        let bytes = block(&fields);
        // One frame cannot hold everything.
        let mut pieces: Vec<_> = bytes.chunks(16_000).collect();
        let last = pieces.pop().unwrap_or_default();
        let mut acts = Vec::new();
        for (at, piece) in pieces.into_iter().chain([last]).enumerate() {
            let kind = if at == 0 { HEADERS } else { CONTINUATION };
            let is_last = bytes.len().div_ceil(16_000) == at + 1;
            let flags = if is_last { END_HEADERS } else { 0 };
            acts.push(Frame(kind, flags, Lookup, piece.to_vec()));
        }
        and(acts, vec![data(END_STREAM, GOOD)])
    };
    vec![
        ("no status", of(&[("x", "y")]), Internal),
        ("no header at all", of(&[]), Internal),
        ("an empty status", of(&[(":status", "")]), Internal),
        ("a status of letters", of(&[(":status", "abc")]), Internal),
        (
            "a status of four digits",
            of(&[(":status", "2000")]),
            Internal,
        ),
        (
            "a status after a space",
            of(&[(":status", " 200")]),
            Internal,
        ),
        (
            "a status with its reason",
            of(&[(":status", "200 OK")]),
            Internal,
        ),
        ("a signed status", of(&[(":status", "+200")]), Internal),
        (
            "two statuses",
            of(&[(":status", "404"), (":status", "200")]),
            Internal,
        ),
        (
            "status behind a header",
            of(&[("x", "y"), (":status", "200")]),
            Internal,
        ),
        (
            "a pseudo-header of requests",
            of(&[(":status", "200"), (":path", "/")]),
            Internal,
        ),
        (
            "an unknown pseudo-header",
            of(&[(":status", "200"), (":verdict", "active")]),
            Internal,
        ),
        (
            "a name in capitals",
            of(&[(":status", "200"), ("X-Y", "z")]),
            Internal,
        ),
        (
            "an empty name",
            of(&[(":status", "200"), ("", "z")]),
            Internal,
        ),
        (
            "a NUL in a header",
            of(&[(":status", "200"), ("x", "\0")]),
            Internal,
        ),
        (
            "a line break in a header",
            of(&[(":status", "200"), ("x", "\r\n")]),
            Internal,
        ),
        (
            "a length that is too long",
            of(&[(":status", "200"), ("content-length", "1000")]),
            Internal,
        ),
        (
            "a length that is too short",
            of(&[(":status", "200"), ("content-length", "20")]),
            Internal,
        ),
        (
            "status 503",
            vec![head(END_STREAM, &[(":status", "503")])],
            Internal,
        ),
        (
            "status 200 without a body",
            vec![head(END_STREAM, &[(":status", "200")])],
            Internal,
        ),
        ("status 999", of(&[(":status", "999")]), Internal),
        ("1000 headers", with(&many), Internal),
        ("headers of 70 KB", with(&large), Internal),
        (
            "a second header block",
            and(vec![status("404")], good()),
            Internal,
        ),
        (
            "103 before the answer",
            and(vec![status("103")], good()),
            allowed(),
        ),
        (
            "103 as the answer",
            vec![head(END_STREAM, &[(":status", "103")])],
            Internal,
        ),
        (
            "a body of 80 KB",
            vec![
                status("200"),
                data(0, GOOD),
                Times(5, vec![data(0, &" ".repeat(16_384))]),
                data(END_STREAM, " "),
            ],
            Internal,
        ),
    ]
}

fn trailers() -> Vec<(&'static str, Vec<Act>, Expect)> {
    let of = |flags: u8, fields: &[(&str, &str)]| {
        vec![status("200"), data(0, GOOD), head(flags, fields)]
    };
    vec![
        (
            "another :status",
            of(END_STREAM, &[(":status", "404")]),
            Internal,
        ),
        (
            "the same :status",
            of(END_STREAM, &[(":status", "200")]),
            Internal,
        ),
        (
            "another :status, of an answer without a body",
            vec![status("404"), head(END_STREAM, &[(":status", "200")])],
            Internal,
        ),
        ("no end", and(of(0, &[("x", "y")]), vec![Close]), Internal),
        (
            "a name in capitals",
            of(END_STREAM, &[("X", "y")]),
            Internal,
        ),
        (
            "another status, in words",
            of(
                END_STREAM,
                &[("status", "revoked"), ("cache-control", "no-store")],
            ),
            allowed(),
        ),
    ]
}

fn against_the_rules() -> Vec<(&'static str, Vec<Act>, Expect)> {
    let on = |on, flags| {
        Frame(
            HEADERS,
            END_HEADERS | flags,
            on,
            block(&[(":status", "404")]),
        )
    };
    let promise = [&2_u32.to_be_bytes()[..], &block(&[(":method", "GET")])].concat();
    let frame_of = |kind, on, payload: &[u8]| Frame(kind, 0, on, payload.to_vec());
    vec![
        (
            "a body before its head",
            and(vec![data(0, GOOD)], good()),
            Internal,
        ),
        (
            "an answer on no stream",
            vec![on(Connection, END_STREAM)],
            Internal,
        ),
        (
            "an answer on a stream nobody opened",
            vec![on(Unopened, END_STREAM)],
            Internal,
        ),
        (
            "an answer on a stream of the server",
            vec![on(Pushed, END_STREAM)],
            Internal,
        ),
        (
            "a promise",
            vec![Frame(PUSH_PROMISE, END_HEADERS, Lookup, promise)],
            Internal,
        ),
        (
            "a header block that is none",
            vec![Frame(HEADERS, END_HEADERS, Lookup, vec![0xff; 16])],
            Internal,
        ),
        (
            "a header block that refers to nothing",
            vec![Frame(HEADERS, END_HEADERS, Lookup, vec![0xfe])],
            Internal,
        ),
        (
            "a frame between parts of a header block",
            vec![
                Frame(HEADERS, 0, Lookup, block(&[(":status", "200")])),
                data(END_STREAM, GOOD),
            ],
            Internal,
        ),
        (
            "a frame that is too large",
            and(
                vec![status("200")],
                vec![Frame(DATA, END_STREAM, Lookup, vec![b' '; 16_385 + 1024])],
            ),
            Internal,
        ),
        (
            "a window that grows by nothing",
            vec![frame_of(WINDOW_UPDATE, Lookup, &[0; 4])],
            Internal,
        ),
        (
            "a window beyond all measure",
            Vec::from([0, 1].map(|_| frame_of(WINDOW_UPDATE, Connection, &[0x7f, 255, 255, 255]))),
            Internal,
        ),
        (
            "settings that are cut off",
            vec![frame_of(SETTINGS, Connection, &[0; 5])],
            Internal,
        ),
        (
            "settings on a stream",
            vec![frame_of(SETTINGS, Lookup, &[])],
            Internal,
        ),
        (
            "a ping that is cut off",
            vec![frame_of(PING, Connection, &[0; 7])],
            Internal,
        ),
        (
            "10,000 frames without a byte",
            and(
                vec![status("200"), Times(10_000, vec![data(0, "")])],
                vec![data(END_STREAM, GOOD)],
            ),
            Internal,
        ),
        (
            "a header block of 10 MB",
            vec![
                Frame(HEADERS, 0, Lookup, block(&[(":status", "200")])),
                Times(
                    640,
                    vec![Frame(
                        CONTINUATION,
                        0,
                        Lookup,
                        block(&[("x", "y")]).repeat(3276),
                    )],
                ),
                Frame(CONTINUATION, END_HEADERS, Lookup, Vec::new()),
                data(END_STREAM, GOOD),
            ],
            Internal,
        ),
        (
            "an unknown frame before the answer",
            and(vec![frame_of(250, Lookup, b"?")], good()),
            allowed(),
        ),
    ]
}

/// What the server sends before any lookup.
fn greetings() -> Vec<Manners> {
    let settings = |id: u16, value: u32| {
        let payload = [&id.to_be_bytes()[..], &value.to_be_bytes()].concat();
        frame(SETTINGS, 0, 0, &payload)
    };
    let of = |name: &str, greeting: &[u8], expect: Expect, holds: bool| Manners {
        name: name.to_owned(),
        conduct: Conduct {
            greeting: greeting.to_vec(),
            acts: good(),
        },
        expect,
        holds,
    };
    vec![
        of(
            "HTTP/1.1",
            b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n",
            Internal,
            false,
        ),
        of(
            "an alert of TLS",
            b"\x15\x03\x03\x00\x02\x02\x46",
            Internal,
            false,
        ),
        of(
            "a frame that is no settings",
            &frame(PING, 0, 0, &[0; 8]),
            Internal,
            false,
        ),
        of("settings that cannot be", &settings(2, 2), Internal, false),
        of(
            "a window that cannot be",
            &settings(4, u32::MAX),
            Internal,
            false,
        ),
        of("one stream at a time", &settings(3, 1), allowed(), false),
        of("no window for requests", &settings(4, 0), allowed(), true),
        of("no table of headers", &settings(1, 0), allowed(), true),
    ]
}

/// Rows that time out. Floods do too, unless Envoy ends them first.
fn late() -> Vec<Manners> {
    let soon_after = TIMEOUT + Duration::from_millis(200);
    let flood = |kind, payload: &[u8]| {
        vec![Times(
            10_000,
            vec![Frame(kind, 0, Connection, payload.to_vec())],
        )]
    };
    let mut rows = acts(vec![
        ("silence", vec![], Internal),
        ("a head and silence", vec![status("200")], Internal),
        (
            "the head of a 404 and silence",
            vec![status("404")],
            Internal,
        ),
        (
            "a body without an end",
            vec![status("200"), data(0, GOOD)],
            Internal,
        ),
        (
            "half a header block",
            vec![Frame(
                HEADERS,
                END_STREAM,
                Lookup,
                block(&[(":status", "404")]),
            )],
            Internal,
        ),
        ("103 and silence", vec![status("103")], Internal),
        (
            "goaway for the lookup, and silence",
            vec![GoAway(true, 0)],
            Internal,
        ),
        (
            "slow past the timeout",
            and(vec![Wait(soon_after)], good()),
            Internal,
        ),
        ("10,000 settings", flood(SETTINGS, &[]), Internal),
        ("10,000 pings", flood(PING, &[0; 8]), Internal),
        (
            "10,000 windows",
            flood(WINDOW_UPDATE, &[0, 0, 0, 1]),
            Internal,
        ),
        (
            "10,000 priorities",
            vec![Times(
                10_000,
                vec![Frame(PRIORITY, 0, Lookup, vec![0, 0, 0, 0, 1])],
            )],
            Internal,
        ),
    ]);
    let no_stream = [&3_u16.to_be_bytes()[..], &0_u32.to_be_bytes()].concat();
    rows.push(Manners {
        name: "no stream at a time".to_owned(),
        conduct: Conduct {
            greeting: frame(SETTINGS, 0, 0, &no_stream),
            acts: Vec::new(),
        },
        expect: Internal,
        holds: false,
    });
    rows
}
