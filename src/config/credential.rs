//! `credential`: where credentials are looked for, and what a key looks like.

use std::borrow::Cow;

use super::reader::{self, at};
use super::{ConfigError, check};
use crate::auth::lookup::PASSED_ON;
use crate::json::{Fields, Object};
use crate::request::credential::{Alphabet, CredentialRules, Format, Source};
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
            format: Format::default(),
            forward: false,
        }
    }
}

impl Default for Format {
    fn default() -> Self {
        Self {
            prefix: "aw_".to_owned(),
            min_length: 43,
            max_length: 256,
            alphabet: Alphabet::UrlSafe,
        }
    }
}

#[cold]
#[inline(never)]
pub(super) fn parse(json: &mut Object<'_>) -> Result<CredentialRules, ConfigError> {
    let mut json = json.object_or_empty("credential", &["sources", "format", "forward"])?;
    let mut rules = CredentialRules::default();
    format(&mut json, &mut rules.format)?;
    if let Some(forward) = json.bool("forward")? {
        rules.forward = forward;
    }
    if let Some(given) = json.objects("sources", Fields::Only(&["header", "scheme"]))? {
        rules.sources = sources(given)?;
    }
    Ok(rules)
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
        if PASSED_ON.contains(&header.as_str()) {
            return Err(ConfigError::new(
                format!("{path}.header"),
                "is passed on to the auth cluster, which must never see a key; choose another",
            ));
        }
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

#[cold]
#[inline(never)]
fn format(json: &mut Object<'_>, format: &mut Format) -> Result<(), ConfigError> {
    const LONGEST: usize = 8192;

    let fields = ["prefix", "min_length", "max_length", "alphabet"];
    let mut json = json.object_or_empty("format", &fields)?;
    let alphabet = json.string("alphabet")?;
    reader::integer(&mut json, "min_length", &mut format.min_length)?;
    reader::integer(&mut json, "max_length", &mut format.max_length)?;
    if let Some(alphabet) = alphabet {
        format.alphabet = at("credential.format.alphabet", parse_alphabet(&alphabet))?;
    }
    reader::string(&mut json, "prefix", &mut format.prefix, check_prefix)?;
    if format.min_length <= format.prefix.len() || format.min_length > LONGEST {
        return Err(ConfigError::new(
            "credential.format.min_length",
            format!(
                "includes the prefix, so it must be more than {} and at most {LONGEST}",
                format.prefix.len()
            ),
        ));
    }
    if !(format.min_length..=LONGEST).contains(&format.max_length) {
        return Err(ConfigError::new(
            "credential.format.max_length",
            format!(
                "must be from {} (min_length) to {LONGEST}",
                format.min_length
            ),
        ));
    }
    Ok(())
}

fn parse_alphabet(name: &str) -> Result<Alphabet, &'static str> {
    match name {
        "alphanumeric" => Ok(Alphabet::Alphanumeric),
        "base64" => Ok(Alphabet::Base64),
        "hex" => Ok(Alphabet::Hex),
        "url_safe" => Ok(Alphabet::UrlSafe),
        _ => Err("must be \"url_safe\", \"alphanumeric\", \"hex\" or \"base64\""),
    }
}

fn check_prefix(prefix: &str) -> Result<(), String> {
    let fits = |byte: u8| byte.is_ascii_graphic() && byte != b',';
    if prefix.len() > 64 || !prefix.bytes().all(fits) {
        Err("must be at most 64 characters of visible ASCII, without a comma".to_owned())
    } else {
        Ok(())
    }
}
