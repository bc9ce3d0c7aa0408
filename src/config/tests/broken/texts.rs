//! Texts that are not a configuration at all.

use super::Broken;

/// Name, text, and the path with which the message begins.
const TEXTS: &[(&str, &[u8], &str)] = &[
    ("empty", b"", "lookup.cluster"),
    ("blank", b" \t\r\n ", "lookup.cluster"),
    ("no fields", b"{}", "lookup.cluster"),
    ("a byte of zero", b"\0", "configuration"),
    ("null", b"null", "configuration"),
    ("true", b"true", "configuration"),
    ("a number", b"7", "configuration"),
    ("an array", b"[]", "configuration"),
    (
        "an array of one",
        br#"[{"lookup":{"cluster":"auth"}}]"#,
        "configuration",
    ),
    ("a string", br#""auth""#, "configuration"),
    (
        "JSON in a string",
        br#""{\"lookup\":{\"cluster\":\"auth\"}}""#,
        "configuration",
    ),
    ("YAML", b"lookup:\n  cluster: auth\n", "configuration"),
    (
        "YAML behind its mark",
        b"---\nlookup: {cluster: auth}\n",
        "configuration",
    ),
    (
        "YAML's flow style",
        b"{lookup: {cluster: auth}}",
        "configuration",
    ),
    ("TOML", b"[lookup]\ncluster = \"auth\"\n", "configuration"),
    ("XML", b"<lookup cluster=\"auth\"/>", "configuration"),
    (
        "Base64",
        b"eyJsb29rdXAiOnsiY2x1c3RlciI6ImF1dGgifX0=",
        "configuration",
    ),
    (
        "a protobuf Struct",
        b"\n\x1f\n\x06lookup\x12\x15*\x13\n\x11\n\x07cluster\x12\x06\x1a\x04auth",
        "configuration",
    ),
    (
        "a protobuf Struct whose length is the code of a brace",
        b"\n{\n\x06lookup\x12\x15*\x13\n\x11\n\x07cluster\x12\x06\x1a\x04auth",
        "configuration",
    ),
    ("gzip", b"\x1f\x8b\x08\x00\x00\x00\x00\x00", "configuration"),
    (
        "a byte order mark",
        b"\xef\xbb\xbf{\"lookup\":{\"cluster\":\"auth\"}}",
        "configuration",
    ),
    ("UTF-16", b"\xff\xfe{\0\"\0l\0", "configuration"),
    ("UTF-16 without a mark", b"{\0\"\0l\0o\0", "configuration"),
    (
        "Latin-1 in a value",
        b"{\"environment\":\"prod\xfcktion\"}",
        "configuration",
    ),
    ("Latin-1 in a name", b"{\"pr\xfcfung\":1}", "configuration"),
    (
        "an overlong slash",
        b"{\"exempt\":{\"paths\":[\"\xc0\xaf\"]}}",
        "configuration",
    ),
    (
        "half a surrogate in UTF-8",
        b"{\"environment\":\"\xed\xa0\x80\"}",
        "configuration",
    ),
    (
        "half an escaped surrogate",
        br#"{"environment":"\ud800"}"#,
        "configuration",
    ),
    (
        "an unknown escape",
        br#"{"environment":"\x41"}"#,
        "configuration",
    ),
    (
        "half an escape",
        br#"{"environment":"\u00"}"#,
        "configuration",
    ),
    (
        "a line break in a string",
        b"{\"environment\":\"a\nb\"}",
        "configuration",
    ),
    (
        "a tabulator in a string",
        b"{\"environment\":\"a\tb\"}",
        "configuration",
    ),
    (
        "a zero in a string",
        b"{\"environment\":\"a\0b\"}",
        "configuration",
    ),
    (
        "a vertical tabulator between",
        b"{\x0b\"lookup\":{\"cluster\":\"auth\"}}",
        "configuration",
    ),
    (
        "a no-break space between",
        b"{\xc2\xa0\"lookup\":{\"cluster\":\"auth\"}}",
        "configuration",
    ),
    (
        "a zero behind",
        b"{\"lookup\":{\"cluster\":\"auth\"}}\0",
        "configuration",
    ),
    (
        "a word behind",
        br#"{"lookup":{"cluster":"auth"}} x"#,
        "configuration",
    ),
    (
        "a brace behind",
        br#"{"lookup":{"cluster":"auth"}}}"#,
        "configuration",
    ),
    (
        "two objects",
        br#"{"lookup":{"cluster":"auth"}}{"cache":{}}"#,
        "configuration",
    ),
    (
        "two objects in lines",
        b"{\"lookup\":{\"cluster\":\"auth\"}}\n{}\n",
        "configuration",
    ),
    (
        "a comma too many",
        br#"{"lookup":{"cluster":"auth"},}"#,
        "configuration",
    ),
    (
        "a comma too many in an array",
        br#"{"exempt":{"paths":["/a",]}}"#,
        "configuration",
    ),
    (
        "a comma too few",
        br#"{"lookup":{"cluster":"auth"} "cache":{}}"#,
        "configuration",
    ),
    (
        "a colon too few",
        br#"{"lookup" {"cluster":"auth"}}"#,
        "configuration",
    ),
    (
        "an equals sign",
        br#"{"lookup" = {"cluster":"auth"}}"#,
        "configuration",
    ),
    (
        "a bracket for a brace",
        br#"{"lookup":{"cluster":"auth"]}"#,
        "configuration",
    ),
    (
        "names without quotes",
        br#"{lookup:{cluster:"auth"}}"#,
        "configuration",
    ),
    ("a number for a name", br#"{7:{}}"#, "configuration"),
    (
        "single quotes",
        b"{'lookup':{'cluster':'auth'}}",
        "configuration",
    ),
    (
        "typographic quotes",
        "{“lookup”:{}}".as_bytes(),
        "configuration",
    ),
    (
        "a line comment",
        b"{\"lookup\":{\"cluster\":\"auth\"} // hunter2-hunter2\n}",
        "configuration",
    ),
    (
        "a block comment",
        b"{/* hunter2-hunter2 */\"lookup\":{\"cluster\":\"auth\"}}",
        "configuration",
    ),
    (
        "a hash comment",
        b"{# hunter2-hunter2\n\"lookup\":{\"cluster\":\"auth\"}}",
        "configuration",
    ),
    ("NaN", br#"{"cache":{"jitter":NaN}}"#, "configuration"),
    (
        "Infinity",
        br#"{"cache":{"jitter":Infinity}}"#,
        "configuration",
    ),
    (
        "minus Infinity",
        br#"{"cache":{"jitter":-Infinity}}"#,
        "configuration",
    ),
    (
        "a number beyond all",
        br#"{"cache":{"jitter":1e400}}"#,
        "configuration",
    ),
    (
        "a number with a plus",
        br#"{"cache":{"jitter":+0.1}}"#,
        "configuration",
    ),
    (
        "a number without a whole part",
        br#"{"cache":{"jitter":.1}}"#,
        "configuration",
    ),
    (
        "a number without its fraction",
        br#"{"cache":{"jitter":0.}}"#,
        "configuration",
    ),
    (
        "a number without its exponent",
        br#"{"cache":{"jitter":1e}}"#,
        "configuration",
    ),
    (
        "a number in hex",
        br#"{"replies":{"retry_after_seconds":0x10}}"#,
        "configuration",
    ),
    (
        "a number with a zero before",
        br#"{"replies":{"retry_after_seconds":010}}"#,
        "configuration",
    ),
    (
        "a number with a blank",
        br#"{"cache":{"max_allow_entries":50 000}}"#,
        "configuration",
    ),
    (
        "a number with a comma",
        br#"{"cache":{"max_allow_entries":50,000}}"#,
        "configuration",
    ),
    (
        "a number with underscores",
        br#"{"cache":{"max_allow_entries":50_000}}"#,
        "configuration",
    ),
    (
        "a number cut off",
        br#"{"cache":{"jitter":-"#,
        "configuration",
    ),
    (
        "True",
        br#"{"credential":{"forward":True}}"#,
        "configuration",
    ),
    ("yes", br#"{"credential":{"forward":yes}}"#, "configuration"),
    ("None", br#"{"environment":None}"#, "configuration"),
    (
        "undefined",
        br#"{"environment":undefined}"#,
        "configuration",
    ),
    (
        "a typo behind a line break",
        b"\n{\"lookup\":{\"cluster\":\"auth\"},}",
        "configuration",
    ),
    (
        "a typo behind blanks",
        b"  {\"lookup\":{\"cluster\":\"auth\"},}",
        "configuration",
    ),
    (
        "a variable that nobody filled in",
        b"${KEYSTILE_CONFIG}",
        "configuration",
    ),
    (
        "a template that nobody filled in",
        br#"{"lookup": {{ .Values.lookup | toJson }}}"#,
        "configuration",
    ),
];

pub(super) fn all() -> Vec<Broken> {
    let mut all: Vec<_> = TEXTS
        .iter()
        .map(|(name, text, at)| Broken {
            name: (*name).to_owned(),
            text: text.to_vec(),
            at: (*at).to_owned(),
            problem: None,
        })
        .collect();
    let mut more = |name: &str, text: String, at: &str| {
        all.push(Broken {
            name: name.to_owned(),
            text: text.into_bytes(),
            at: at.to_owned(),
            problem: None,
        });
    };
    for depth in [127, 128, 10_000, 500_000] {
        let (open, close) = ("[".repeat(depth), "]".repeat(depth));
        let at = if depth < 127 {
            "environment"
        } else {
            "configuration"
        };
        more(
            &format!("{depth} arrays in each other"),
            format!(r#"{{"environment":{open}{close}}}"#),
            at,
        );
        let (open, close) = (r#"{"a":"#.repeat(depth), "}".repeat(depth));
        more(
            &format!("{depth} objects in each other"),
            format!(r#"{{"environment":{open}1{close}}}"#),
            at,
        );
        more(
            &format!("{depth} brackets"),
            "[".repeat(depth),
            "configuration",
        );
        more(
            &format!("{depth} braces"),
            "{".repeat(depth),
            "configuration",
        );
    }
    more("1 MB of blanks", " ".repeat(1 << 20), "lookup.cluster");
    more("1 MB of letters", "x".repeat(1 << 20), "configuration");
    more(
        "1 MB of digits",
        format!(r#"{{"cache":{{"jitter":{}}}}}"#, "9".repeat(1 << 20)),
        "configuration",
    );
    more(
        "1 MB of a string without an end",
        format!("{{\"environment\":\"{}", "x".repeat(1 << 20)),
        "configuration",
    );
    all
}
