//! Entries of refused requests in the access log: whose key it was, and why it was refused.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::stage::{Asks, Setup};

trials! { Together:
    "logs: whose key was refused" => whose_key_was_refused,
}

/// The entry of a known key that was refused has the key's ID and the ID of the reply, as the client
/// sees it. A reason tells an expired key from a revoked one. It makes no difference if the verdict is
/// from the cache.
fn whose_key_was_refused() -> Result<()> {
    let setup = Setup {
        asks: Asks::Registry,
        ..Setup::new(json!({}))
    };
    setup.run(|stage| {
        let expired = stage.create_with(&["--expires-at", "2020-01-01T00:00:00Z"])?;
        let revoked = stage.create()?;
        stage.registry.run(&["revoke", &revoked.key_id])?;
        let restricted = stage.create_with(&["--endpoint", "/v1/astro"])?;
        let cases = [
            (expired, 401, "api_key_revoked", " reason=expired"),
            (revoked, 401, "api_key_revoked", ""),
            (restricted, 403, "endpoint_restricted", ""),
        ];
        for (created, status, error, reason) in cases {
            for source in ["lookup", "cache"] {
                let (response, entry) = stage.entry("/v1/x", &created.key)?;
                let body: Value = serde_json::from_slice(&response.body)?;
                let id = response.header("x-request-id")?.context("no ID")?;
                ensure!(
                    response.status == status
                        && body["error"] == error
                        && body["request_id"] == id
                        && id.starts_with("req_"),
                    "{response:?}"
                );
                let key_id = &created.key_id;
                let expected = format!(
                    "outcome={error}{reason} source={source} key_id={key_id} request_id={id}"
                );
                ensure!(entry == expected, "{entry}, not {expected}");
            }
        }
        Ok(())
    })
}
