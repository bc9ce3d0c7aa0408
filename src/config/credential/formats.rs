//! `credential.formats`: what a key looks like.

use crate::config::ConfigError;
use crate::config::reader::{self, at};
use crate::json::{Fields, Object};
use crate::request::credential::{Alphabet, Format};
use crate::request::key_tag::{KeyTagger, SHORTEST_SECRET, TAG_LENGTH};

/// The longest key, in bytes.
const LONGEST: usize = 8192;

impl Default for Format {
    fn default() -> Self {
        Self {
            prefix: "aw_".to_owned(),
            min_length: 43,
            max_length: 256,
            alphabet: Alphabet::UrlSafe,
            tag: None,
        }
    }
}

/// Reads the field, if it is given.
#[cold]
#[inline(never)]
pub(super) fn parse(json: &mut Object<'_>) -> Result<Option<Vec<Format>>, ConfigError> {
    let fields = ["prefix", "min_length", "max_length", "alphabet", "tag"];
    let Some(given) = json.objects("formats", Fields::Only(&fields))? else {
        return Ok(None);
    };
    if given.is_empty() {
        return Err(ConfigError::new(
            "credential.formats",
            "must have at least one format",
        ));
    }
    let formats = given.into_iter().map(format);
    formats.collect::<Result<_, _>>().map(Some)
}

fn format(mut json: Object<'_>) -> Result<Format, ConfigError> {
    let json = &mut json;
    let mut format = Format::default();
    let alphabet = json.string("alphabet")?;
    reader::integer(json, "min_length", &mut format.min_length)?;
    reader::integer(json, "max_length", &mut format.max_length)?;
    if let Some(alphabet) = alphabet {
        format.alphabet = at(json.path("alphabet"), parse_alphabet(&alphabet))?;
    }
    reader::string(json, "prefix", &mut format.prefix, check_prefix)?;
    format.tag = tag(json)?;
    let tag_length = format.tag.as_ref().map_or(0, |_| TAG_LENGTH);
    let fixed = format.prefix.len().saturating_add(tag_length);
    if format.min_length <= fixed || format.min_length > LONGEST {
        return Err(ConfigError::new(
            json.path("min_length"),
            format!(
                "includes the prefix and the tag, so it must be more than {fixed} and at most \
                 {LONGEST}"
            ),
        ));
    }
    if !(format.min_length..=LONGEST).contains(&format.max_length) {
        return Err(ConfigError::new(
            json.path("max_length"),
            format!(
                "must be from {} (min_length) to {LONGEST}",
                format.min_length
            ),
        ));
    }
    let tags_fit = matches!(format.alphabet, Alphabet::UrlSafe | Alphabet::Visible);
    if format.tag.is_some() && !tags_fit {
        return Err(ConfigError::new(
            json.path("alphabet"),
            "must be \"url_safe\" or \"visible\", because tags are URL-safe base64",
        ));
    }
    Ok(format)
}

fn tag(json: &mut Object<'_>) -> Result<Option<KeyTagger>, ConfigError> {
    let Some(mut json) = json.or_null("tag").object("tag", &["secrets"])? else {
        return Ok(None);
    };
    let path = json.path("secrets");
    let secrets = json.strings("secrets")?.unwrap_or_default();
    if secrets.is_empty() {
        return Err(ConfigError::new(
            path,
            "must have at least one secret, the one for new keys first",
        ));
    }
    for (index, secret) in secrets.iter().enumerate() {
        let path = format!("{path}[{index}]");
        if secret.chars().count() < SHORTEST_SECRET {
            return Err(ConfigError::new(
                path,
                format!("must have at least {SHORTEST_SECRET} characters"),
            ));
        }
    }
    let tagger = KeyTagger::new(&secrets);
    at(path, tagger.map_err(|error| error.to_string())).map(Some)
}

fn parse_alphabet(name: &str) -> Result<Alphabet, &'static str> {
    match name {
        "alphanumeric" => Ok(Alphabet::Alphanumeric),
        "base64" => Ok(Alphabet::Base64),
        "hex" => Ok(Alphabet::Hex),
        "url_safe" => Ok(Alphabet::UrlSafe),
        "visible" => Ok(Alphabet::Visible),
        _ => Err("must be \"url_safe\", \"alphanumeric\", \"hex\", \"base64\" or \"visible\""),
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
