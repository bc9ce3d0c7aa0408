//! The state of paused requests. A request that is resolved at once leaves no state.

#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use crate::auth::answer::{Source, Verdict};
use crate::decision::reply::ReplyFormat;
use crate::engine::cache::Seed;
use crate::engine::inflight::MAX_WAITING;
use crate::request::headers::{Request, without_query};
use crate::request::key_hash::KeyHash;

/// What is remembered of a paused request until its verdict arrives. Deliberately not its path, which
/// may be long, and which the proxy keeps anyway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pending {
    /// The format of its reply, if it is refused.
    pub(crate) format: ReplyFormat,
    /// Whether it is an introspection request.
    pub(crate) introspects: bool,
}

/// A request that is about to be resolved. Its details are computed only if they are needed.
pub(crate) enum Subject<'a> {
    /// Its headers are at hand.
    Present {
        request: &'a Request,
        /// Whether it is an introspection request.
        introspects: bool,
    },
    /// It was paused, and the proxy has its headers.
    Paused(Pending),
}

impl Subject<'_> {
    /// Returns what to remember of it while it is paused.
    pub(crate) fn pending(&self) -> Pending {
        Pending {
            format: self.format(),
            introspects: self.introspects(),
        }
    }

    /// Returns the format of its reply, if it is refused.
    pub(crate) fn format(&self) -> ReplyFormat {
        match self {
            Self::Present { request, .. } => ReplyFormat::of(request),
            Self::Paused(pending) => pending.format,
        }
    }

    /// Returns true if it is an introspection request.
    pub(crate) fn introspects(&self) -> bool {
        match self {
            Self::Present { introspects, .. } => *introspects,
            Self::Paused(pending) => pending.introspects,
        }
    }

    /// Returns its path without the query; `target` returns the target of a paused request.
    pub(crate) fn path(&self, target: impl FnOnce() -> Vec<u8>) -> Cow<'_, [u8]> {
        match self {
            Self::Present { request, .. } => request.path().into(),
            Self::Paused(_) => without_query(&target()).to_vec().into(),
        }
    }
}

/// A request that has its verdict.
#[derive(Debug)]
pub(crate) struct Decided {
    pub(crate) request: Pending,
    pub(crate) verdict: Verdict,
    /// Where the verdict came from; `None` if there is none.
    pub(crate) source: Option<Source>,
}

/// A paused request.
#[derive(Debug)]
pub(crate) enum Session {
    /// It waits for the lookup of its hash, and other requests may wait as well.
    Waiting {
        request: Pending,
        hash: KeyHash,
        /// Where a verdict of the lookup comes from: [`Source::Lookup`] if this request started it.
        source: Source,
        /// When it has waited too long, on the monotonic clock.
        deadline: Duration,
    },
    /// It waits for its own, uncached lookup.
    Uncached(Pending),
    /// It is about to be resolved.
    Decided(Decided),
}

/// The paused requests of one worker.
#[derive(Debug)]
pub(crate) struct Sessions<S> {
    sessions: HashMap<S, Session, Seed>,
    /// How many wait for lookups that other requests started.
    coalesced: usize,
}

impl<S: Copy + Eq + Hash> Sessions<S> {
    /// Starts without any requests.
    pub(crate) fn new(seed: Seed) -> Self {
        Self {
            sessions: HashMap::with_hasher(seed),
            coalesced: 0,
        }
    }

    /// Returns true if a request is paused.
    pub(crate) fn contains(&self, stream: S) -> bool {
        self.sessions.contains_key(&stream)
    }

    /// Returns true if another request may wait for a lookup that it did not start.
    pub(crate) fn has_room(&self) -> bool {
        self.coalesced < MAX_WAITING
    }

    /// Adds a paused request.
    pub(crate) fn pause(&mut self, stream: S, session: Session) {
        if session.is_coalesced() {
            self.coalesced = self.coalesced.saturating_add(1);
        }
        self.sessions.insert(stream, session);
    }

    /// Removes a paused request.
    pub(crate) fn remove(&mut self, stream: S) -> Option<Session> {
        let session = self.sessions.remove(&stream)?;
        if session.is_coalesced() {
            self.coalesced = self.coalesced.saturating_sub(1);
        }
        Some(session)
    }

    /// Gives a waiting request its verdict; `instead` is where that came from, if not from the
    /// lookup. Returns `false` if the request is not waiting.
    pub(crate) fn decide(&mut self, stream: S, verdict: &Verdict, instead: Option<Source>) -> bool {
        let Some(session) = self.sessions.get_mut(&stream) else {
            return false;
        };
        let (request, of_lookup) = match session {
            Session::Waiting {
                request, source, ..
            } => (*request, *source),
            Session::Uncached(request) => (*request, Source::Lookup),
            Session::Decided(_) => return false,
        };
        if session.is_coalesced() {
            self.coalesced = self.coalesced.saturating_sub(1);
        }
        let is_verdict = !matches!(verdict, Verdict::Indeterminate(_));
        *session = Session::Decided(Decided {
            request,
            verdict: verdict.clone(),
            source: instead.or(is_verdict.then_some(of_lookup)),
        });
        true
    }

    /// Takes out a request that has its verdict.
    pub(crate) fn take_decided(&mut self, stream: S) -> Option<Decided> {
        match self.remove(stream)? {
            Session::Decided(decided) => Some(decided),
            waiting => {
                self.pause(stream, waiting);
                None
            }
        }
    }

    /// Extends the deadline of these requests.
    pub(crate) fn extend(&mut self, streams: &[S], until: Duration) {
        for stream in streams {
            if let Some(Session::Waiting { deadline, .. }) = self.sessions.get_mut(stream) {
                *deadline = until;
            }
        }
    }

    /// Returns the requests that have waited too long, with their hashes.
    pub(crate) fn overdue(&self, now: Duration) -> Vec<(S, KeyHash)> {
        let overdue = self.sessions.iter();
        let overdue = overdue.filter_map(|(stream, session)| match session {
            Session::Waiting { hash, deadline, .. } if *deadline <= now => Some((*stream, *hash)),
            _ => None,
        });
        overdue.collect()
    }

    /// Returns the earliest deadline of a waiting request.
    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        let deadlines = self.sessions.values().filter_map(|session| match session {
            Session::Waiting { deadline, .. } => Some(*deadline),
            Session::Uncached(_) | Session::Decided(_) => None,
        });
        deadlines.min()
    }

    /// Returns all paused requests.
    pub(crate) fn streams(&self) -> Vec<S> {
        self.sessions.keys().copied().collect()
    }
}

impl Session {
    fn is_coalesced(&self) -> bool {
        matches!(
            self,
            Self::Waiting {
                source: Source::Coalesced,
                ..
            }
        )
    }
}
