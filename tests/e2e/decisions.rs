//! Rows 0 to 9 of the decision table, from both sides.

use crate::table::Expect::{Allowed, ByEnvoy, Exempt, Expired, Refused};
use crate::table::{self, Case, case};

const MISSING: crate::table::Expect = Refused("api_key_missing");
const INVALID: crate::table::Expect = Refused("api_key_invalid");
const NOT_FOUND: crate::table::Expect = Refused("api_key_not_found");
const REVOKED: crate::table::Expect = Refused("api_key_revoked");
const RESTRICTED: crate::table::Expect = Refused("endpoint_restricted");

keystile_e2e::suite!(Alone, || table::trials(cases()));

fn cases() -> Vec<Case> {
    [
        identity(),
        stripped(),
        exemptions(),
        preflights(),
        missing(),
        more_than_one(),
        shape(),
        verdicts(),
        endpoints(),
    ]
    .concat()
}

fn identity() -> Vec<Case> {
    vec![
        case("0: one spoofed header", Allowed)
            .header("x-keystile-account-id: acct_evil")
            .bearer("{active}")
            .lookups(1),
        case("0: many spoofed headers, any case", Allowed)
            .header("X-Keystile-Account-Id: acct_evil")
            .header("x-keystile-account-id: acct_evil")
            .header("X-KEYSTILE-KEY-ID: key_evil")
            .bearer("{active}")
            .header("x-keystile-key-id: key_evil")
            .lookups(1),
        case("0: spoofed with underscores", Allowed)
            .header("x_keystile_account_id: acct_evil")
            .header("X-Keystile_Key-Id: key_evil")
            .bearer("{active}")
            .lookups(1),
        case("0: spoofed and named by connection", Allowed)
            .header("connection: x-keystile-account-id")
            .header("x-keystile-account-id: acct_evil")
            .bearer("{active}")
            .lookups(1),
        case("0: spoofed on an exempt path", Exempt)
            .on("exempt")
            .target("/healthz")
            .header("x-keystile-account-id: acct_evil")
            .header("X_Keystile_Key_Id: key_evil"),
        case("0: spoofed in a preflight", Exempt)
            .method("OPTIONS")
            .header("origin: https://a.example")
            .header("access-control-request-method: PUT")
            .header("x-keystile-account-id: acct_evil"),
        case("0: spoofed in trailers", Allowed)
            .method("POST")
            .header("transfer-encoding: chunked")
            .bearer("{active}")
            .body("3\r\nabc\r\n0\r\nx-keystile-account-id: acct_evil\r\nx_keystile_key_id: evil\r\n\r\n")
            .lookups(1),
        case("0: spoofed in trailers of an exempt path", Exempt)
            .on("exempt_post")
            .target("/hook")
            .method("POST")
            .header("transfer-encoding: chunked")
            .body("3\r\nabc\r\n0\r\nx-keystile-account-id: acct_evil\r\n\r\n"),
        case("0: another's headers stay", Allowed)
            .header("x-keystile-key: mine")
            .bearer("{active}")
            .lookups(1),
    ]
}

/// Header names that some servers treat as the same: CGI, PHP and WSGI do not distinguish between
/// characters other than letters and digits.
fn stripped() -> Vec<Case> {
    let mut cases = Vec::new();
    for separator in "!#$%&'*+.^_`|~".chars() {
        let name = |name: &str| name.replace('-', &separator.to_string());
        let (id, account, url) = (
            name("x-keystile-key-id"),
            name("x-keystile-account-id"),
            name("x-original-url"),
        );
        cases.extend([
            case(&format!("0: spoofed with {separator}"), Allowed)
                .header(format!("{account}: acct_evil"))
                .header(format!("{id}: key_evil"))
                .header(format!("{url}: /evil"))
                .bearer("{active}")
                .lookups(1),
            case(
                &format!("0: spoofed with {separator} on an exempt path"),
                Exempt,
            )
            .on("exempt")
            .target("/healthz")
            .header(format!("{account}: acct_evil"))
            .header(format!("{url}: /evil")),
            case(&format!("0: spoofed with {separator} in trailers"), Allowed)
                .method("POST")
                .header("transfer-encoding: chunked")
                .bearer("{active}")
                .body(format!(
                    "3\r\nabc\r\n0\r\n{account}: acct_evil\r\n{id}: evil\r\n\r\n"
                ))
                .lookups(1),
        ]);
    }
    for header in [
        "x-original-url: /evil",
        "X-Rewrite-URL: /evil",
        "x-forwarded-uri: /evil",
        "x-original-method: EVIL-evil",
        "x-http-method: DELETE-evil",
        "X-HTTP-Method-Override: DELETE-evil",
        "x-method-override: DELETE-evil",
    ] {
        let name = header.split(':').next().unwrap_or_default();
        cases.extend([
            case(&format!("0: {name}"), Allowed)
                .header(header)
                .bearer("{active}")
                .lookups(1),
            case(&format!("0: {name} on an exempt path"), Exempt)
                .on("exempt")
                .target("/healthz")
                .header(header)
                .header(header),
            preflight(&format!("0: {name} in a preflight"), Exempt).header(header),
        ]);
    }
    cases.extend([
        case("0: x-forwarded-host stays", Allowed)
            .header("x-forwarded-host: example.com")
            .bearer("{active}")
            .upstream_gets("x-forwarded-host")
            .lookups(1),
        case("0: headers stripped otherwise", Allowed)
            .on("strip")
            .header("x-debug: evil")
            .header("x-original-url: /mine")
            .bearer("{active}")
            .upstream_gets("x-original-url")
            .lookups(1),
    ]);
    cases
}

fn preflight(name: &str, expect: crate::table::Expect) -> Case {
    case(name, expect)
        .method("OPTIONS")
        .header("origin: https://a.example")
        .header("access-control-request-method: PUT")
}

fn preflights() -> Vec<Case> {
    let options = |name, lines: &[&str]| {
        let options = case(name, MISSING).method("OPTIONS");
        lines.iter().fold(options, |case, line| case.header(*line))
    };
    let origin = "origin: https://a.example";
    let asks = "access-control-request-method: PUT";
    vec![
        preflight("1: preflight", Exempt),
        preflight("1: preflight with an empty body", Exempt).header("content-length: 0"),
        preflight("1: preflight with headers asked for", Exempt)
            .header("access-control-request-headers: authorization"),
        preflight("1: preflight is off", MISSING).on("no_preflight"),
        preflight("1: preflight with a body", MISSING)
            .header("content-length: 5")
            .body("hello"),
        preflight("1: preflight with a chunked body", MISSING)
            .header("transfer-encoding: chunked")
            .body("5\r\nhello\r\n0\r\n\r\n"),
        preflight("1: preflight with an empty chunked body", MISSING)
            .header("transfer-encoding: chunked")
            .body("0\r\n\r\n"),
        preflight("1: preflight with authorization", MISSING).header("authorization: Basic eDp5"),
        preflight("1: preflight with a cookie", MISSING).header("cookie: session=1"),
        preflight("1: preflight with a key", Allowed)
            .bearer("{active}")
            .lookups(1),
        preflight("1: preflight of two origins", MISSING).header("origin: https://b.example"),
        preflight("1: preflight of two methods", MISSING).header(asks),
        preflight("1: not OPTIONS", MISSING).method("GET"),
        options("1: OPTIONS alone", &[]),
        options("1: OPTIONS without a method", &[origin]),
        options("1: OPTIONS without an origin", &[asks]),
        options("1: OPTIONS from null", &["origin: null", asks]).expecting(Exempt),
        options("1: OPTIONS from a host", &["origin: a.example", asks]),
        options(
            "1: OPTIONS for two",
            &[origin, "access-control-request-method: PUT, GET"],
        ),
        case("1: OPTIONS with a key", Allowed)
            .method("OPTIONS")
            .bearer("{active}")
            .lookups(1),
        case("1: a preflight's body, method and credentials", MISSING)
            .method("OPTIONS")
            .target("/v1/admin/users/7")
            .header(origin)
            .header(asks)
            .header("cookie: session=1")
            .header("authorization: Basic eDp5")
            .header("x-http-method-override: DELETE")
            .header("content-length: 5")
            .body("hello"),
    ]
}

fn exemptions() -> Vec<Case> {
    let exempt = |name, expect, target| case(name, expect).on("exempt").target(target);
    vec![
        exempt("1: path", Exempt, "/healthz"),
        exempt("1: path with a query", Exempt, "/healthz?verbose"),
        exempt("1: path with a key, which stays here", Exempt, "/healthz").bearer("{active}"),
        exempt(
            "1: path with a damaged key, which stays here",
            Exempt,
            "/healthz",
        )
        .header("x-api-key: {active},"),
        exempt("1: path with a revoked key", Exempt, "/healthz").bearer("{revoked}"),
        exempt("1: below a path", MISSING, "/healthz/x"),
        exempt("1: path in another case", MISSING, "/Healthz"),
        exempt("1: prefix", Exempt, "/public"),
        exempt("1: below a prefix", Exempt, "/public/a/b"),
        exempt("1: longer word", MISSING, "/publicity"),
        exempt("1: climbing out", MISSING, "/public/../v1/x"),
        exempt("1: climbing in", Exempt, "/v1/../public/x"),
        exempt("1: climbing out by %2e", MISSING, "/public/%2e%2e/v1/x"),
        exempt("1: climbing out by %2f", MISSING, "/public/..%2fv1/x"),
        exempt("1: prefix in the query", MISSING, "/v1/x?/public"),
        exempt("1: prefix behind //", Exempt, "//public/x"),
        exempt("1: absolute-form target", Exempt, "http://test/public/x"),
        exempt(
            "1: climbing out, paths as they come",
            MISSING,
            "/public/../v1/x",
        )
        .on("raw_paths"),
        exempt(
            "1: climbing out by %2e, paths as they come",
            MISSING,
            "/public/%2E%2e/v1/x",
        )
        .on("raw_paths"),
        exempt(
            "1: climbing out by ..;, paths as they come",
            MISSING,
            "/public/..;/v1/x",
        )
        .on("raw_paths"),
        exempt(
            "1: climbing out, encoded twice",
            MISSING,
            "/public/%252e%252e/v1/x",
        ),
        exempt(
            "1: climbing out by overlong UTF-8",
            MISSING,
            "/public/%c0%ae%c0%ae/v1/x",
        ),
        exempt("1: below a prefix, paths as they come", Exempt, "/public/x").on("raw_paths"),
        exempt("1: HEAD", Exempt, "/healthz").method("HEAD"),
        exempt("1: POST", MISSING, "/healthz").method("POST"),
        exempt("1: POST with a body", MISSING, "/healthz")
            .method("POST")
            .header("content-length: 5")
            .body("hello"),
        exempt("1: DELETE", MISSING, "/public/x").method("DELETE"),
        exempt("1: OPTIONS", MISSING, "/healthz").method("OPTIONS"),
        exempt("1: GET with a body", MISSING, "/healthz")
            .header("content-length: 5")
            .body("hello"),
        exempt("1: GET with a chunked body", MISSING, "/healthz")
            .header("transfer-encoding: chunked")
            .body("5\r\nhello\r\n0\r\n\r\n"),
        exempt("1: a method that is listed", Exempt, "/hook")
            .on("exempt_post")
            .method("POST")
            .header("content-length: 5")
            .body("hello"),
        exempt("1: a method that is not listed", MISSING, "/hook").on("exempt_post"),
    ]
}

fn missing() -> Vec<Case> {
    vec![
        case("2: no header", MISSING),
        case("2: HEAD", MISSING).method("HEAD"),
        case("2: POST with a body", MISSING)
            .method("POST")
            .header("content-length: 5")
            .body("hello"),
        case("2: empty", MISSING).header("authorization:"),
        case("2: empty x-api-key", MISSING).header("x-api-key:"),
        case("2: only whitespace", MISSING).header("x-api-key:  \t "),
        case("2: scheme alone", MISSING).header("authorization: Bearer "),
        case("2: another scheme", MISSING).header("authorization: Basic dTpw"),
        case("2: another scheme with a key", MISSING).header("authorization: Token {active}"),
        case("2: no scheme", MISSING).header("authorization: {active}"),
        case("2: non-UTF-8 scheme", MISSING).header("authorization: \u{ff}\u{fe} {active}"),
        case("2: in the query", MISSING).target("/v1/x?api_key=nope&x-api-key=nope"),
        case("2: Expect: 100-continue", MISSING)
            .method("POST")
            .header("expect: 100-continue")
            .header("content-length: 5"),
        case("2: CONNECT", MISSING)
            .method("CONNECT")
            .target("test:443"),
        case(
            "2: the other side: another scheme with the key, which stays here",
            Allowed,
        )
        .header("authorization: Token token=\"{active}\"")
        .header("x-api-key: {active}")
        .lookups(1),
        case(
            "2: the other side: glued to its scheme too, which stays here",
            Allowed,
        )
        .header("authorization: Bearer{active}")
        .header("x-api-key: {active}")
        .lookups(1),
        case(
            "2: the other side: the key by underscores too, which stays here",
            Allowed,
        )
        .header("x_api_key: {active}")
        .bearer("{active}")
        .lookups(1),
        case(
            "2: the other side: the key in a trailer too, which stays here",
            Allowed,
        )
        .method("POST")
        .header("transfer-encoding: chunked")
        .bearer("{active}")
        .body("3\r\nabc\r\n0\r\nx-api-key: {active}\r\n\r\n")
        .lookups(1),
        case("2: the other side: basic and a key", Allowed)
            .header("authorization: Basic dTpw")
            .header("x-api-key: {active}")
            .lookups(1),
        case("2: the other side: empty and a key", Allowed)
            .header("authorization: Bearer")
            .header("x-api-key: {active}")
            .lookups(1),
    ]
}

fn more_than_one() -> Vec<Case> {
    let hundred = (0..100).fold(case("3: 100 credentials", INVALID), |case, _| {
        case.header("x-api-key: {active}")
    });
    let thousand = (0..1000).fold(case("3: 1000 credentials", ByEnvoy(431)), |case, _| {
        case.header("x-api-key: {active}")
    });
    vec![
        case("3: repeated", INVALID)
            .bearer("{active}")
            .bearer("{active}"),
        case("3: repeated x-api-key", INVALID)
            .header("x-api-key: {active}")
            .header("X-API-KEY: {other}"),
        case("3: repeated with an empty", INVALID)
            .header("x-api-key:")
            .header("x-api-key: {active}"),
        case("3: basic and bearer", INVALID)
            .header("authorization: Basic dTpw")
            .bearer("{active}"),
        case("3: comma-joined", INVALID).header("x-api-key: {active},{other}"),
        case("3: comma-joined bearers", INVALID)
            .header("authorization: Bearer {active}, Bearer {active}"),
        case("3: trailing comma", INVALID).header("x-api-key: {active},"),
        case("3: two that differ", INVALID)
            .bearer("{active}")
            .header("x-api-key: {other}"),
        case("3: one good, one malformed", INVALID)
            .bearer("{active}")
            .header("x-api-key: nope"),
        hundred,
        thousand,
        case("3: the other side: two that agree", Allowed)
            .bearer("{active}")
            .header("x-api-key: {active}")
            .lookups(1),
    ]
}

fn shape() -> Vec<Case> {
    let long = |length: usize| format!("x-api-key: aw_{}", "k".repeat(length - 3));
    vec![
        case("4: short", INVALID).bearer("aw_short"),
        case("4: 42 bytes", INVALID).header(long(42)),
        case("4: 43 bytes", NOT_FOUND).header(long(43)).lookups(1),
        case("4: 256 bytes", NOT_FOUND).header(long(256)).lookups(1),
        case("4: 257 bytes", INVALID).header(long(257)),
        case("4: 60 KB", INVALID).header(long(60 * 1024)),
        case("4: more than Envoy takes", ByEnvoy(431)).header(long(100 * 1024)),
        case("4: prefix alone", INVALID).bearer("aw_"),
        case("4: another prefix", INVALID).bearer("sk_0123456789abcdefghijklmnopqrstuvwxyzABCD"),
        case("4: non-UTF-8", INVALID).bearer("\u{ff}\u{fe}\u{80}"),
        case("4: non-UTF-8 behind a key", INVALID).header("x-api-key: {active}\u{ff}"),
        case("4: UTF-8", INVALID).bearer("aw_\u{c3}\u{a4}0123456789abcdefghijklmnopqrstuvwxyzABCD"),
        case("4: space inside", INVALID).bearer("aw_ {active}"),
        case("4: folded", INVALID).header("x-api-key: aw_\r\n {active}"),
        case("4: percent-encoded", INVALID).bearer("%61w_0123456789abcdefghijklmnopqrstuvwxyzABCD"),
        case("4: quoted", INVALID).header("x-api-key: \"{active}\""),
        case("4: HEAD", INVALID).method("HEAD").bearer("aw_short"),
        case("4: NUL", ByEnvoy(400)).header("x-api-key: aw_\0{active}"),
        case("4: non-UTF-8 name", ByEnvoy(400))
            .header("x-\u{ff}: 1")
            .bearer("{active}"),
        case("4: the other side: non-UTF-8 elsewhere", Allowed)
            .header("x-other: \u{ff}\u{fe}")
            .bearer("{active}")
            .lookups(1),
    ]
}

fn verdicts() -> Vec<Case> {
    vec![
        case("5: never existed", NOT_FOUND)
            .bearer("{unknown}")
            .lookups(1),
        case("5: deleted", NOT_FOUND).bearer("{deleted}").lookups(1),
        case("5: HEAD", NOT_FOUND)
            .method("HEAD")
            .bearer("{unknown}")
            .lookups(1),
        case("5: another environment", NOT_FOUND)
            .on("production")
            .bearer("{staging}")
            .lookups(1),
        case("5: no environment", NOT_FOUND)
            .on("production")
            .bearer("{active}")
            .lookups(1),
        case("5: revoked in another environment", NOT_FOUND)
            .on("production")
            .bearer("{revoked_staging}")
            .lookups(1),
        case("5: the other side: this environment", Allowed)
            .on("production")
            .bearer("{production}")
            .lookups(1),
        case("5: the other side: any environment", Allowed)
            .bearer("{staging}")
            .lookups(1),
        case("5: without the pepper", NOT_FOUND)
            .on("no_pepper")
            .bearer("{peppered}"),
        case("5: with the pepper, another's key", NOT_FOUND)
            .on("pepper")
            .bearer("{active}"),
        case("6: revoked", REVOKED).bearer("{revoked}").lookups(1),
        case("6: revoked, x-api-key", REVOKED)
            .header("x-api-key: {revoked}")
            .lookups(1),
        case("6: revoked in this environment", REVOKED)
            .on("production")
            .bearer("{revoked_production}")
            .lookups(1),
        case("6: HEAD", REVOKED)
            .method("HEAD")
            .bearer("{revoked}")
            .lookups(1),
        case("7: expired", Expired).bearer("{expired}").lookups(1),
        case("7: the other side: not yet", Allowed)
            .bearer("{lasting}")
            .lookups(1),
        case("9: bearer", Allowed).bearer("{active}").lookups(1),
        case("9: scheme in another case", Allowed)
            .header("authorization: bEaReR {active}")
            .lookups(1),
        case("9: two spaces and a tab", Allowed)
            .header("authorization: Bearer \t {active} ")
            .lookups(1),
        case("9: x-api-key", Allowed)
            .header("X-Api-Key: {active}")
            .lookups(1),
        case("9: HEAD", Allowed)
            .method("HEAD")
            .bearer("{active}")
            .lookups(1),
        case("9: body", Allowed)
            .method("PUT")
            .header("content-length: 5")
            .bearer("{active}")
            .body("hello")
            .lookups(1),
        case("9: pepper", Allowed).on("pepper").bearer("{peppered}"),
    ]
}

fn endpoints() -> Vec<Case> {
    let astro = |name, expect, target| {
        case(name, expect)
            .target(target)
            .bearer("{astro}")
            .lookups(1)
    };
    vec![
        astro("8: outside", RESTRICTED, "/v1/x"),
        astro("8: longer word", RESTRICTED, "/v1/astrology"),
        astro("8: above", RESTRICTED, "/v1"),
        astro("8: in the query", RESTRICTED, "/v1/x?/v1/astro"),
        astro("8: another case", RESTRICTED, "/v1/Astro"),
        astro("8: climbing out", RESTRICTED, "/v1/astro/../x"),
        astro("8: climbing out by %2e", RESTRICTED, "/v1/astro/%2e%2e/x"),
        astro(
            "8: climbing out by %2f",
            RESTRICTED,
            "/v1/astro/..%2f..%2fx",
        ),
        astro(
            "8: climbing out, paths as they come",
            RESTRICTED,
            "/v1/astro/../x",
        )
        .on("raw_paths"),
        astro(
            "8: climbing out by backslash, paths as they come",
            RESTRICTED,
            "/v1/astro/..\\x",
        )
        .on("raw_paths"),
        astro("8: without the last slash", RESTRICTED, "/v1/moon"),
        astro("8: HEAD", RESTRICTED, "/v1/x").method("HEAD"),
        astro("8: the other side: the path", Allowed, "/v1/astro"),
        astro(
            "8: the other side: below",
            Allowed,
            "/v1/astro/natal?x=/../y",
        ),
        astro("8: the other side: the second", Allowed, "/v1/moon/phase"),
        astro("8: the other side: climbing in", Allowed, "/v1/x/../astro"),
        astro(
            "8: the other side: double slash",
            Allowed,
            "//v1//astro//natal",
        ),
        astro(
            "8: the other side: absolute-form target",
            Allowed,
            "http://test/v1/astro",
        ),
    ]
}
