//! The response to a callout, be it a lookup or a poll.

#![forbid(unsafe_code)]

use crate::auth::answer::{Answer, Cause, Unsent};
use crate::auth::feed::page::Page;
use crate::auth::lookup::{KEY_HASH, is_overflow};
use crate::request::headers::Request;
use crate::request::key_hash::KeyHash;

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
    /// Reads the response as the answer to the lookup of a hash.
    pub fn answer(&self, hash: &KeyHash) -> Answer {
        if is_overflow(&self.headers) {
            return Answer::none(Cause::NotSent(Unsent::Overflow));
        }
        let status = self.headers.first(":status");
        let cache_control = self.headers.values("cache-control");
        Answer::read(status, cache_control, self.body_size, self.body)
            .about(hash, self.headers.values(KEY_HASH))
    }

    /// Reads the response as the answer to a poll of the feed.
    ///
    /// # Errors
    /// What is wrong, without quoting the response.
    pub fn page(&self) -> Result<Page, String> {
        Page::read(self.headers.first(":status"), self.body_size, self.body)
    }
}
