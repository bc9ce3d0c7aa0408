//! One request's way from its headers to an outcome, as a state machine without I/O.
//!
//! [`begin`] takes the request, [`State::settle`] the verdict. Both give back what the host is
//! to do next; neither does it.

#![forbid(unsafe_code)]

pub mod denial;
pub mod exempt;
pub mod outcome;
pub mod policy;
pub mod reply;

use std::rc::Rc;
use std::time::Duration;

use crate::auth::answer::{Cause, Source, Verdict};
use crate::auth::record::Record;
use crate::decision::denial::Denial;
use crate::decision::outcome::Outcome;
use crate::decision::policy::Policy;
use crate::decision::reply::{ReplyFormat, RequestId};
use crate::request::credential::Credential;
use crate::request::headers::{Header, Request, same_name};
use crate::request::key_hash::KeyHash;

/// Where a request stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It needs a verdict.
    AwaitingVerdict(Pending),
    /// The request was forwarded or answered.
    Settled(Settled),
}

/// What became of a request, and where its verdict came from, if it got one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settled {
    /// What became of it.
    pub outcome: Outcome,
    /// `None` where there was no need for a verdict, or none to be had.
    pub source: Option<Source>,
}

impl Settled {
    /// What the access log gets, as logfmt: `outcome=allowed source=cache key_id=key_01J…`, and with
    /// a reply `request_id=req_…`. `record` is that of the request's key, where it has one. One text,
    /// as each one costs a call to the host.
    pub fn log_entry(&self, record: Option<&Record>, reply: Option<RequestId>) -> String {
        let mut entry = String::with_capacity(128);
        entry.push_str("outcome=");
        entry.push_str(self.outcome.name());
        if let Some(source) = self.source {
            entry.push_str(" source=");
            entry.push_str(source.name());
        }
        if let Some(record) = record {
            entry.push_str(" key_id=");
            push_logfmt(&mut entry, record.key_id());
        }
        if let Some(id) = reply {
            entry.push_str(" request_id=");
            entry.push_str(&id.to_string());
        }
        entry
    }
}

/// A value of logfmt, in quotes where it would not end at the next blank or could be taken for more
/// than one field.
fn push_logfmt(entry: &mut String, value: &str) {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !b"\"=\\".contains(&byte);
    if value.bytes().all(is_plain) {
        entry.push_str(value);
        return;
    }
    entry.push('"');
    for character in value.chars() {
        if matches!(character, '"' | '\\') {
            entry.push('\\');
        }
        entry.push(character);
    }
    entry.push('"');
}

/// What must be known of a request when its verdict is there. Deliberately without its path,
/// which may be long, and which the proxy keeps anyway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pending {
    form: ReplyFormat,
    /// Whether it asks what is known of its key, and no more.
    introspects: bool,
}

/// What the host is to do.
#[derive(Clone, PartialEq, Eq)]
pub enum Step {
    /// Get a verdict on this hash, and hold the request meanwhile.
    Ask(KeyHash),
    /// The same, by a lookup of its own.
    AskLive(KeyHash),
    /// Send the request on.
    Forward {
        /// Whose [`identity`] to set first.
        record: Option<Rc<Record>>,
    },
    /// Answer the request with the record.
    Describe {
        /// Of an active key.
        record: Rc<Record>,
    },
    /// Answer the request with a refusal.
    Refuse {
        /// Which reply.
        denial: Denial,
        /// In which form.
        form: ReplyFormat,
        /// For the log, when there was no verdict.
        cause: Option<Cause>,
        /// For the access log, when the key is known.
        record: Option<Rc<Record>>,
    },
    /// Nothing: the request is settled already.
    Ignore,
}

/// What [`begin`] found.
pub struct Begun<'a> {
    /// Headers to remove before anything else, all their repeats included.
    pub remove: Vec<&'a str>,
    /// Where the request stands.
    pub state: State,
    /// What to do after the removal.
    pub step: Step,
}

/// Takes a request through rows 0 to 4 of the decision table.
pub fn begin<'a>(policy: &Policy, request: &'a Request) -> Begun<'a> {
    if policy.exempt.cover(request) {
        return Begun {
            remove: kept_back(policy, request),
            state: State::Settled(Settled {
                outcome: Outcome::Exempt,
                source: None,
            }),
            step: Step::Forward { record: None },
        };
    }
    let headers = request.headers_of(policy.watched);
    let (state, step) = authenticate(policy, request, &headers);
    Begun {
        // A refused request loses its credential too: access logs and other filters still see it.
        remove: unique(
            unwanted(policy, &headers).chain(policy.credential.headers_to_remove(&headers)),
        ),
        state,
        step,
    }
}

/// Rows 2 to 4 in their order.
fn authenticate(policy: &Policy, request: &Request, headers: &[Header<'_>]) -> (State, Step) {
    let form = ReplyFormat::of(request);
    match policy.credential.extract(headers) {
        Credential::Missing => refuse(Denial::Missing.into(), form, None),
        Credential::Invalid => refuse(Denial::Invalid.into(), form, None),
        Credential::Key(key) => {
            let introspects = introspects(policy, request);
            let hash = policy.hasher.hash(key.bytes());
            let ask = if introspects {
                Step::AskLive
            } else {
                Step::Ask
            };
            (
                State::AwaitingVerdict(Pending { form, introspects }),
                ask(hash),
            )
        }
    }
}

/// Whether a request asks about its own key. Not in the form of gRPC, in which Envoy could not
/// give the answer.
fn introspects(policy: &Policy, request: &Request) -> bool {
    let path = policy.introspection.as_deref();
    path.is_some_and(|path| path.as_bytes() == request.path())
        && matches!(request.first(":method"), Some(b"GET" | b"HEAD"))
        && !request.is_grpc()
}

impl State {
    /// Takes a verdict through rows 5 to 10. `wall` is the time since the Unix epoch; `path` gives
    /// the request's path without its query, where it matters. What is settled stays as it is.
    pub fn settle<P: AsRef<[u8]>>(
        &mut self,
        policy: &Policy,
        verdict: Verdict,
        source: Option<Source>,
        wall: Duration,
        path: impl FnOnce() -> P,
    ) -> Step {
        let Self::AwaitingVerdict(pending) = self else {
            return Step::Ignore;
        };
        let settled = |outcome| Self::Settled(Settled { outcome, source });
        // Each key may ask about itself, whatever its endpoints.
        let judged = judge(policy, verdict, wall).and_then(|record| {
            if pending.introspects || record.permits(path) {
                Ok(record)
            } else {
                Err(Refusal::of(Denial::EndpointRestricted, record))
            }
        });
        let (state, step) = match judged {
            Ok(record) if pending.introspects => {
                (settled(Outcome::Introspected), Step::Describe { record })
            }
            Ok(record) => {
                let record = Some(record);
                (settled(Outcome::Allowed), Step::Forward { record })
            }
            Err(refusal) => refuse(refusal, pending.form, source),
        };
        *self = state;
        step
    }

    /// What became of the request, once something has.
    pub fn settled(&self) -> Option<Settled> {
        match self {
            Self::AwaitingVerdict(_) => None,
            Self::Settled(settled) => Some(*settled),
        }
    }

    /// Whether body and trailers must wait. Without this a request that waits for its verdict
    /// would be sent on by its own body where the proxy calls back for it.
    pub fn holds_body(&self) -> bool {
        self.settled()
            .is_none_or(|settled| !matches!(settled.outcome, Outcome::Allowed | Outcome::Exempt))
    }
}

/// What never reaches the upstream, of an exempt request's headers or of any request's trailers.
pub fn kept_back<'a>(policy: &Policy, headers: &'a Request) -> Vec<&'a str> {
    let headers = headers.headers_of(policy.watched);
    unique(unwanted(policy, &headers).chain(policy.credential.stray_keys(&headers)))
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

/// Why a request is refused, and what the logs are to say of it.
struct Refusal {
    denial: Denial,
    cause: Option<Cause>,
    record: Option<Rc<Record>>,
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

impl Refusal {
    /// Of a request whose key is known.
    fn of(denial: Denial, record: Rc<Record>) -> Self {
        Self {
            record: Some(record),
            ..denial.into()
        }
    }
}

fn refuse(refusal: Refusal, form: ReplyFormat, source: Option<Source>) -> (State, Step) {
    let Refusal {
        denial,
        cause,
        record,
    } = refusal;
    (
        State::Settled(Settled {
            outcome: Outcome::Refused(denial),
            source,
        }),
        Step::Refuse {
            denial,
            form,
            cause,
            record,
        },
    )
}

/// Rows 5 to 10 in their order, but for row 8.
fn judge(policy: &Policy, verdict: Verdict, wall: Duration) -> Result<Rc<Record>, Refusal> {
    let (record, revoked) = match verdict {
        Verdict::Indeterminate(cause) => {
            return Err(Refusal {
                cause: Some(cause),
                ..Denial::Internal.into()
            });
        }
        Verdict::NotFound => return Err(Denial::NotFound.into()),
        Verdict::Revoked(record) => (record, true),
        Verdict::Active(record) => (record, false),
    };
    if !record.is_of(policy.environment.as_deref()) {
        return Err(Denial::NotFound.into());
    }
    if revoked {
        return Err(Refusal::of(Denial::Revoked, record));
    }
    if record.has_expired(wall) {
        return Err(Refusal::of(Denial::Expired, record));
    }
    Ok(record)
}

/// The headers by which the upstream learns who calls: names in lower case, none of which is in
/// the request any more.
pub fn identity<'a>(
    policy: &'a Policy,
    record: &'a Record,
) -> impl Iterator<Item = (&'a str, &'a str)> {
    policy
        .identity_headers
        .iter()
        .filter_map(|(name, field)| Some((name.as_str(), record.identity(*field)?)))
}

#[cfg(test)]
mod tests;
