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

/// A token that requests must carry. Only its hash is kept, and `Debug` shows nothing of it.
#[derive(Clone, Copy)]
pub(crate) struct Token(KeyHash);

impl Token {
    /// The token of an environment variable; `None` where there is no such variable.
    ///
    /// # Errors
    /// A value that no header can carry. It is not repeated.
    pub(crate) fn from_env(variable: &str) -> anyhow::Result<Option<Self>> {
        match env::var(variable) {
            Ok(token) if !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic()) => {
                Ok(Some(Self::new(token.as_bytes())))
            }
            Err(VarError::NotPresent) => Ok(None),
            // An empty one would let in whoever knows that it is.
            _ => bail!(
                "{variable} must be visible ASCII without spaces, and not empty; without the \
                 variable, there is no token"
            ),
        }
    }

    pub(super) fn new(token: &[u8]) -> Self {
        Self(KeyHasher::default().hash(token))
    }

    /// Whether the request carries it. Hashes are compared, in constant time, so that neither the
    /// token's characters nor its length show in how long it takes.
    fn is_in(&self, headers: &HeaderMap) -> bool {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let (Some(value), None) = (values.next(), values.next()) else {
            return false;
        };
        let Some((scheme, token)) = value.as_bytes().split_at_checked("Bearer ".len()) else {
            return false;
        };
        let presented = Self::new(token.trim_ascii());
        scheme.eq_ignore_ascii_case(b"Bearer ")
            && bool::from(presented.0.as_bytes()[..].ct_eq(&self.0.as_bytes()[..]))
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
