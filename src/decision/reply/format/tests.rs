use super::*;

const fn web(is_text: bool, codec: Codec) -> ReplyFormat {
    ReplyFormat::GrpcWeb { is_text, codec }
}

const PROTO: ReplyFormat = web(false, Codec::Proto);
const TEXT: ReplyFormat = web(true, Codec::Proto);
const STREAM: ReplyFormat = ReplyFormat::ConnectStream(Codec::Proto);

fn of(method: &str, path: &str, headers: &[(&str, &str)]) -> ReplyFormat {
    let pseudo = [(":method", method), (":path", path)];
    let headers = pseudo.iter().chain(headers);
    let headers: Vec<_> = headers
        .map(|(name, value)| (*name, value.as_bytes()))
        .collect();
    ReplyFormat::of(&Request::new(&headers))
}

#[test]
fn the_content_type_tells_the_protocol() {
    for (content_type, expected) in [
        ("application/grpc", ReplyFormat::Grpc),
        ("application/grpc+proto", ReplyFormat::Grpc),
        ("application/grpc-web", PROTO),
        ("application/grpc-web+proto", PROTO),
        ("application/grpc-web+thrift", PROTO),
        ("application/grpc-web+json", web(false, Codec::Json)),
        ("application/grpc-web; charset=utf-8", PROTO),
        ("Application/gRPC-Web+Proto;x=y", PROTO),
        ("application/grpc-web-text", TEXT),
        ("application/grpc-web-text+proto", TEXT),
        ("application/grpc-web-text+JSON ;q", web(true, Codec::Json)),
        ("application/grpc-web ", PROTO),
        ("application/grpc-web-texts", ReplyFormat::Http),
        ("application/grpc-webs", ReplyFormat::Http),
        ("application/connect+proto", STREAM),
        ("application/connect+cbor", STREAM),
        (
            "Application/Connect+Json; charset=utf-8",
            ReplyFormat::ConnectStream(Codec::Json),
        ),
        ("application/connect", ReplyFormat::Http),
        ("application/connects+json", ReplyFormat::Http),
        ("application/proto", ReplyFormat::Http),
        ("application/json", ReplyFormat::Http),
        ("", ReplyFormat::Http),
        ("+", ReplyFormat::Http),
    ] {
        let format = of("POST", "/s/m", &[("content-type", content_type)]);
        assert_eq!(format, expected, "{content_type}");
    }
}

#[test]
fn a_header_tells_unary_calls_of_connect() {
    for (content_type, expected) in [
        ("application/proto", ReplyFormat::ConnectUnary),
        ("application/json", ReplyFormat::ConnectUnary),
        ("Application/Json; charset=utf-8", ReplyFormat::ConnectUnary),
        ("application/cbor", ReplyFormat::ConnectUnary),
        ("application/connect+proto", STREAM),
        ("application/grpc", ReplyFormat::Grpc),
        ("application/grpc-web", PROTO),
        ("text/html", ReplyFormat::Http),
        ("", ReplyFormat::Http),
    ] {
        let version = ("connect-protocol-version", "1");
        let format = of("POST", "/s/m", &[version, ("content-type", content_type)]);
        assert_eq!(format, expected, "{content_type}");
    }
}

#[test]
fn the_query_tells_calls_of_connect_by_get() {
    let call = "/s/m?connect=v1&encoding=json&message=%7B%7D";
    for (method, path, expected) in [
        ("GET", call, ReplyFormat::ConnectUnary),
        (
            "GET",
            "/s/m?message=&x&base64=1&encoding=proto&connect=v1",
            ReplyFormat::ConnectUnary,
        ),
        ("HEAD", call, ReplyFormat::Http),
        ("POST", call, ReplyFormat::Http),
        ("GET", "/s/m?encoding=json&message=1", ReplyFormat::Http),
        ("GET", "/s/m?connect=v1&message=1", ReplyFormat::Http),
        ("GET", "/s/m?connect=v1&encoding=json", ReplyFormat::Http),
        (
            "GET",
            "/s/m?connect=v2&encoding=&message=",
            ReplyFormat::Http,
        ),
        (
            "GET",
            "/connect=v1&encoding=json&message=1",
            ReplyFormat::Http,
        ),
        ("GET", "/s/m", ReplyFormat::Http),
        ("GET", "", ReplyFormat::Http),
    ] {
        assert_eq!(of(method, path, &[]), expected, "{method} {path}");
    }
    // With a content type, it is something else.
    let json = [("content-type", "application/json")];
    assert_eq!(of("GET", call, &json), ReplyFormat::Http);
}

/// `accept` says what the client can read: bytes, or only text.
#[test]
fn a_client_of_grpc_web_gets_what_it_accepts() {
    let (web, text) = ("application/grpc-web+proto", "application/grpc-web-text");
    for (content_type, accept, expected) in [
        (web, text, TEXT),
        (web, "application/grpc-web-text+proto", TEXT),
        (web, "*/*, Application/gRPC-Web-Text;q=1", TEXT),
        (web, "application/grpc-web,application/grpc-web-text", PROTO),
        (web, "*/*", PROTO),
        (web, "", PROTO),
        (text, web, PROTO),
        (text, "*/*", TEXT),
        (text, "application/json", TEXT),
        ("application/json", text, ReplyFormat::Http),
    ] {
        let headers = [("content-type", content_type), ("accept", accept)];
        assert_eq!(of("POST", "/s/m", &headers), expected, "{headers:?}");
    }
}
