//! Bearer tokens of those who may ask.

use std::env::{self, VarError};

use anyhow::bail;
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, CACHE_CONTROL};
use axum::http::{HeaderMap, HeaderValue};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use keystile::credential::{KeyHash, KeyHasher};
use subtle::ConstantTimeEq;

use super::error::ApiError;
use crate::defaults::SHORTEST_TOKEN;

/// A token that requests must carry. Only its hash is kept, and `Debug` shows nothing of it.
#[derive(Clone, Copy)]
pub(crate) struct Token(KeyHash);

/// The tokens of a server. An API without a token of its own is open or off.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tokens {
    pub(crate) admin: Option<Token>,
    pub(crate) service: Option<Token>,
}

impl Tokens {
    /// The tokens in `KEYSTILE_ADMIN_TOKEN` and `KEYSTILE_SERVICE_TOKEN`; `None` where there is no
    /// such variable.
    ///
    /// # Errors
    /// A token that could be guessed or that no header can carry, or twice the same one. It is not
    /// repeated.
    pub(crate) fn from_env() -> anyhow::Result<Self> {
        let tokens = Self {
            admin: Token::from_env("KEYSTILE_ADMIN_TOKEN")?,
            service: Token::from_env("KEYSTILE_SERVICE_TOKEN")?,
        };
        if let (Some(admin), Some(service)) = (tokens.admin, tokens.service)
            && admin.is(&service)
        {
            bail!(
                "KEYSTILE_ADMIN_TOKEN and KEYSTILE_SERVICE_TOKEN must differ: each proxy has the \
                 service token, and could change keys with it; `openssl rand -hex 32` makes another"
            );
        }
        Ok(tokens)
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
            // An empty one would let in whoever knows that it is.
            _ => bail!(
                "{variable} must have at least {SHORTEST_TOKEN} characters of visible ASCII without \
                 spaces, as `openssl rand -hex 32` makes them; without the variable, there is no \
                 token"
            ),
        }
    }

    pub(super) fn new(token: &[u8]) -> Self {
        Self(KeyHasher::default().hash(token))
    }

    /// Whether the request carries it.
    fn is_in(&self, headers: &HeaderMap) -> bool {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let (Some(value), None) = (values.next(), values.next()) else {
            return false;
        };
        let Some((scheme, token)) = value.as_bytes().split_at_checked("Bearer ".len()) else {
            return false;
        };
        scheme.eq_ignore_ascii_case(b"Bearer ") && self.is(&Self::new(token.trim_ascii()))
    }

    /// Compares hashes, in constant time, so that neither the token's characters nor its length show
    /// in how long it takes.
    fn is(&self, other: &Self) -> bool {
        bool::from(self.0.as_bytes()[..].ct_eq(&other.0.as_bytes()[..]))
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(redacted)")
    }
}

/// Admits requests to the admin API; without a token, none.
pub(super) async fn admin(
    State(token): State<Option<Token>>,
    request: Request,
    next: Next,
) -> Response {
    let mut response = match token {
        None => ApiError::AdminOff.into_response(),
        Some(token) if token.is_in(request.headers()) => next.run(request).await,
        Some(_) => ApiError::Unauthorized.into_response(),
    };
    // Some of them hold a new key.
    let no_store = HeaderValue::from_static("no-store");
    response.headers_mut().insert(CACHE_CONTROL, no_store);
    response
}

/// Admits requests that carry the service token.
pub(super) async fn service(State(token): State<Token>, request: Request, next: Next) -> Response {
    if token.is_in(request.headers()) {
        next.run(request).await
    } else {
        ApiError::Unauthorized.into_response()
    }
}
