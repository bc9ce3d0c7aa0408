//! Whole documents that are not a configuration.

use super::Broken;

/// The size of the largest documents.
const MB: usize = 1 << 20;

/// What it is, and its bytes.
type Document = (&'static str, &'static [u8]);

/// Documents without `lookup.cluster`.
const EMPTY: &[Document] = &[
    ("empty", b""),
    ("spaces", b" \t\r\n "),
    ("no fields", b"{}"),
];

/// Documents that do not begin as a JSON object does.
const NOT_AN_OBJECT: &[Document] = &[
    ("a zero byte", b"\0"),
    ("null", b"null"),
    ("true", b"true"),
    ("a number", b"7"),
    ("an array", b"[]"),
    (
        "an array with the object",
        br#"[{"lookup":{"cluster":"auth"}}]"#,
    ),
    ("a string", br#""auth""#),
    (
        "JSON in a string",
        br#""{\"lookup\":{\"cluster\":\"auth\"}}""#,
    ),
    ("YAML", b"lookup:\n  cluster: auth\n"),
    ("YAML after its marker", b"---\nlookup: {cluster: auth}\n"),
    ("TOML", b"[lookup]\ncluster = \"auth\"\n"),
    ("XML", b"<lookup cluster=\"auth\"/>"),
    ("Base64", b"eyJsb29rdXAiOnsiY2x1c3RlciI6ImF1dGgifX0="),
    (
        "a protobuf Struct",
        b"\n\x1f\n\x06lookup\x12\x15*\x13\n\x11\n\x07cluster\x12\x06\x1a\x04auth",
    ),
    (
        "a protobuf Struct whose length is the byte of a brace",
        b"\n{\n\x06lookup\x12\x15*\x13\n\x11\n\x07cluster\x12\x06\x1a\x04auth",
    ),
    ("gzip", b"\x1f\x8b\x08\x00\x00\x00\x00\x00"),
    (
        "a byte order mark",
        b"\xef\xbb\xbf{\"lookup\":{\"cluster\":\"auth\"}}",
    ),
    ("UTF-16", b"\xff\xfe{\0\"\0l\0"),
    ("an unexpanded variable", b"${KEYSTILE_CONFIG}"),
];

/// Documents that begin as a JSON object does, but are not JSON.
const NOT_JSON: &[Document] = &[
    ("YAML's flow style", b"{lookup: {cluster: auth}}"),
    ("UTF-16 without a byte order mark", b"{\0\"\0l\0o\0"),
    ("Latin-1 in a value", b"{\"environment\":\"prod\xfcktion\"}"),
    ("Latin-1 in a name", b"{\"pr\xfcfung\":1}"),
    (
        "an overlong slash",
        b"{\"exempt\":{\"paths\":[\"\xc0\xaf\"]}}",
    ),
    (
        "half a surrogate in UTF-8",
        b"{\"environment\":\"\xed\xa0\x80\"}",
    ),
    ("half an escaped surrogate", br#"{"environment":"\ud800"}"#),
    ("an unknown escape", br#"{"environment":"\x41"}"#),
    ("half an escape", br#"{"environment":"\u00"}"#),
    ("a line break in a string", b"{\"environment\":\"a\nb\"}"),
    ("a tab in a string", b"{\"environment\":\"a\tb\"}"),
    ("a zero byte in a string", b"{\"environment\":\"a\0b\"}"),
    (
        "a vertical tab between tokens",
        b"{\x0b\"lookup\":{\"cluster\":\"auth\"}}",
    ),
    (
        "a no-break space between tokens",
        b"{\xc2\xa0\"lookup\":{\"cluster\":\"auth\"}}",
    ),
    (
        "a zero byte after the object",
        b"{\"lookup\":{\"cluster\":\"auth\"}}\0",
    ),
    (
        "a word after the object",
        br#"{"lookup":{"cluster":"auth"}} x"#,
    ),
    (
        "a brace after the object",
        br#"{"lookup":{"cluster":"auth"}}}"#,
    ),
    (
        "two objects",
        br#"{"lookup":{"cluster":"auth"}}{"cache":{}}"#,
    ),
    (
        "two objects on two lines",
        b"{\"lookup\":{\"cluster\":\"auth\"}}\n{}\n",
    ),
    ("a trailing comma", br#"{"lookup":{"cluster":"auth"},}"#),
    (
        "a trailing comma in an array",
        br#"{"exempt":{"paths":["/a",]}}"#,
    ),
    (
        "a missing comma",
        br#"{"lookup":{"cluster":"auth"} "cache":{}}"#,
    ),
    ("a missing colon", br#"{"lookup" {"cluster":"auth"}}"#),
    ("an equals sign", br#"{"lookup" = {"cluster":"auth"}}"#),
    (
        "a bracket instead of a brace",
        br#"{"lookup":{"cluster":"auth"]}"#,
    ),
    ("names without quotes", br#"{lookup:{cluster:"auth"}}"#),
    ("a number as a name", br#"{7:{}}"#),
    ("single quotes", b"{'lookup':{'cluster':'auth'}}"),
    ("typographic quotes", "{“lookup”:{}}".as_bytes()),
    (
        "a line comment",
        b"{\"lookup\":{\"cluster\":\"auth\"} // hunter2-hunter2\n}",
    ),
    (
        "a block comment",
        b"{/* hunter2-hunter2 */\"lookup\":{\"cluster\":\"auth\"}}",
    ),
    (
        "a hash comment",
        b"{# hunter2-hunter2\n\"lookup\":{\"cluster\":\"auth\"}}",
    ),
    ("NaN", br#"{"cache":{"jitter":NaN}}"#),
    ("Infinity", br#"{"cache":{"jitter":Infinity}}"#),
    ("minus Infinity", br#"{"cache":{"jitter":-Infinity}}"#),
    ("a number out of range", br#"{"cache":{"jitter":1e400}}"#),
    ("a number with a plus sign", br#"{"cache":{"jitter":+0.1}}"#),
    (
        "a number without an integer part",
        br#"{"cache":{"jitter":.1}}"#,
    ),
    (
        "a number without digits after the point",
        br#"{"cache":{"jitter":0.}}"#,
    ),
    (
        "a number without an exponent after the e",
        br#"{"cache":{"jitter":1e}}"#,
    ),
    (
        "a number in hex",
        br#"{"replies":{"retry_after_seconds":0x10}}"#,
    ),
    (
        "a number with a leading zero",
        br#"{"replies":{"retry_after_seconds":010}}"#,
    ),
    (
        "a number with a space",
        br#"{"cache":{"max_allow_entries":50 000}}"#,
    ),
    (
        "a number with a comma",
        br#"{"cache":{"max_allow_entries":50,000}}"#,
    ),
    (
        "a number with underscores",
        br#"{"cache":{"max_allow_entries":50_000}}"#,
    ),
    ("a truncated number", br#"{"cache":{"jitter":-"#),
    ("True", br#"{"credential":{"forward":True}}"#),
    ("yes", br#"{"credential":{"forward":yes}}"#),
    ("None", br#"{"environment":None}"#),
    ("undefined", br#"{"environment":undefined}"#),
    (
        "a trailing comma after a line break",
        b"\n{\"lookup\":{\"cluster\":\"auth\"},}",
    ),
    (
        "a trailing comma after spaces",
        b"  {\"lookup\":{\"cluster\":\"auth\"},}",
    ),
    (
        "an unexpanded template",
        br#"{"lookup": {{ .Values.lookup | toJson }}}"#,
    ),
];

pub(super) fn all() -> Vec<Broken> {
    let broken = |name: String, text: Vec<u8>, at: &str| Broken {
        name,
        text,
        at: at.to_owned(),
        problem: None,
    };
    let mut all = Vec::new();
    let tables = [
        (EMPTY, "lookup.cluster"),
        (NOT_AN_OBJECT, "configuration"),
        (NOT_JSON, "configuration"),
    ];
    for (documents, at) in tables {
        let documents = documents.iter();
        all.extend(documents.map(|(name, text)| broken((*name).to_owned(), text.to_vec(), at)));
    }
    let mut add = |name: String, text: String, at: &str| {
        all.push(broken(name, text.into_bytes(), at));
    };
    for depth in [127, 128, 10_000, 500_000] {
        let (open, close) = ("[".repeat(depth), "]".repeat(depth));
        let text = format!(r#"{{"environment":{open}{close}}}"#);
        add(format!("{depth} nested arrays"), text, "configuration");
        let (open, close) = (r#"{"a":"#.repeat(depth), "}".repeat(depth));
        let text = format!(r#"{{"environment":{open}1{close}}}"#);
        add(format!("{depth} nested objects"), text, "configuration");
        let text = "[".repeat(depth);
        add(format!("{depth} brackets"), text, "configuration");
        let text = "{".repeat(depth);
        add(format!("{depth} braces"), text, "configuration");
    }
    let large = [
        ("spaces", " ".repeat(MB), "lookup.cluster"),
        ("letters", "x".repeat(MB), "configuration"),
        (
            "digits",
            format!(r#"{{"cache":{{"jitter":{}}}}}"#, "9".repeat(MB)),
            "configuration",
        ),
        (
            "a string without an end",
            format!("{{\"environment\":\"{}", "x".repeat(MB)),
            "configuration",
        ),
    ];
    for (what, text, at) in large {
        add(format!("1 MB of {what}"), text, at);
    }
    all
}
