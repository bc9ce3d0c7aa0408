//! The response to a callout, be it a lookup or a poll, and what it means.

#![forbid(unsafe_code)]

use std::hint::black_box;
use std::rc::Rc;

use crate::auth::answer::{Answer, Verdict};
use crate::auth::cache_control::max_age;
use crate::auth::cause::{Cause, Unsent};
use crate::auth::feed::page::Page;
use crate::auth::lookup::{KEY_HASH, MAX_ANSWER};
use crate::auth::media_type::{MediaType, looks_like_html};
use crate::auth::record::{self, Status};
use crate::auth::retry_after::retry_after;
use crate::auth::status::parse_status;
use crate::request::headers::Request;
use crate::request::key_hash::KeyHash;

/// A typical record.
const TYPICAL_RECORD: &[u8] = br#"{"key_id":"key_01HXYZABCDEFGHJKMNPQRSTVWX","status":"active","account_id":"acct_01HXYZABCDEFGHJKMNPQRSTVWX","environment":"production","expires_at":"2999-01-01T00:00:00Z","endpoints":["/v1/numerology/"]}"#;

/// The response to a callout, as the proxy has it.
pub struct Response<'a> {
    /// Its headers, including `:status`. There are none if the call was reset or the response too
    /// large.
    pub headers: Request,
    /// The size of its body, in bytes.
    pub body_size: usize,
    /// Reads its body. Not every body is needed.
    pub body: &'a dyn Fn() -> Vec<u8>,
}

impl Response<'_> {
    /// Reads the response as the answer to the lookup of a hash. With `require_key_hash`, it is a
    /// verdict only if it names that hash.
    pub fn answer(&self, hash: &KeyHash, require_key_hash: bool) -> Answer {
        let verdict = self.verdict(hash, require_key_hash);
        let verdict = verdict.unwrap_or_else(Verdict::Indeterminate);
        Answer {
            retry_after: match verdict {
                Verdict::Indeterminate(Cause::Status(429 | 503)) => retry_after(&self.headers),
                _ => None,
            },
            verdict,
            max_age: self
                .headers
                .values("cache-control")
                .filter_map(max_age)
                .min(),
            names_hash: self.headers.first(KEY_HASH).is_some(),
        }
    }

    /// Reads the response as the answer to a poll of the feed.
    ///
    /// # Errors
    /// What is wrong, without quoting the response.
    pub fn page(&self) -> Result<Page, String> {
        let status = self.headers.first(":status");
        if let Some(cause) = status.and_then(parse_status).and_then(|it| self.reset(it)) {
            return Err(cause.to_string());
        }
        let page = Page::read(status, self.body_size, self.body);
        // Envoy's own replies are in plain text, which says nothing about the auth cluster.
        let may_name = status == Some(b"200") || !self.is_from_envoy();
        page.map_err(|problem| {
            if may_name {
                self.with_media_type(problem)
            } else {
                problem
            }
        })
    }

    fn verdict(&self, hash: &KeyHash, require_key_hash: bool) -> Result<Verdict, Cause> {
        if self.is_overflow() {
            return Err(Cause::NotSent(Unsent::Overflow));
        }
        let status = self.headers.first(":status").and_then(parse_status);
        let verdict = match status.ok_or(Cause::NoAnswer)? {
            200 => self.record()?,
            status @ (404 | 410) => self.not_found(status)?,
            other => return Err(self.reset(other).unwrap_or(Cause::Status(other))),
        };
        // Otherwise, a connection or a cache on the way has mixed up answers.
        let mut named = self.headers.values(KEY_HASH);
        if named.any(|named| KeyHash::from_hex(named).as_ref() != Some(hash)) {
            return Err(Cause::HashMismatch);
        }
        if require_key_hash && self.headers.first(KEY_HASH).is_none() {
            return Err(Cause::NoHash(status.unwrap_or_default()));
        }
        Ok(verdict)
    }

    fn record(&self) -> Result<Verdict, Cause> {
        let bytes = self.body_size;
        if bytes > MAX_ANSWER {
            return Err(Cause::TooLarge { bytes });
        }
        match record::read(&(self.body)()) {
            Ok((Status::Active, record)) => Ok(Verdict::Active(Rc::new(record))),
            Ok((Status::Revoked, record)) => Ok(Verdict::Revoked(Rc::new(record))),
            Err(problem) => Err(Cause::Unreadable(self.with_media_type(problem))),
        }
    }

    /// Does as much work as for a record. Otherwise, a client could tell by the response time that
    /// there is a record in another environment.
    fn not_found(&self, status: u16) -> Result<Verdict, Cause> {
        let mut is_html = self.media_types().any(|media_type| media_type.is_html());
        if self.body_size <= MAX_ANSWER {
            let (body, _) = black_box(((self.body)(), record::read(black_box(TYPICAL_RECORD))));
            is_html |= self.headers.first("content-type").is_none() && looks_like_html(&body);
        }
        if is_html {
            Err(Cause::Html(status))
        } else {
            Ok(Verdict::NotFound)
        }
    }

    /// Returns why there is no answer, if this is Envoy's own reply because the auth cluster broke off:
    /// `upstream connect error or disconnect/reset before headers. reset reason: protocol error`.
    fn reset(&self, status: u16) -> Option<Cause> {
        const REASONS: [(u16, &[u8], Cause); 3] = [
            (502, b"reset reason: protocol error", Cause::ProtocolError),
            (503, b"reset reason: connection termination", Cause::Closed),
            (503, b"reset reason: remote reset", Cause::Reset),
        ];
        /// Longer than such a reply is.
        const LONGEST: usize = 1024;

        if !matches!(status, 502 | 503) || !self.is_from_envoy() || self.body_size > LONGEST {
            return None;
        }
        let body = (self.body)();
        let says = |reason: &[u8]| body.windows(reason.len()).any(|part| part == reason);
        let mut reasons = REASONS.into_iter();
        let found = reasons.find(|(of, reason, _)| *of == status && says(reason));
        found.map(|(_, _, cause)| cause)
    }

    /// Returns true if this is Envoy's own reply, because the cluster's circuit breaker was full.
    fn is_overflow(&self) -> bool {
        self.is_from_envoy()
            && self.headers.first("x-envoy-overloaded").is_some()
            && self.headers.first(":status") == Some(b"503")
    }

    /// Returns true if Envoy itself made the response. It adds `x-envoy-upstream-service-time` to
    /// every response that comes from an upstream.
    fn is_from_envoy(&self) -> bool {
        self.headers
            .first("x-envoy-upstream-service-time")
            .is_none()
    }

    /// Adds the media type to a problem, unless it is the right one.
    fn with_media_type(&self, problem: String) -> String {
        match self.media_types().find(|media_type| !media_type.is_json()) {
            Some(media_type) => format!("{problem} (its content-type is {media_type})"),
            None => problem,
        }
    }

    fn media_types(&self) -> impl Iterator<Item = MediaType> {
        self.headers.values("content-type").map(MediaType::of)
    }
}

#[cfg(test)]
mod tests;
