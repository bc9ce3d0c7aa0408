//! The outcome of a request, as its client sees it.

use anyhow::{Context, Result, ensure};
use keystile::decision::denial::Denial;
use keystile_e2e::client::Response;
use serde_json::{Value, json};

/// The expected outcome of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Expect {
    /// 503: there is no verdict.
    Internal,
    /// A denial with this error.
    Refused(&'static str),
    /// The upstream's answer, with this `key_id`.
    Allowed(String),
}

impl Expect {
    /// Returns the key's id that the upstream is to see, if the request may reach it.
    pub(crate) fn entitled(&self) -> Option<&str> {
        match self {
            Self::Allowed(id) => Some(id),
            Self::Internal | Self::Refused(_) => None,
        }
    }

    /// Checks the status of an answer, and the headers and body of a reply.
    pub(crate) fn check(&self, response: &Response) -> Result<()> {
        let (status, error) = match self {
            Self::Allowed(_) => (200, None),
            Self::Internal => (503, Some("internal_error")),
            Self::Refused(error) => {
                let mut denials = Denial::ALL.into_iter();
                let denial = denials.find(|denial| denial.code() == *error);
                (denial.context("no denial")?.status(), Some(*error))
            }
        };
        ensure!(response.status == status, "not {status}: {response:?}");
        let Some(error) = error else {
            return Ok(());
        };
        let body: Value = serde_json::from_slice(&response.body).context("a reply's body")?;
        ensure!(body["error"] == error, "not {error}: {response:?}");
        let is_internal = *self == Self::Internal;
        let (header, field) = if is_internal {
            (Some("1"), json!(1))
        } else {
            (None, Value::Null)
        };
        ensure!(
            response.header("retry-after")? == header && body["retry_after"] == field,
            "retry-after: {response:?}"
        );
        ensure!(
            response.header("www-authenticate")?.is_some() != is_internal,
            "www-authenticate: {response:?}"
        );
        ensure!(
            response.header("cache-control")? == Some("no-store"),
            "no cache-control: no-store: {response:?}"
        );
        Ok(())
    }
}
