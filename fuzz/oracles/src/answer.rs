//! The notation for an auth cluster's answer in an input.
//!
//! ```text
//! 200 +70000
//! max-age=60
//!
//! {"key_id":"key_1"}
//! ```
//!
//! The first line has the status (`-`: none), and by how many bytes the body claims to be longer than
//! it is. Each line after it is a value of `cache-control`. An empty line and the body follow.

use keystile::auth::response::Response;
use keystile::request::headers::Request;

pub(crate) struct Answer<'a> {
    pub(crate) status: Option<&'a [u8]>,
    pub(crate) cache_control: Vec<&'a [u8]>,
    pub(crate) body: &'a [u8],
    /// The size that the body claims to have, in bytes.
    pub(crate) size: usize,
}

impl<'a> Answer<'a> {
    pub(crate) fn of(input: &'a [u8]) -> Self {
        let border = input.windows(2).position(|pair| pair == b"\n\n");
        let (head, body) = match border {
            Some(at) => (&input[..at], &input[at + 2..]),
            None => (input, &[][..]),
        };
        let mut lines = head.split(|byte| *byte == b'\n');
        let first = lines.next().unwrap_or_default();
        let plus = first.windows(2).position(|pair| pair == b" +");
        let (status, more) = match plus {
            Some(at) => (&first[..at], &first[at + 2..]),
            None => (first, &[][..]),
        };
        let more: u32 = std::str::from_utf8(more)
            .ok()
            .and_then(|more| more.parse().ok())
            .unwrap_or(0);
        Self {
            status: Some(status).filter(|status| *status != b"-"),
            cache_control: lines.collect(),
            body,
            size: body.len() + usize::try_from(more).expect("32 bits"),
        }
    }

    /// Returns the answer as the proxy has it; `body` reads its body.
    pub(crate) fn response<'b>(&self, body: &'b dyn Fn() -> Vec<u8>) -> Response<'b> {
        let status = self.status.map(|status| (":status", status));
        let cache_control = self.cache_control.iter();
        let cache_control = cache_control.map(|value| ("cache-control", *value));
        let headers: Vec<_> = status.into_iter().chain(cache_control).collect();
        Response {
            headers: Request::new(&headers),
            body_size: self.size,
            body,
        }
    }

    /// Returns the body. Panics unless the answer has one of these statuses and is not too long.
    pub(crate) fn body(&self, statuses: &[&[u8]], longest: usize) -> Vec<u8> {
        let is_one = self.status.is_some_and(|status| statuses.contains(&status));
        assert!(is_one, "a body was read for a status that has none");
        assert!(
            self.size <= longest,
            "a body of {} bytes was read",
            self.size
        );
        self.body.to_vec()
    }
}
