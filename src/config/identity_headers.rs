//! `identity_headers`: the headers that tell the upstream who is calling.

use super::credential::is_source;
use super::reader::at;
use super::{ConfigError, check};
use crate::auth::record::IdentityField;
use crate::json::Object;
use crate::request::credential::CredentialRules;
use crate::request::headers::same_name;

/// Header names in lower case, with the field that each carries.
struct IdentityHeaders(Vec<(String, IdentityField)>);

impl Default for IdentityHeaders {
    fn default() -> Self {
        Self(vec![
            ("x-keystile-key-id".to_owned(), IdentityField::KeyId),
            ("x-keystile-account-id".to_owned(), IdentityField::AccountId),
        ])
    }
}

#[cold]
#[inline(never)]
pub(super) fn parse(
    json: &mut Object<'_>,
    credential: &CredentialRules,
) -> Result<Vec<(String, IdentityField)>, ConfigError> {
    let Some(entries) = json.entries("identity_headers")? else {
        let IdentityHeaders(headers) = IdentityHeaders::default();
        return Ok(headers);
    };
    let mut headers = Vec::new();
    for (name, field) in entries {
        let path = format!("identity_headers.{name}");
        let name = at(&path, check::header_name(&name))?;
        at(&path, check::once(headers.iter().map(|(n, _)| n), &name))?;
        if is_source(credential, &name) {
            return Err(ConfigError::new(
                path,
                "carries the credential, so it cannot carry the identity as well",
            ));
        }
        let mut others = headers.iter().map(|(other, _): &(String, _)| other);
        if others.any(|other| same_name(other.as_bytes(), name.as_bytes())) {
            return Err(ConfigError::new(
                path,
                "must differ from the other names in a letter or digit: some servers treat all \
                 other characters as equal",
            ));
        }
        headers.push((name, at(path, parse_field(&field))?));
    }
    Ok(headers)
}

fn parse_field(name: &str) -> Result<IdentityField, String> {
    let mut fields = IdentityField::ALL.into_iter();
    fields.find(|field| field.name() == name).ok_or_else(|| {
        let names = IdentityField::ALL.map(|field| format!("\"{}\"", field.name()));
        let [others @ .., last] = &names;
        format!("must be {} or {last}", others.join(", "))
    })
}
