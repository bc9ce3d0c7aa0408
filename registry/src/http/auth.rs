//! Bearer tokens, and the log lines about requests without a valid one.

use std::env::{self, VarError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use anyhow::bail;
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, CACHE_CONTROL};
use axum::http::{HeaderMap, HeaderValue};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use keystile::request::key_hash::{KeyHash, KeyHasher};
use keystile::throttle::Throttle;
use subtle::ConstantTimeEq;
use tracing::warn;

use super::error::ApiError;
use super::observe;
use super::peer::Peer;
use crate::defaults::SHORTEST_TOKEN;

/// A token that requests must carry. Only its hash is kept, and `Debug` shows nothing of it.
#[derive(Clone, Copy)]
pub(crate) struct Token(KeyHash);

/// The tokens of a server. Without its token, the service API is open and the admin API is off.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tokens {
    pub(crate) admin: Option<Token>,
    pub(crate) service: Option<Token>,
}

impl Tokens {
    /// Reads the tokens from `KEYSTILE_ADMIN_TOKEN` and `KEYSTILE_SERVICE_TOKEN`. A token is `None`
    /// if its variable is not set.
    ///
    /// # Errors
    /// When a token could be guessed or cannot be sent in a header, or when both are the same. The
    /// error does not repeat the token.
    pub(crate) fn from_env() -> anyhow::Result<Self> {
        let tokens = Self {
            admin: Token::from_env("KEYSTILE_ADMIN_TOKEN")?,
            service: Token::from_env("KEYSTILE_SERVICE_TOKEN")?,
        };
        if let (Some(admin), Some(service)) = (tokens.admin, tokens.service)
            && admin.is(&service)
        {
            bail!(
                "KEYSTILE_ADMIN_TOKEN and KEYSTILE_SERVICE_TOKEN must differ: every proxy has the \
                 service token and could change keys with it; create another one with `openssl rand \
                 -hex 32`"
            );
        }
        Ok(tokens)
    }
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reason {
    /// The API is off.
    Off,
    /// No `authorization` header, or one with a scheme other than Bearer.
    NoToken,
    /// More than one `authorization` header.
    RepeatedHeader,
    WrongToken,
}

impl Reason {
    fn as_str(self) -> &'static str {
        match self {
            Self::Off => "the admin API is off",
            Self::NoToken => "no token",
            Self::RepeatedHeader => "repeated header",
            Self::WrongToken => "wrong token",
        }
    }
}

impl Token {
    fn from_env(variable: &str) -> anyhow::Result<Option<Self>> {
        match env::var(variable) {
            Ok(token)
                if token.len() >= SHORTEST_TOKEN
                    && token.bytes().all(|byte| byte.is_ascii_graphic()) =>
            {
                Ok(Some(Self::new(token.as_bytes())))
            }
            Err(VarError::NotPresent) => Ok(None),
            // Fail closed: an unusable token must not count as none, which would open the service API.
            _ => bail!(
                "{variable} must have at least {SHORTEST_TOKEN} characters of visible ASCII without \
                 spaces, for example from `openssl rand -hex 32`; unset the variable to use no token"
            ),
        }
    }

    pub(crate) fn new(token: &[u8]) -> Self {
        Self(KeyHasher::default().hash(token))
    }

    /// Checks that the request carries this token exactly once.
    fn check(&self, headers: &HeaderMap) -> Result<(), Reason> {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let value = values.next().ok_or(Reason::NoToken)?;
        if values.next().is_some() {
            return Err(Reason::RepeatedHeader);
        }
        let parts = value.as_bytes().split_at_checked("Bearer ".len());
        let bearer = parts.filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"Bearer "));
        let (_, token) = bearer.ok_or(Reason::NoToken)?;
        if self.is(&Self::new(token.trim_ascii())) {
            Ok(())
        } else {
            Err(Reason::WrongToken)
        }
    }

    /// Compares the hashes in constant time, so that the duration reveals neither the token's
    /// characters nor its length.
    fn is(&self, other: &Self) -> bool {
        bool::from(self.0.as_bytes()[..].ct_eq(&other.0.as_bytes()[..]))
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(redacted)")
    }
}

/// Decides which requests may use an API.
#[derive(Clone)]
pub(crate) struct Guard {
    api: &'static str,
    token: Option<Token>,
    refusals: Arc<Refusals>,
}

/// Keeps refused requests from flooding the log.
struct Refusals {
    started: Instant,
    throttle: Mutex<Throttle>,
}

impl Guard {
    /// Returns a guard that requires `token`; without one, it refuses every request. `api` is the
    /// name of the API in the log.
    pub(crate) fn new(api: &'static str, token: Option<Token>) -> Self {
        Self {
            api,
            token,
            refusals: Arc::new(Refusals {
                started: Instant::now(),
                throttle: Mutex::default(),
            }),
        }
    }

    /// Checks whether a request may use the API.
    ///
    /// # Errors
    /// When it may not. The log says why, at most once a second.
    fn admit(&self, request: &Request) -> Result<(), ApiError> {
        let checked = match &self.token {
            None => Err(Reason::Off),
            Some(token) => token.check(request.headers()),
        };
        checked.map_err(|reason| {
            self.log(request, reason);
            match reason {
                Reason::Off => ApiError::AdminOff,
                _ => ApiError::Unauthorized,
            }
        })
    }

    fn log(&self, request: &Request, reason: Reason) {
        let throttle = self.refusals.throttle.lock();
        let now = self.refusals.started.elapsed();
        let permitted = throttle.unwrap_or_else(PoisonError::into_inner).permit(now);
        if let Some(suppressed) = permitted {
            warn!(
                api = self.api,
                method = observe::method(request),
                route = observe::route(request),
                reason = reason.as_str(),
                peer = Peer::of(request.extensions()).shown(),
                // How many requests were refused without a log line since the previous line.
                suppressed,
                "a request was refused"
            );
        }
    }
}

/// Middleware that admits only requests with the admin token. Without a token, it admits none.
pub(crate) async fn admin(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    let mut response = match guard.admit(&request) {
        Ok(()) => next.run(request).await,
        Err(refused) => refused.into_response(),
    };
    // Some responses contain a new key.
    let no_store = HeaderValue::from_static("no-store");
    response.headers_mut().insert(CACHE_CONTROL, no_store);
    response
}

/// Middleware that admits only requests with the service token.
pub(crate) async fn service(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    match guard.admit(&request) {
        Ok(()) => next.run(request).await,
        Err(refused) => refused.into_response(),
    }
}
