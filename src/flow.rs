//! One request's way from its headers to an outcome, as a state machine without I/O.
//!
//! [`begin`] takes the request, [`State::settle`] the verdict. Both give back what the host is
//! to do next; neither does it.

use std::time::Duration;

use crate::config::{Config, IdentityField};
use crate::credential::{Credential, same_name};
use crate::lookup::{Callout, Cause, Record, Verdict};
use crate::reply::{Denial, Form};
use crate::request::Request;

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Forwarded with an identity (row 9).
    Allowed,
    /// Forwarded without authentication (row 1).
    Exempt,
    /// Answered here (all other rows).
    Refused(Denial),
}

impl Outcome {
    /// The name in statistics and access logs: `allowed`, `exempt`, or the reply's error code.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Exempt => "exempt",
            Self::Refused(denial) => denial.error(),
        }
    }
}

/// Where a request stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// A lookup is under way.
    AwaitingVerdict(Pending),
    /// The request was forwarded or answered.
    Settled(Outcome),
}

/// What a verdict will be held against.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    path: Vec<u8>,
    form: Form,
}

/// What the host is to do.
#[derive(Clone, PartialEq, Eq)]
pub enum Step {
    /// Make this callout and hold the request.
    Lookup(Callout),
    /// Set these headers and send the request on.
    Forward {
        /// Names in lower case; none of them is in the request any more.
        set: Vec<(String, String)>,
    },
    /// Answer the request.
    Refuse {
        /// Which reply.
        denial: Denial,
        /// In which form.
        form: Form,
        /// For the log, when there was no verdict.
        cause: Option<Cause>,
    },
    /// Nothing: the request is settled already.
    Ignore,
}

/// What [`begin`] found.
pub struct Begun {
    /// Headers to remove before anything else, all their repeats included.
    pub remove: Vec<String>,
    /// Where the request stands.
    pub state: State,
    /// What to do after the removal.
    pub step: Step,
}

/// Takes a request through rows 0 to 4 of the decision table.
pub fn begin(config: &Config, request: &Request) -> Begun {
    if config.exempt.cover(request) {
        return Begun {
            remove: kept_back(config, request),
            state: State::Settled(Outcome::Exempt),
            step: Step::Forward { set: Vec::new() },
        };
    }
    let (state, step) = authenticate(config, request);
    Begun {
        // A refused request loses its credential too: access logs and other filters still see it.
        remove: unique(
            spoofed(config, request).chain(config.credential.headers_to_remove(request)),
        ),
        state,
        step,
    }
}

/// Rows 2 to 4 in their order.
fn authenticate(config: &Config, request: &Request) -> (State, Step) {
    let form = Form::of(request);
    match config.credential.extract(request) {
        Credential::Missing => refuse(Denial::Missing, form, None),
        Credential::Invalid => refuse(Denial::Invalid, form, None),
        Credential::Key(key) => {
            let hash = config.hasher.hash_key(key);
            let path = request.path().to_owned();
            (
                State::AwaitingVerdict(Pending { path, form }),
                Step::Lookup(config.lookup.callout(&hash, request)),
            )
        }
    }
}

impl State {
    /// Takes a verdict through rows 5 to 10. `now` is the time since the Unix epoch.
    pub fn settle(self, config: &Config, verdict: Verdict, now: Duration) -> (Self, Step) {
        let pending = match self {
            Self::AwaitingVerdict(pending) => pending,
            settled @ Self::Settled(_) => return (settled, Step::Ignore),
        };
        match judge(config, &pending, verdict, now) {
            Ok(record) => (
                Self::Settled(Outcome::Allowed),
                Step::Forward {
                    set: identity(config, record),
                },
            ),
            Err((denial, cause)) => refuse(denial, pending.form, cause),
        }
    }

    /// Whether body and trailers must wait. Without this a request that waits for its verdict
    /// would be sent on by its own body where the proxy calls back for it.
    pub fn holds_body(&self) -> bool {
        match self {
            Self::AwaitingVerdict(_) | Self::Settled(Outcome::Refused(_)) => true,
            Self::Settled(Outcome::Allowed | Outcome::Exempt) => false,
        }
    }
}

/// What never reaches the upstream, of an exempt request's headers or of any request's trailers.
pub fn kept_back(config: &Config, headers: &Request) -> Vec<String> {
    unique(spoofed(config, headers).chain(config.credential.stray_keys(headers)))
}

/// The headers by which a client could pass for somebody else: an identity header in any spelling
/// that an upstream might take for it.
fn spoofed<'a>(config: &Config, request: &'a Request) -> impl Iterator<Item = &'a str> {
    let identities = &config.identity_headers;
    request
        .headers()
        .map(|(name, _)| name)
        .filter(move |name| identities.iter().any(|(other, _)| same_name(other, name)))
}

/// Each name once: a removal takes all repeats with it.
fn unique<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut names: Vec<_> = names.map(str::to_owned).collect();
    names.sort_unstable();
    names.dedup();
    names
}

fn refuse(denial: Denial, form: Form, cause: Option<Cause>) -> (State, Step) {
    (
        State::Settled(Outcome::Refused(denial)),
        Step::Refuse {
            denial,
            form,
            cause,
        },
    )
}

/// Rows 5 to 10 in their order.
fn judge(
    config: &Config,
    pending: &Pending,
    verdict: Verdict,
    now: Duration,
) -> Result<Record, (Denial, Option<Cause>)> {
    let (record, revoked) = match verdict {
        Verdict::Indeterminate(cause) => return Err((Denial::Internal, Some(cause))),
        Verdict::NotFound => return Err((Denial::NotFound, None)),
        Verdict::Revoked(record) => (record, true),
        Verdict::Active(record) => (record, false),
    };
    // A record without an environment proves none.
    if config.environment.is_some() && record.environment != config.environment {
        return Err((Denial::NotFound, None));
    }
    if revoked {
        return Err((Denial::Revoked, None));
    }
    if record.expires_at.is_some_and(|end| end <= now) {
        return Err((Denial::Expired, None));
    }
    let permitted = record
        .endpoints
        .as_ref()
        .is_none_or(|prefixes| prefixes.iter().any(|prefix| prefix.covers(&pending.path)));
    if !permitted {
        return Err((Denial::EndpointRestricted, None));
    }
    Ok(record)
}

fn identity(config: &Config, record: Record) -> Vec<(String, String)> {
    config
        .identity_headers
        .iter()
        .filter_map(|(name, field)| {
            let value = match field {
                IdentityField::KeyId => Some(&record.key_id),
                IdentityField::AccountId => record.account_id.as_ref(),
                IdentityField::Environment => record.environment.as_ref(),
            };
            value.map(|value| (name.clone(), value.clone()))
        })
        .collect()
}

#[cfg(test)]
mod tests;
