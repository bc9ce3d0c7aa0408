//! Keys whose lookups wait until the case releases them.

use std::sync::Arc;

use anyhow::{Context, Result};
use keystile_e2e::keys::hash;
use keystile_e2e::process::wait_until;
use keystile_e2e::recording_upstream::ENTITLED;
use keystile_e2e::rule_auth::record;
use keystile_e2e::scripted_auth::{Script, answer};
use tokio::sync::Semaphore;

use crate::range::{Range, key_id, known_key, unknown_key};

/// More lookups than a case makes.
const ALL: usize = 10_000;

pub(super) struct Held {
    pub(super) key: String,
    /// The key's id, which marks its requests at the upstream.
    pub(super) id: String,
    hash: String,
    verdict: Arc<Semaphore>,
}

impl Held {
    /// Returns a key that gets in once its lookups are answered.
    pub(super) fn known(range: &Range) -> Result<Self> {
        let key = known_key()?;
        let answer = answer("200 OK", &record(&hash(&key)?));
        Self::new(range, key, answer)
    }

    /// Returns a key that is refused once its lookups are answered. Its requests are marked as
    /// entitled, so that those that reach the upstream are found.
    pub(super) fn unknown(range: &Range) -> Result<Self> {
        Self::new(range, unknown_key(), answer("404 Not Found", ""))
    }

    fn new(range: &Range, key: String, answer: Vec<u8>) -> Result<Self> {
        let (id, hash) = (key_id(&key)?, hash(&key)?);
        let verdict = Arc::new(Semaphore::new(0));
        let script = Script::AnswerWhen(Arc::clone(&verdict), answer);
        range.auth.script(&hash, script);
        Ok(Self {
            key,
            id,
            hash,
            verdict,
        })
    }

    /// Returns the headers of the key's requests.
    pub(super) fn headers(&self) -> [(&'static str, &str); 2] {
        [("x-api-key", &self.key), (ENTITLED, &self.id)]
    }

    /// Returns the same headers as lines of HTTP/1.
    pub(super) fn lines(&self) -> String {
        format!("x-api-key: {}\r\n{ENTITLED}: {}\r\n", self.key, self.id)
    }

    pub(super) fn lookups(&self, range: &Range) -> usize {
        range.auth.lookups_about(&self.hash)
    }

    pub(super) fn wait_for_lookup(&self, range: &Range) -> Result<()> {
        wait_until(|| Ok(self.lookups(range) > 0)).context("no lookup")
    }

    /// Lets the key's lookups be answered from now on.
    pub(super) fn tell(&self) {
        self.verdict.add_permits(ALL);
    }
}
