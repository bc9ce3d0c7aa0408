//! `strip_headers`: the headers that never reach the upstream.

use super::credential::is_source;
use super::reader::at;
use super::{ConfigError, check};
use crate::auth::record::IdentityField;
use crate::json::Object;
use crate::request::credential::CredentialRules;
use crate::request::headers::same_name;

/// Names in lower case.
struct StripHeaders(Vec<String>);

/// Headers that make some frameworks use another path or method than the one that Envoy routed and
/// the filter checked.
impl Default for StripHeaders {
    fn default() -> Self {
        let names = [
            "x-original-url",
            "x-rewrite-url",
            "x-forwarded-uri",
            "x-original-method",
            "x-http-method",
            "x-http-method-override",
            "x-method-override",
        ];
        Self(names.iter().map(|name| (*name).to_owned()).collect())
    }
}

#[cold]
#[inline(never)]
pub(super) fn parse(
    json: &mut Object<'_>,
    credential: &CredentialRules,
    identity_headers: &[(String, IdentityField)],
) -> Result<Vec<String>, ConfigError> {
    let Some(names) = json.strings("strip_headers")? else {
        let StripHeaders(headers) = StripHeaders::default();
        return Ok(headers);
    };
    let mut headers = Vec::new();
    for (index, name) in names.iter().enumerate() {
        let path = format!("strip_headers[{index}]");
        let name = at(&path, check::header_name(name))?;
        at(&path, check::once(headers.iter(), &name))?;
        let mut identities = identity_headers.iter();
        if is_source(credential, &name) {
            return Err(ConfigError::new(
                path,
                "carries the credential, so it must not be listed; credential.forward decides \
                 whether it reaches the upstream",
            ));
        }
        if identities.any(|(identity, _)| same_name(identity.as_bytes(), name.as_bytes())) {
            return Err(ConfigError::new(
                path,
                "is an identity header, so it must not be listed; a client's value for it \
                 never reaches the upstream",
            ));
        }
        headers.push(name);
    }
    Ok(headers)
}
