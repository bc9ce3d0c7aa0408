//! Where credentials stand, and what a key looks like.

use std::borrow::Cow;

use super::{ConfigError, at, check, text_or};
use crate::auth::lookup::CARRIED_ON;
use crate::json::{Fields, Object};
use crate::request::credential::{Alphabet, CredentialRules, Format, Source};

pub(super) fn rules(json: &mut Object<'_>) -> Result<CredentialRules, ConfigError> {
    let mut json = json.object_or_empty("credential", &["sources", "format", "forward"])?;
    let format = format(&mut json)?;
    let forward = json.bool("forward")?.unwrap_or(false);
    Ok(CredentialRules {
        sources: match json.objects("sources", Fields::Only(&["header", "scheme"]))? {
            Some(sources) => checked_sources(sources)?,
            None => vec![
                Source {
                    header: "authorization".to_owned(),
                    scheme: Some("Bearer".to_owned()),
                },
                Source {
                    header: "x-api-key".to_owned(),
                    scheme: None,
                },
            ],
        },
        format,
        forward,
    })
}

fn checked_sources(json: Vec<Object<'_>>) -> Result<Vec<Source>, ConfigError> {
    let mut sources: Vec<Source> = Vec::new();
    for (index, mut source) in json.into_iter().enumerate() {
        let path = format!("credential.sources[{index}]");
        let header = source.or_null("header").string("header")?;
        let header = header.ok_or("is required: the name of a header");
        let header = at(format!("{path}.header"), header)?;
        let header = at(format!("{path}.header"), check::header_name(&header))?;
        if CARRIED_ON.contains(&header.as_str()) {
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
                "reads the same value as a source before it; name a header more than once only \
                 with different schemes",
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

fn format(json: &mut Object<'_>) -> Result<Format, ConfigError> {
    const LONGEST: u32 = 8192;
    let fields = ["prefix", "min_length", "max_length", "alphabet"];
    let mut json = json.object_or_empty("format", &fields)?;
    let alphabet = json.string("alphabet")?;
    let alphabet = match alphabet.as_deref().unwrap_or("url_safe") {
        "alphanumeric" => Ok(Alphabet::Alphanumeric),
        "base64" => Ok(Alphabet::Base64),
        "hex" => Ok(Alphabet::Hex),
        "url_safe" => Ok(Alphabet::UrlSafe),
        _ => Err("must be \"url_safe\", \"alphanumeric\", \"hex\" or \"base64\""),
    };
    let min_length = json.integer("min_length")?.unwrap_or(43);
    let max_length = json.integer("max_length")?.unwrap_or(256);
    let format = Format {
        alphabet: at("credential.format.alphabet", alphabet)?,
        min_length: usize::try_from(min_length).unwrap_or(usize::MAX),
        max_length: usize::try_from(max_length).unwrap_or(usize::MAX),
        prefix: text_or(&mut json, "prefix", "aw_", check::key_prefix)?,
    };
    if format.min_length <= format.prefix.len() || min_length > LONGEST {
        return Err(ConfigError::new(
            "credential.format.min_length",
            format!(
                "counts the prefix, so it must be more than {}, and at most {LONGEST}",
                format.prefix.len()
            ),
        ));
    }
    if !(min_length..=LONGEST).contains(&max_length) {
        return Err(ConfigError::new(
            "credential.format.max_length",
            format!("must be from {min_length} (min_length) to {LONGEST}"),
        ));
    }
    Ok(format)
}
