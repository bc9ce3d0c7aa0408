//! The decision table: [`begin`] takes a request through rows 0 to 4, [`judge`] and [`permit`] take
//! a verdict through rows 5 to 10.

#![forbid(unsafe_code)]

pub mod advice;
pub mod denial;
pub mod exempt;
pub mod log_entry;
pub mod outcome;
pub mod policy;
pub mod reply;

use std::rc::Rc;
use std::time::Duration;

use crate::auth::answer::Verdict;
use crate::auth::cause::Cause;
use crate::auth::record::Record;
use crate::decision::denial::Denial;
use crate::decision::policy::Policy;
use crate::decision::reply::ReplyFormat;
use crate::request::credential::Credential;
use crate::request::header_map::Header;
use crate::request::headers::{Request, same_name};
use crate::request::key_hash::KeyHash;

/// The next step for a request, according to its headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// It is forwarded without authentication (row 1).
    Forward,
    /// It is refused (rows 2 to 4).
    Refuse(Denial),
    /// It needs a verdict on its key.
    Ask {
        /// The hash of its key.
        hash: KeyHash,
        /// Whether it is an introspection request, which gets its own, uncached lookup.
        introspects: bool,
    },
}

/// Why a request is refused, with the details for the logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Which reply it gets.
    pub denial: Denial,
    /// Why there was no verdict, if there was none.
    pub cause: Option<Cause>,
    /// The record of its key, if there is one.
    pub record: Option<Rc<Record>>,
}

impl Refusal {
    /// Creates the refusal for lack of a verdict (row 10).
    pub fn undecided(cause: Cause) -> Self {
        Self {
            cause: Some(cause),
            ..Denial::Internal.into()
        }
    }

    fn with_record(denial: Denial, record: Rc<Record>) -> Self {
        Self {
            record: Some(record),
            ..denial.into()
        }
    }
}

impl From<Denial> for Refusal {
    fn from(denial: Denial) -> Self {
        Self {
            denial,
            cause: None,
            record: None,
        }
    }
}

/// Takes a request through rows 0 to 4 of the decision table. Calls `remove` with the name of each
/// header that must be removed, with all its repeats, before anything else happens.
pub fn begin<'a>(policy: &Policy, request: &'a Request, remove: impl FnMut(&'a [u8])) -> Next {
    if policy.exempt.matches(request) {
        strip(policy, request, remove);
        return Next::Forward;
    }
    let headers = request.headers_of(policy.watched);
    let headers = headers.as_slice();
    let (credential, holders) = policy.credential.extract(headers);
    // Refused requests lose their credential too: access logs and other filters still see their
    // headers.
    let rules = &policy.credential;
    remove_matching(
        headers,
        |at, header| {
            is_unwanted(policy, header)
                || rules.is_held_back(holders, at, header)
                || rules.is_stray_key(header)
        },
        remove,
    );
    match credential {
        Credential::Missing => Next::Refuse(Denial::Missing),
        Credential::Invalid => Next::Refuse(Denial::Invalid),
        Credential::Key(key) => Next::Ask {
            hash: policy.hasher.hash(key.bytes()),
            introspects: introspects(policy, request),
        },
    }
}

/// Takes a verdict through rows 5 to 7 and 10. Returns the record of a key that may be used. `wall`
/// returns the time since the Unix epoch, and is called only for a record that expires.
///
/// # Errors
/// Returns why the request is refused.
pub fn judge(
    policy: &Policy,
    verdict: Verdict,
    wall: impl FnOnce() -> Duration,
) -> Result<Rc<Record>, Refusal> {
    let (record, revoked) = match verdict {
        Verdict::Indeterminate(cause) => return Err(Refusal::undecided(cause)),
        Verdict::NotFound => return Err(Denial::NotFound.into()),
        Verdict::Revoked(record) => (record, true),
        Verdict::Active(record) => (record, false),
    };
    if !record.matches_environment(policy.environment.as_deref()) {
        return Err(Denial::NotFound.into());
    }
    if revoked {
        return Err(Refusal::with_record(Denial::Revoked, record));
    }
    if record.has_expired(wall) {
        return Err(Refusal::with_record(Denial::Expired, record));
    }
    Ok(record)
}

/// Takes the record of a key that may be used through row 8. `path` returns the request's path
/// without its query, and is called only if the key may not call every path.
///
/// # Errors
/// Returns why the request is refused.
pub fn permit<P: AsRef<[u8]>>(
    record: Rc<Record>,
    path: impl FnOnce() -> P,
) -> Result<Rc<Record>, Refusal> {
    if record.permits(path) {
        Ok(record)
    } else {
        Err(Refusal::with_record(Denial::EndpointRestricted, record))
    }
}

/// Calls `remove` with the names of an exempt request's headers, or any request's trailers, that must
/// not reach the upstream. An `authorization` among them may be meant for the upstream, so it is
/// removed only if it looks like one of our keys.
pub fn strip<'a>(policy: &Policy, headers: &'a Request, remove: impl FnMut(&'a [u8])) {
    let headers = headers.headers_of(policy.watched);
    let is_stripped =
        |_, header| is_unwanted(policy, header) || policy.credential.is_stray_key(header);
    remove_matching(headers.as_slice(), is_stripped, remove);
}

/// Returns true if this is an introspection request. Remote procedure calls are not: only the HTTP
/// format has room for a record.
fn introspects(policy: &Policy, request: &Request) -> bool {
    let path = policy.introspection.as_deref();
    path.is_some_and(|path| path.as_bytes() == request.path())
        && matches!(request.first(":method"), Some(b"GET" | b"HEAD"))
        && ReplyFormat::of(request) == ReplyFormat::Http
}

/// Returns true if a client could use this header to pass for somebody else, or its request for
/// another one: it is an identity header or one of `strip_headers`, in any spelling that an upstream
/// might accept.
fn is_unwanted(policy: &Policy, (name, _): Header<'_>) -> bool {
    let identities = policy.identity_headers.iter().map(|(name, _)| name);
    let mut names = identities.chain(&policy.strip_headers);
    names.any(|other| same_name(other.as_bytes(), name))
}

/// Calls `remove` with the name of each header to be removed, once for all its repeats.
fn remove_matching<'a>(
    headers: &[Header<'a>],
    is_removed: impl Fn(usize, Header<'a>) -> bool,
    mut remove: impl FnMut(&'a [u8]),
) {
    for (at, header) in headers.iter().enumerate() {
        let (name, _) = header;
        let is_repeat =
            |(at, other): (usize, &Header<'a>)| other.0 == *name && is_removed(at, *other);
        if is_removed(at, *header) && !headers.iter().take(at).enumerate().any(is_repeat) {
            remove(name);
        }
    }
}

#[cfg(test)]
mod tests;
