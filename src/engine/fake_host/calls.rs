//! What the engine asks of the fake host.

#![forbid(unsafe_code)]

use std::time::Duration;

use crate::auth::cause::Unsent;
use crate::decision::reply::LocalReply;
use crate::engine::fake_host::{End, FakeHost, Sent};
use crate::engine::host::{Host, Level, Part, Token};
use crate::engine::stats::Counter;
use crate::request::headers::Request;

#[allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test must fail if the engine makes a call that it must not make"
)]
impl Host for FakeHost {
    type Stream = u32;

    fn headers(&mut self, stream: u32) -> Request {
        request(&self.live(stream).headers)
    }

    fn trailers(&mut self, stream: u32) -> Request {
        request(&self.stream(stream).trailers)
    }

    fn target(&mut self, stream: u32) -> Vec<u8> {
        let headers = self.live(stream).headers.iter();
        let mut paths = headers.filter(|(name, _)| name == ":path");
        paths
            .next()
            .map(|(_, path)| path.clone())
            .unwrap_or_default()
    }

    fn remove(&mut self, stream: u32, part: Part, name: &[u8]) {
        match part {
            Part::Headers => self
                .live(stream)
                .headers
                .retain(|(other, _)| other.as_bytes() != name),
            Part::Trailers => {
                let request = self.stream(stream);
                request
                    .trailers
                    .retain(|(other, _)| other.as_bytes() != name);
            }
        }
    }

    fn add_header(&mut self, stream: u32, name: &str, value: &str) {
        let header = (name.to_owned(), value.as_bytes().to_vec());
        self.live(stream).headers.push(header);
    }

    fn is_over(&mut self, stream: u32) -> bool {
        self.stream(stream).is_over
    }

    fn resume(&mut self, stream: u32) {
        self.ends(stream, End::Forwarded);
    }

    fn reply(&mut self, stream: u32, reply: &LocalReply<'_>) {
        let headers = reply.headers.iter();
        let headers = headers.map(|(name, value)| ((*name).to_owned(), value.to_string()));
        let end = End::Answered {
            status: reply.status,
            headers: headers.collect(),
            body: String::from_utf8_lossy(&reply.body).into_owned(),
        };
        self.ends(stream, end);
    }

    fn log_entry(&mut self, stream: u32, entry: &str) {
        let before = self.live(stream).log_entry.replace(entry.to_owned());
        assert!(before.is_none(), "the request already has a log entry");
    }

    fn dispatch(
        &mut self,
        cluster: &str,
        headers: &[(&str, &str)],
        timeout: Duration,
    ) -> Result<Token, Unsent> {
        assert!(!timeout.is_zero(), "to Envoy, a timeout of zero means none");
        if let Some(reason) = self.unsent {
            let mut headers = headers.iter();
            let path = headers.find(|(name, _)| *name == ":path");
            let path = path.map_or("", |(_, path)| path);
            self.not_sent.push(path.to_owned());
            return Err(reason);
        }
        self.last_token = self.last_token.wrapping_add(1);
        let token = Token(self.last_token);
        let headers = headers.iter();
        let headers = headers.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        self.callouts.push(Sent {
            token,
            cluster: cluster.to_owned(),
            headers: headers.collect(),
            timeout,
        });
        Ok(token)
    }

    fn tick_every(&mut self, period: Duration) {
        assert!(
            period >= Duration::from_millis(1),
            "Envoy's shortest tick period is 1 ms"
        );
        self.period = period;
    }

    fn wall_time(&mut self) -> Duration {
        self.wall
    }

    /// Not random at all: a Weyl sequence, the same in each run.
    fn random(&mut self, bytes: &mut [u8]) -> bool {
        if self.lacks_randomness {
            return false;
        }
        for byte in bytes {
            self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let [first, ..] = self.random.to_be_bytes();
            *byte = first;
        }
        true
    }

    fn log(&mut self, level: Level, line: &str) {
        self.log.push((level, line.to_owned()));
    }

    fn count(&mut self, counter: Counter, events: u64) {
        assert!(events > 0, "Envoy rejects an increment of zero");
        let count = self
            .counters
            .entry(counter.name().into_owned())
            .or_default();
        *count = count.saturating_add(events);
    }

    fn observe_lookup(&mut self, ms: u64) {
        self.observed.push(ms);
    }
}

fn request(headers: &[(String, Vec<u8>)]) -> Request {
    let headers = headers.iter();
    let headers: Vec<_> = headers
        .map(|(name, value)| (name.as_str(), value.as_slice()))
        .collect();
    Request::new(&headers)
}
