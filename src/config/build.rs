//! From the configuration as it is written to the checked one, field by field, with all defaults.

mod credential;
mod keeping;

use std::borrow::Cow;
use std::time::Duration;

use super::{Config, ConfigError, Exemptions, IdentityField, check};
use crate::credential::{CredentialRules, KeyHasher, same_name};
use crate::json::Object;
use crate::lookup::{Lookup, PathTemplate};
use crate::path::{self, PathPrefix};
use crate::reply::{Replies, Wording};

/// The fields of the whole.
pub(super) const FIELDS: [&str; 10] = [
    "lookup",
    "cache",
    "feed",
    "credential",
    "hash",
    "environment",
    "exempt",
    "introspection",
    "identity_headers",
    "replies",
];

pub(super) const SERVICE_NAME: &str = "Asterwise";
pub(super) const DOC_BASE_URL: &str = "https://docs.asterwise.com/reference/errors/";
pub(super) const REALM: &str = "api";
pub(super) const RETRY_AFTER_SECONDS: u32 = 1;

pub(super) fn config(json: &mut Object<'_>) -> Result<Config, ConfigError> {
    let environment = environment(json)?;
    let lookup = lookup(json)?.in_environment(environment.as_deref());
    let credential = credential::rules(json)?;
    let exempt = exemptions(json)?;
    let identity_headers = identity_headers(json, &credential)?;
    let sources = credential.sources.iter().map(|source| &source.header);
    let identities = identity_headers.iter().map(|(name, _)| name);
    Ok(Config {
        lookup,
        cache: keeping::cache(json)?,
        feed: keeping::feed(json)?,
        hasher: hasher(json)?,
        environment,
        introspection: introspection(json, &exempt)?,
        exempt,
        watched: sources.chain(identities).map(String::as_str).collect(),
        identity_headers,
        replies: replies(json)?,
        credential,
    })
}

/// Puts the field's path before what a check found.
fn at<T>(path: impl Into<String>, checked: Result<T, impl Into<String>>) -> Result<T, ConfigError> {
    checked.map_err(|problem| ConfigError::new(path, problem))
}

/// A text, checked.
fn text_or(
    json: &mut Object<'_>,
    name: &str,
    default: &str,
    check: fn(&str) -> Result<(), String>,
) -> Result<String, ConfigError> {
    let text = json.text(name)?.unwrap_or(default.into());
    at(json.path(name), check(&text))?;
    Ok(text.into_owned())
}

fn duration_or(json: &mut Object<'_>, name: &str, default: &str) -> Result<Duration, ConfigError> {
    let text = json.text(name)?;
    let text = text.as_deref().unwrap_or(default);
    at(json.path(name), check::duration(text))
}

fn path_template(
    json: &mut Object<'_>,
    placeholder: &str,
    default: &str,
) -> Result<PathTemplate, ConfigError> {
    let text = json.text("path")?;
    let text = text.as_deref().unwrap_or(default);
    let template = PathTemplate::parse(text, placeholder, default);
    at(json.path("path"), template)
}

fn lookup(json: &mut Object<'_>) -> Result<Lookup, ConfigError> {
    let fields = ["cluster", "authority", "path", "timeout", "headers"];
    let mut json = json.object_or_empty("lookup", &fields)?;
    let Some(cluster) = json.or_null("cluster").text("cluster")? else {
        return Err(ConfigError::new(
            "lookup.cluster",
            "is required: the name of the Envoy cluster that answers lookups",
        ));
    };
    at("lookup.cluster", check::cluster(&cluster))?;
    // Istio's cluster names end in the host: outbound|80||auth.default.svc.cluster.local
    let authority = json
        .or_null("authority")
        .text("authority")?
        .unwrap_or_else(|| {
            cluster
                .rsplit('|')
                .next()
                .unwrap_or_default()
                .to_owned()
                .into()
        });
    at("lookup.authority", check::authority(&authority))?;
    let timeout = duration_or(&mut json, "timeout", "250ms")?;
    if !(Duration::from_millis(1)..=Duration::from_secs(60)).contains(&timeout) {
        return Err(ConfigError::new(
            "lookup.timeout",
            "must be from \"1ms\" to \"60s\"",
        ));
    }
    let mut headers = Vec::new();
    for (name, value) in json.entries("headers")?.unwrap_or_default() {
        let path = format!("lookup.headers.{name}");
        let name = at(&path, check::header_name(&name))?;
        at(&path, check::header_value(&value))?;
        at(&path, check::once(headers.iter().map(|(n, _)| n), &name))?;
        headers.push((name, value));
    }
    Ok(Lookup {
        authority: authority.into_owned(),
        cluster: cluster.into_owned(),
        path: path_template(&mut json, "{key_hash}", "/v1/key-hashes/{key_hash}")?,
        timeout,
        headers,
    })
}

fn hasher(json: &mut Object<'_>) -> Result<KeyHasher, ConfigError> {
    let mut json = json.object_or_empty("hash", &["pepper"])?;
    let pepper = json.or_null("pepper").text("pepper")?;
    if pepper.as_deref() == Some("") {
        return Err(ConfigError::new(
            "hash.pepper",
            "must not be empty; null is plain SHA-256",
        ));
    }
    at(
        "hash.pepper",
        KeyHasher::new(pepper.as_deref()).map_err(|error| error.to_string()),
    )
}

fn environment(json: &mut Object<'_>) -> Result<Option<String>, ConfigError> {
    let environment = json.or_null("environment").text("environment")?;
    if let Some(environment) = &environment {
        at("environment", check::environment(environment))?;
    }
    Ok(environment.map(Cow::into_owned))
}

fn exemptions(json: &mut Object<'_>) -> Result<Exemptions, ConfigError> {
    let mut json = json.object_or_empty("exempt", &["paths", "path_prefixes", "preflight"])?;
    let mut paths = |list: &str| {
        let paths = json.texts(list)?.unwrap_or_default();
        for (index, entry) in paths.iter().enumerate() {
            at(format!("exempt.{list}[{index}]"), path::check(entry))?;
        }
        Ok::<Vec<_>, ConfigError>(paths.into_iter().map(Cow::into_owned).collect())
    };
    Ok(Exemptions {
        paths: paths("paths")?,
        path_prefixes: paths("path_prefixes")?
            .into_iter()
            .map(PathPrefix::new)
            .collect(),
        preflight: json.flag("preflight")?.unwrap_or(true),
    })
}

fn introspection(
    json: &mut Object<'_>,
    exempt: &Exemptions,
) -> Result<Option<String>, ConfigError> {
    let json = json.or_null("introspection");
    let Some(mut json) = json.object("introspection", &["path"])? else {
        return Ok(None);
    };
    let check = |path: &str| path::check(path).map_err(str::to_owned);
    let path = text_or(&mut json, "path", "/v1/keys/me", check)?;
    // Envoy would have made another path of it.
    if path.contains("//") || path.contains('%') {
        return Err(ConfigError::new(
            "introspection.path",
            "must not have \"//\" or \"%\": write it as Envoy routes it",
        ));
    }
    if exempt.cover_path(path.as_bytes()) {
        return Err(ConfigError::new(
            "introspection.path",
            "is exempt, so nobody would be asked for a key there; take it out of exempt",
        ));
    }
    Ok(Some(path))
}

fn identity_headers(
    json: &mut Object<'_>,
    credential: &CredentialRules,
) -> Result<Vec<(String, IdentityField)>, ConfigError> {
    let entries = json.entries("identity_headers")?.unwrap_or_else(|| {
        let entry = |header: &str, field: &str| (header.to_owned(), field.to_owned());
        vec![
            entry("x-keystile-key-id", "key_id"),
            entry("x-keystile-account-id", "account_id"),
        ]
    });
    let mut headers = Vec::new();
    for (name, field) in entries {
        let path = format!("identity_headers.{name}");
        let name = at(&path, check::header_name(&name))?;
        at(&path, check::once(headers.iter().map(|(n, _)| n), &name))?;
        if credential
            .sources
            .iter()
            .any(|source| same_name(source.header.as_bytes(), name.as_bytes()))
        {
            return Err(ConfigError::new(
                path,
                "carries the credential, so it cannot carry the identity as well",
            ));
        }
        let field = match field.as_str() {
            "key_id" => Ok(IdentityField::KeyId),
            "account_id" => Ok(IdentityField::AccountId),
            "environment" => Ok(IdentityField::Environment),
            _ => Err("must be \"key_id\", \"account_id\" or \"environment\""),
        };
        headers.push((name, at(path, field)?));
    }
    Ok(headers)
}

fn replies(json: &mut Object<'_>) -> Result<Replies, ConfigError> {
    let fields = [
        "service_name",
        "doc_base_url",
        "realm",
        "retry_after_seconds",
        "messages",
    ];
    let mut json = json.object_or_empty("replies", &fields)?;
    let name = |name: &str| check::text(name, 64);
    let service_name = text_or(&mut json, "service_name", SERVICE_NAME, name)?;
    let doc_base_url = text_or(&mut json, "doc_base_url", DOC_BASE_URL, check::url)?;
    let realm = text_or(&mut json, "realm", REALM, check::quotable)?;
    let seconds = json.whole("retry_after_seconds")?;
    let seconds = seconds.unwrap_or(RETRY_AFTER_SECONDS);
    if !(1..=86_400).contains(&seconds) {
        return Err(ConfigError::new(
            "replies.retry_after_seconds",
            "must be from 1 to 86400",
        ));
    }
    let mut wording = Wording::for_service(&service_name);
    for (name, message) in json.entries("messages")?.unwrap_or_default() {
        let path = format!("replies.messages.{name}");
        at(&path, check::text(&message, 199))?;
        at(path, wording.set(&name, message))?;
    }
    Ok(Replies::new(wording, &doc_base_url, &realm, seconds))
}
