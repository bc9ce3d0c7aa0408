//! The decision table: [`begin`] takes a request through rows 0 to 4, [`judge`] and [`permit`] take
//! a verdict through rows 5 to 10.

#![forbid(unsafe_code)]

pub mod denial;
pub mod exempt;
pub mod log_entry;
pub mod outcome;
pub mod policy;
pub mod reply;

use std::rc::Rc;
use std::time::Duration;

use crate::auth::answer::{Cause, Verdict};
use crate::auth::record::Record;
use crate::decision::denial::Denial;
use crate::decision::policy::Policy;
use crate::request::credential::Credential;
use crate::request::headers::{Header, Request, same_name};
use crate::request::key_hash::KeyHash;

/// What [`begin`] found.
#[derive(Debug, PartialEq, Eq)]
pub struct Begun<'a> {
    /// Headers to remove before anything else, all their repeats included.
    pub remove: Vec<&'a str>,
    /// What to do after the removal.
    pub next: Next,
}

/// What a request needs, by its headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing: it is forwarded without authentication (row 1).
    Forward,
    /// A refusal (rows 2 to 4).
    Refuse(Denial),
    /// A verdict on its key.
    Ask {
        /// The hash of its key.
        hash: KeyHash,
        /// Whether it asks what is known of its key, and no more. It gets a lookup of its own.
        introspects: bool,
    },
}

/// Why a request is refused, and what the logs say of it.
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
    /// For lack of a verdict (row 10).
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

/// Takes a request through rows 0 to 4 of the decision table.
pub fn begin<'a>(policy: &Policy, request: &'a Request) -> Begun<'a> {
    if policy.exempt.cover(request) {
        return Begun {
            remove: kept_back(policy, request),
            next: Next::Forward,
        };
    }
    let headers = request.headers_of(policy.watched);
    let next = match policy.credential.extract(&headers) {
        Credential::Missing => Next::Refuse(Denial::Missing),
        Credential::Invalid => Next::Refuse(Denial::Invalid),
        Credential::Key(key) => Next::Ask {
            hash: policy.hasher.hash(key.bytes()),
            introspects: introspects(policy, request),
        },
    };
    // A refused request loses its credential too: access logs and other filters still see it.
    let credentials = policy.credential.headers_to_remove(&headers);
    Begun {
        remove: unique(unwanted(policy, &headers).chain(credentials)),
        next,
    }
}

/// Takes a verdict through rows 5 to 7 and 10: the record of a key that may be used. `wall` is the
/// time since the Unix epoch, and asked only for a record that expires.
///
/// # Errors
/// Why the request is refused.
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
    if !record.is_of(policy.environment.as_deref()) {
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

/// Takes the record of a key that may be used through row 8. `path` is the request's, without its
/// query, and asked only where the key may not call every path.
///
/// # Errors
/// Why the request is refused.
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

/// What never reaches the upstream, of an exempt request's headers or of any request's trailers.
pub fn kept_back<'a>(policy: &Policy, headers: &'a Request) -> Vec<&'a str> {
    let headers = headers.headers_of(policy.watched);
    unique(unwanted(policy, &headers).chain(policy.credential.stray_keys(&headers)))
}

/// Whether a request asks about its own key. Not in the format of gRPC, in which Envoy could not
/// give the answer.
fn introspects(policy: &Policy, request: &Request) -> bool {
    let path = policy.introspection.as_deref();
    path.is_some_and(|path| path.as_bytes() == request.path())
        && matches!(request.first(":method"), Some(b"GET" | b"HEAD"))
        && !request.is_grpc()
}

/// The headers by which a client could pass for somebody else, or its request for another one: an
/// identity header, or one of `strip_headers`, in any spelling that an upstream might take for it.
fn unwanted<'a>(policy: &Policy, headers: &[Header<'a>]) -> impl Iterator<Item = &'a [u8]> {
    let identities = policy.identity_headers.iter().map(|(name, _)| name);
    let names = identities.chain(&policy.strip_headers);
    headers.iter().map(|(name, _)| *name).filter(move |name| {
        let mut names = names.clone();
        names.any(|other| same_name(other.as_bytes(), name))
    })
}

/// Each name once: a removal takes all repeats with it. Names are ASCII: Envoy takes no others, and
/// each is the same as a configured one.
fn unique<'a>(names: impl Iterator<Item = &'a [u8]>) -> Vec<&'a str> {
    let mut unique = Vec::new();
    for name in names.filter_map(|name| std::str::from_utf8(name).ok()) {
        if !unique.contains(&name) {
            unique.push(name);
        }
    }
    unique
}

#[cfg(test)]
mod tests;
