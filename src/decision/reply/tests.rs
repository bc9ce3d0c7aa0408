use std::sync::LazyLock;

use super::*;
use crate::auth::record::Fields;
use crate::request::credential::CredentialRules;

/// 2026-05-25T12:34:56.789Z
const NOW: Duration = Duration::from_millis(1_779_712_496_789);
const ID: &str = "req_01KSFJ354N000000000000002A";

static DEFAULT: LazyLock<Replies> = LazyLock::new(Replies::default);

fn rendered(denial: Denial, form: ReplyFormat) -> LocalReply<'static> {
    DEFAULT.render(denial, form, RequestId::new(NOW, 74), NOW, None)
}

fn header<'a>(reply: &'a LocalReply<'_>, name: &str) -> Option<&'a str> {
    let mut values = reply.headers.iter().filter(|(other, _)| *other == name);
    let value = values.next().map(|(_, value)| &**value);
    assert_eq!(values.next(), None, "{name} repeated");
    value
}

fn message(denial: Denial) -> String {
    ReplyRules::default().messages.of(denial).to_owned()
}

/// Returns the reply's body as text.
fn text<'a>(reply: &'a LocalReply<'_>) -> &'a str {
    std::str::from_utf8(&reply.body).unwrap()
}

/// Checks the headers that all formats have.
fn check_headers(reply: &LocalReply<'_>, denial: Denial) {
    let challenge = Challenge::Standard.value(denial, "Bearer", "api");
    let retry_after = denial.is_temporary().then_some("1");
    assert_eq!(header(reply, "cache-control"), Some("no-store"));
    assert_eq!(header(reply, "x-request-id"), Some(ID));
    assert_eq!(header(reply, "www-authenticate"), challenge.as_deref());
    assert_eq!(header(reply, "retry-after"), retry_after, "{denial:?}");
}

#[test]
fn http_replies_are_json_of_eight_fields() {
    for denial in Denial::ALL {
        let reply = rendered(denial, ReplyFormat::Http);
        let body = format!(
            "{{\"success\":false,\"error\":\"{code}\",\"message\":\"{}\",\"details\":[],\
             \"retry_after\":{},\"doc_url\":\"https://docs.asterwise.com/reference/errors/{code}\",\
             \"request_id\":\"{ID}\",\"timestamp\":\"2026-05-25T12:34:56Z\"}}",
            message(denial),
            header(&reply, "retry-after").unwrap_or("null"),
            code = denial.code(),
        );
        check_headers(&reply, denial);
        assert_eq!(reply.status, denial.status(), "{denial:?}");
        assert_eq!(text(&reply), body, "{denial:?}");
        assert_eq!(header(&reply, "content-type"), Some("application/json"));
        assert_eq!(header(&reply, "x-keystile-error"), None, "{denial:?}");
    }
}

#[test]
fn grpc_replies_carry_everything_in_headers() {
    for denial in Denial::ALL {
        let reply = rendered(denial, ReplyFormat::Grpc);
        check_headers(&reply, denial);
        assert_eq!(reply.status, 200, "{denial:?}");
        assert_eq!(header(&reply, "grpc-status"), Some(denial.grpc_status()));
        assert_eq!(header(&reply, "grpc-message"), Some(&*message(denial)));
        assert_eq!(header(&reply, "x-keystile-error"), Some(denial.code()));
        assert_eq!(header(&reply, "content-type"), None, "{denial:?}");
        assert_eq!(text(&reply), "", "{denial:?}");
    }
}

/// Returns the flags and the message of a frame.
fn unframed(frame: &[u8]) -> (u8, &str) {
    let (head, message) = frame.split_at(5);
    let length = u32::from_be_bytes(head[1..].try_into().unwrap());
    assert_eq!(usize::try_from(length), Ok(message.len()));
    (head[0], std::str::from_utf8(message).unwrap())
}

#[test]
fn grpc_web_replies_are_a_trailers_frame() {
    use base64ct::Encoding;

    let cases = [
        (false, Codec::Proto, "application/grpc-web+proto"),
        (false, Codec::Json, "application/grpc-web+json"),
        (true, Codec::Proto, "application/grpc-web-text+proto"),
        (true, Codec::Json, "application/grpc-web-text+json"),
    ];
    for denial in Denial::ALL {
        for (is_text, codec, content_type) in cases {
            let reply = rendered(denial, ReplyFormat::GrpcWeb { is_text, codec });
            check_headers(&reply, denial);
            assert_eq!(reply.status, 200, "{denial:?}");
            assert_eq!(header(&reply, "content-type"), Some(content_type));
            assert_eq!(header(&reply, "grpc-status"), None, "{denial:?}");
            assert_eq!(header(&reply, "x-keystile-error"), None, "{denial:?}");
            let frame = if is_text {
                base64ct::Base64::decode_vec(text(&reply)).unwrap()
            } else {
                reply.body.clone()
            };
            let trailers = format!(
                "grpc-status:{}\r\ngrpc-message:{}\r\nx-keystile-error:{}\r\n",
                denial.grpc_status(),
                message(denial),
                denial.code()
            );
            assert_eq!(unframed(&frame), (0x80, &*trailers), "{denial:?}");
        }
    }
}

#[test]
fn connect_replies_have_its_error() {
    for denial in Denial::ALL {
        let code = match denial.status() {
            401 => "unauthenticated",
            403 => "permission_denied",
            _ => "unavailable",
        };
        let error = format!(r#"{{"code":"{code}","message":"{}"}}"#, message(denial));

        let unary = rendered(denial, ReplyFormat::ConnectUnary);
        check_headers(&unary, denial);
        assert_eq!(unary.status, denial.status(), "{denial:?}");
        assert_eq!(header(&unary, "content-type"), Some("application/json"));
        assert_eq!(header(&unary, "x-keystile-error"), Some(denial.code()));
        assert_eq!(text(&unary), error, "{denial:?}");

        let end = format!(
            r#"{{"error":{error},"metadata":{{"x-keystile-error":["{}"]}}}}"#,
            denial.code()
        );
        for (codec, content_type) in [
            (Codec::Proto, "application/connect+proto"),
            (Codec::Json, "application/connect+json"),
        ] {
            let stream = rendered(denial, ReplyFormat::ConnectStream(codec));
            check_headers(&stream, denial);
            assert_eq!(stream.status, 200, "{denial:?}");
            assert_eq!(header(&stream, "content-type"), Some(content_type));
            assert_eq!(header(&stream, "x-keystile-error"), None, "{denial:?}");
            assert_eq!(unframed(&stream.body), (0x02, &*end), "{denial:?}");
        }
    }
}

#[test]
fn configured_text_is_escaped() {
    let sources = CredentialRules::default().sources;
    let mut messages = Messages::new("A \"quoted\" \\ service", &sources);
    messages
        .set("api_key_expired", "Zu spät: 100 %.".to_owned())
        .unwrap();
    let replies = Replies::new(&ReplyRules {
        messages,
        doc_base_url: "https://example.com/#".to_owned(),
        retry_after_seconds: 7,
        ..ReplyRules::default()
    });
    let id = RequestId::new(NOW, 74);
    let grpc = replies.render(Denial::Expired, ReplyFormat::Grpc, id, NOW, None);
    assert_eq!(
        header(&grpc, "grpc-message"),
        Some("Zu sp%C3%A4t: 100 %25.")
    );
    let body = |denial| -> serde_json::Value {
        let reply = replies.render(denial, ReplyFormat::Http, id, NOW, None);
        serde_json::from_slice(&reply.body).unwrap()
    };
    let message = body(Denial::NotFound)["message"].clone();
    assert!(
        message.as_str().unwrap().contains("\"quoted\" \\"),
        "{message}"
    );
    assert_eq!(body(Denial::Expired)["message"], "Zu spät: 100 %.");
    assert_eq!(
        body(Denial::Revoked)["message"],
        "This API key has been revoked."
    );
    assert_eq!(body(Denial::Internal)["retry_after"], 7);
    assert_eq!(
        body(Denial::Missing)["doc_url"],
        "https://example.com/#api_key_missing"
    );
}

#[test]
fn no_reply_says_that_a_key_once_existed() {
    for denial in Denial::ALL {
        for form in [
            ReplyFormat::Http,
            ReplyFormat::Grpc,
            ReplyFormat::ConnectUnary,
        ] {
            let reply = rendered(denial, form);
            let text = format!("{:?}{}", reply.headers, text(&reply)).to_lowercase();
            assert!(
                !text.contains("deleted") && !text.contains("once valid"),
                "{text}"
            );
        }
    }
}

#[test]
fn request_ids_are_ulids() {
    assert_eq!(RequestId::new(NOW, 74).to_string(), ID);
    let last = RequestId::new(Duration::MAX, u128::MAX).to_string();
    assert_eq!(last.len(), ID.len());
}

#[test]
fn timestamps_never_fail() {
    assert_eq!(timestamp(Duration::ZERO), "1970-01-01T00:00:00Z");
    assert_eq!(timestamp(Duration::MAX), "1970-01-01T00:00:00Z");
}

#[test]
fn an_active_key_is_told_its_record_and_no_more() {
    let bare = Fields::new("key_1");
    let full = Fields {
        account_id: Some("acct_1"),
        environment: Some("production"),
        expires_at: Some(Duration::from_millis(1_798_761_600_000)),
        endpoints: Some(&["/v1/astro", "/v1/\"moon\""]),
        ..bare
    };
    let ends = |ms| Fields {
        expires_at: Some(Duration::from_millis(ms)),
        endpoints: Some(&[]),
        ..bare
    };
    let cases = [
        (
            bare,
            r#"{"key_id":"key_1","status":"active","account_id":null,"environment":null,"expires_at":null,"endpoints":null}"#,
        ),
        (
            full,
            r#"{"key_id":"key_1","status":"active","account_id":"acct_1","environment":"production","expires_at":"2027-01-01T00:00:00Z","endpoints":["/v1/astro","/v1/\"moon\""]}"#,
        ),
        (
            ends(1_798_761_600_250),
            r#"{"key_id":"key_1","status":"active","account_id":null,"environment":null,"expires_at":"2027-01-01T00:00:00.25Z","endpoints":[]}"#,
        ),
        (
            ends(0),
            r#"{"key_id":"key_1","status":"active","account_id":null,"environment":null,"expires_at":"1970-01-01T00:00:00Z","endpoints":[]}"#,
        ),
    ];
    for (fields, data) in cases {
        let reply = describe(&Record::new(fields).unwrap(), RequestId::new(NOW, 74));
        let body = format!(r#"{{"success":true,"message":"success","data":{data}}}"#);
        assert_eq!(text(&reply), body);
        assert_eq!(reply.status, 200);
        let headers = [
            ("cache-control", "no-store"),
            ("x-request-id", ID),
            ("content-type", "application/json"),
        ];
        assert_eq!(
            reply.headers,
            headers.map(|(name, value)| (name, value.into()))
        );
    }
}

#[test]
fn a_503_says_how_long_trying_again_is_in_vain() {
    let replies = Replies::new(&ReplyRules {
        retry_after_seconds: 5,
        ..ReplyRules::default()
    });
    let id = RequestId::new(NOW, 74);
    for (ms, seconds) in [
        (None, 5),
        (Some(0), 5),
        (Some(5_000), 5),
        (Some(5_001), 6),
        (Some(60_000), 60),
    ] {
        let wait = ms.map(Duration::from_millis);
        let reply = replies.render(Denial::Internal, ReplyFormat::Http, id, NOW, wait);
        assert_eq!(header(&reply, "retry-after"), Some(&*seconds.to_string()));
        let body: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
        assert_eq!(body["retry_after"], seconds);
        let denied = replies.render(Denial::NotFound, ReplyFormat::Http, id, NOW, wait);
        assert_eq!(header(&denied, "retry-after"), None);
    }
}
