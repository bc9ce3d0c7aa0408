//! The media type of an answer, to tell a gateway's error page from the auth cluster's answer.

#![forbid(unsafe_code)]

use std::fmt;

use crate::request::headers::is_token;

/// The media type in a `content-type`, in lower case and without parameters (RFC 9110 section 8.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MediaType(String);

impl MediaType {
    /// The longest media type that is logged (RFC 6838 section 4.2 recommends at most 64 characters
    /// for each of its two names).
    const LONGEST: usize = 129;

    /// Reads a `content-type`. The result can be logged whatever the value is.
    pub(crate) fn of(content_type: &[u8]) -> Self {
        let essence = content_type.split(|byte| *byte == b';').next();
        let essence = essence.unwrap_or_default().trim_ascii();
        let mut names = essence.split(|byte| *byte == b'/');
        let is_readable = essence.len() <= Self::LONGEST
            && names.by_ref().take(2).filter(|name| is_token(name)).count() == 2
            && names.next().is_none();
        Self(match std::str::from_utf8(essence) {
            Ok(essence) if is_readable => essence.to_ascii_lowercase(),
            _ => "(unreadable)".to_owned(),
        })
    }

    /// Returns true for HTML and XHTML.
    pub(crate) fn is_html(&self) -> bool {
        matches!(&*self.0, "text/html" | "application/xhtml+xml")
    }

    /// Returns true for `application/json` and types that are JSON by their suffix (RFC 6839 section
    /// 3.1).
    pub(crate) fn is_json(&self) -> bool {
        self.0 == "application/json" || self.0.ends_with("+json")
    }
}

impl fmt::Display for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Returns true if a body without a `content-type` is an HTML document, by its first tag (MIME
/// Sniffing standard, section 7.1).
pub(crate) fn looks_like_html(body: &[u8]) -> bool {
    let body = body.trim_ascii_start();
    [&b"<!doctype html"[..], b"<html", b"<head", b"<body"]
        .iter()
        .any(|tag| {
            body.get(..tag.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(tag))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_types_are_read() {
        // The value, what is logged, and whether it is HTML and JSON.
        let cases: [(&[u8], &str, bool, bool); 12] = [
            (b"text/html", "text/html", true, false),
            (b"Text/HTML; charset=utf-8", "text/html", true, false),
            (b" text/html ;x", "text/html", true, false),
            (
                b"application/xhtml+xml",
                "application/xhtml+xml",
                true,
                false,
            ),
            (b"text/plain", "text/plain", false, false),
            (b"application/json", "application/json", false, true),
            (
                b"application/problem+json;x=1",
                "application/problem+json",
                false,
                true,
            ),
            (b"", "(unreadable)", false, false),
            (b"text", "(unreadable)", false, false),
            (b"text/html/x", "(unreadable)", false, false),
            (b"text/\nhtml", "(unreadable)", false, false),
            (b"text/\xff", "(unreadable)", false, false),
        ];
        for (value, shown, is_html, is_json) in cases {
            let media_type = MediaType::of(value);
            let name = value.escape_ascii();
            assert_eq!(media_type.to_string(), shown, "{name}");
            assert_eq!(media_type.is_html(), is_html, "{name}");
            assert_eq!(media_type.is_json(), is_json, "{name}");
        }
        let long = format!("text/{}", "x".repeat(125));
        assert_eq!(MediaType::of(long.as_bytes()).to_string(), "(unreadable)");
    }

    #[test]
    fn html_is_recognised_by_its_first_tag() {
        let cases: [(&[u8], bool); 8] = [
            (b"<!DOCTYPE html><html>", true),
            (b"\r\n <html lang=en>", true),
            (b"<HEAD>", true),
            (b"<body>", true),
            (b"", false),
            (b"{\"error\":\"<html>\"}", false),
            (b"<?xml version=\"1.0\"?><Error/>", false),
            (b"<htm", false),
        ];
        for (body, is_html) in cases {
            assert_eq!(looks_like_html(body), is_html, "{}", body.escape_ascii());
        }
    }
}
