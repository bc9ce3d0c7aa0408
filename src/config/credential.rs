//! `credential`: where credentials are looked for, and what a key looks like.

mod formats;

use std::borrow::Cow;

use super::reader::at;
use super::{ConfigError, check};
use crate::json::{FieldError, Fields, Object};
use crate::request::credential::{CredentialRules, Format, Source};
use crate::request::headers::same_name;

impl Default for CredentialRules {
    fn default() -> Self {
        Self {
            sources: vec![
                Source {
                    header: "authorization".to_owned(),
                    scheme: Some("Bearer".to_owned()),
                },
                Source {
                    header: "x-api-key".to_owned(),
                    scheme: None,
                },
            ],
            formats: vec![Format::default()],
            forward: false,
        }
    }
}

#[cold]
#[inline(never)]
pub(super) fn parse(json: &mut Object<'_>) -> Result<CredentialRules, ConfigError> {
    let json = json.object_or_empty("credential", &["sources", "formats", "forward"]);
    let mut json = json.map_err(explain_format)?;
    let mut rules = CredentialRules::default();
    if let Some(forward) = json.bool("forward")? {
        rules.forward = forward;
    }
    if let Some(given) = json.objects("sources", Fields::Only(&["header", "scheme"]))? {
        rules.sources = sources(given)?;
    }
    if let Some(formats) = formats::parse(&mut json)? {
        rules.formats = formats;
    }
    Ok(rules)
}

/// Says what to write instead of the former field `format`.
#[cold]
fn explain_format(error: FieldError) -> FieldError {
    if error.path == "credential.format" {
        FieldError::new(
            error.path,
            "must be written as a list now: \"formats\": [{…}]",
        )
    } else {
        error
    }
}

/// Returns whether a header is a source of credentials, or some server would take it for one.
pub(super) fn is_source(rules: &CredentialRules, name: &str) -> bool {
    let mut sources = rules.sources.iter();
    sources.any(|source| same_name(source.header.as_bytes(), name.as_bytes()))
}

#[cold]
#[inline(never)]
fn sources(json: Vec<Object<'_>>) -> Result<Vec<Source>, ConfigError> {
    let mut sources: Vec<Source> = Vec::new();
    for (index, mut source) in json.into_iter().enumerate() {
        let path = format!("credential.sources[{index}]");
        let header = source.or_null("header").string("header")?;
        let header = header.ok_or("is required: the name of a header");
        let header = at(format!("{path}.header"), header)?;
        let header = at(format!("{path}.header"), check::header_name(&header))?;
        let scheme = source.or_null("scheme").string("scheme")?;
        if let Some(scheme) = &scheme {
            at(format!("{path}.scheme"), check::token(scheme))?;
        }
        let scheme = scheme.map(Cow::into_owned);
        let source = Source { header, scheme };
        if sources.iter().any(|other| other.overlaps(&source)) {
            return Err(ConfigError::new(
                path,
                "reads the same value as an earlier source; a header may be listed more than once \
                 only with different schemes",
            ));
        }
        sources.push(source);
    }
    if sources.is_empty() {
        return Err(ConfigError::new(
            "credential.sources",
            "must name at least one header",
        ));
    }
    Ok(sources)
}
