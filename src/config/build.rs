//! From the configuration as it is written to the checked one, field by field, with all defaults.

mod credential;
mod keeping;

use std::borrow::Cow;
use std::time::Duration;

use super::{ConfigError, check};
use crate::auth::lookup::{Lookup, PathTemplate};
use crate::auth::record::IdentityField;
use crate::decision::denial::Messages;
use crate::decision::exempt::Exemptions;
use crate::decision::policy::Policy;
use crate::decision::reply::Replies;
use crate::engine::settings::Settings;
use crate::json::Object;
use crate::request::credential::CredentialRules;
use crate::request::headers::same_name;
use crate::request::key_hash::KeyHasher;
use crate::request::path::{self, PathPrefix};

/// The fields of the whole.
pub(super) const FIELDS: [&str; 11] = [
    "lookup",
    "cache",
    "feed",
    "credential",
    "hash",
    "environment",
    "exempt",
    "introspection",
    "identity_headers",
    "strip_headers",
    "replies",
];

/// Headers by which some framework takes a request for one of another path or method than Envoy
/// routed and the filter decided on.
const STRIP_HEADERS: [&str; 7] = [
    "x-original-url",
    "x-rewrite-url",
    "x-forwarded-uri",
    "x-original-method",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
];

pub(super) const SERVICE_NAME: &str = "Asterwise";
pub(super) const DOC_BASE_URL: &str = "https://docs.asterwise.com/reference/errors/";
pub(super) const REALM: &str = "api";
pub(super) const RETRY_AFTER_SECONDS: u32 = 1;

pub(super) fn settings(json: &mut Object<'_>) -> Result<Settings, ConfigError> {
    let environment = environment(json)?;
    let lookup = lookup(json)?.in_environment(environment.as_deref());
    let credential = credential::rules(json)?;
    let exempt = exemptions(json)?;
    let identity_headers = identity_headers(json, &credential)?;
    let strip_headers = strip_headers(json, &credential, &identity_headers)?;
    let sources = credential.sources.iter().map(|source| &source.header);
    let identities = identity_headers.iter().map(|(name, _)| name);
    let watched = sources.chain(identities).chain(&strip_headers);
    Ok(Settings {
        cache: keeping::cache(json)?,
        feed: keeping::feed(json, &lookup)?,
        lookup,
        policy: Policy {
            hasher: hasher(json)?,
            environment,
            introspection: introspection(json, &exempt)?,
            exempt,
            watched: watched.map(String::as_str).collect(),
            identity_headers,
            strip_headers,
            credential,
        },
        replies: replies(json)?,
    })
}

/// Puts the field's path before what a check found.
fn at<T>(path: impl AsRef<str>, checked: Result<T, impl AsRef<str>>) -> Result<T, ConfigError> {
    checked.map_err(|problem| ConfigError::new(path, problem))
}

/// A text, checked.
fn text_or(
    json: &mut Object<'_>,
    name: &str,
    default: &str,
    check: fn(&str) -> Result<(), String>,
) -> Result<String, ConfigError> {
    let text = json.string(name)?.unwrap_or(default.into());
    at(json.path(name), check(&text))?;
    Ok(text.into_owned())
}

fn duration_or(json: &mut Object<'_>, name: &str, default: &str) -> Result<Duration, ConfigError> {
    let text = json.string(name)?;
    let text = text.as_deref().unwrap_or(default);
    at(json.path(name), check::duration(text))
}

fn path_template(
    json: &mut Object<'_>,
    placeholder: &str,
    default: &str,
) -> Result<PathTemplate, ConfigError> {
    let text = json.string("path")?;
    let text = text.as_deref().unwrap_or(default);
    let template = PathTemplate::parse(text, placeholder, default);
    at(json.path("path"), template)
}

fn lookup(json: &mut Object<'_>) -> Result<Lookup, ConfigError> {
    let fields = ["cluster", "authority", "path", "timeout", "headers"];
    let mut json = json.object_or_empty("lookup", &fields)?;
    let Some(cluster) = json.or_null("cluster").string("cluster")? else {
        return Err(ConfigError::new(
            "lookup.cluster",
            "is required: the name of the Envoy cluster that answers lookups",
        ));
    };
    at("lookup.cluster", check::cluster(&cluster))?;
    // Istio's cluster names end in the host: outbound|80||auth.default.svc.cluster.local
    let authority = json
        .or_null("authority")
        .string("authority")?
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
    let pepper = json.or_null("pepper").string("pepper")?;
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
    let environment = json.or_null("environment").string("environment")?;
    if let Some(environment) = &environment {
        at("environment", check::environment(environment))?;
    }
    Ok(environment.map(Cow::into_owned))
}

fn exemptions(json: &mut Object<'_>) -> Result<Exemptions, ConfigError> {
    let fields = ["paths", "path_prefixes", "methods", "preflight"];
    let mut json = json.object_or_empty("exempt", &fields)?;
    let paths = checked_texts(&mut json, "paths", path::check)?.unwrap_or_default();
    let path_prefixes = checked_texts(&mut json, "path_prefixes", path::check)?.unwrap_or_default();
    let methods = checked_texts(&mut json, "methods", check::method)?;
    let problem = match &methods {
        Some(methods) if methods.is_empty() => {
            Some("must name at least one method; without it, GET and HEAD are exempt")
        }
        Some(_) if paths.is_empty() && path_prefixes.is_empty() => {
            Some("must have exempt.paths or exempt.path_prefixes beside it, or exempts nothing")
        }
        _ => None,
    };
    if let Some(problem) = problem {
        return Err(ConfigError::new("exempt.methods", problem));
    }
    Ok(Exemptions {
        paths,
        path_prefixes: path_prefixes.into_iter().map(PathPrefix::new).collect(),
        bodies: methods.is_some(),
        methods: methods.unwrap_or_else(|| vec!["GET".to_owned()]),
        preflight: json.bool("preflight")?.unwrap_or(true),
    })
}

/// A list of texts, each checked.
fn checked_texts(
    json: &mut Object<'_>,
    name: &str,
    check: fn(&str) -> Result<(), &'static str>,
) -> Result<Option<Vec<String>>, ConfigError> {
    let Some(texts) = json.strings(name)? else {
        return Ok(None);
    };
    for (index, text) in texts.iter().enumerate() {
        at(format!("{}[{index}]", json.path(name)), check(text))?;
    }
    Ok(Some(texts.into_iter().map(Cow::into_owned).collect()))
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
    if exempt.cover_path(path.as_bytes()) && exempt.cover_method(b"HEAD") {
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
                "must differ from the others by letters or digits: to some servers, all other \
                 characters are the same",
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

fn is_source(credential: &CredentialRules, name: &str) -> bool {
    let mut sources = credential.sources.iter();
    sources.any(|source| same_name(source.header.as_bytes(), name.as_bytes()))
}

fn strip_headers(
    json: &mut Object<'_>,
    credential: &CredentialRules,
    identity_headers: &[(String, IdentityField)],
) -> Result<Vec<String>, ConfigError> {
    let Some(names) = json.strings("strip_headers")? else {
        return Ok(STRIP_HEADERS.map(str::to_owned).to_vec());
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
                "carries the credential, so it must not be listed; credential.forward says whether \
                 the upstream gets it",
            ));
        }
        if identities.any(|(identity, _)| same_name(identity.as_bytes(), name.as_bytes())) {
            return Err(ConfigError::new(
                path,
                "is an identity header, so it must not be listed; what clients send in it never \
                 reaches the upstream",
            ));
        }
        headers.push(name);
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
    let seconds = json.integer("retry_after_seconds")?;
    let seconds = seconds.unwrap_or(RETRY_AFTER_SECONDS);
    if !(1..=86_400).contains(&seconds) {
        return Err(ConfigError::new(
            "replies.retry_after_seconds",
            "must be from 1 to 86400",
        ));
    }
    let mut messages = Messages::for_service(&service_name);
    for (name, message) in json.entries("messages")?.unwrap_or_default() {
        let path = format!("replies.messages.{name}");
        at(&path, check::text(&message, 199))?;
        at(path, messages.set(&name, message))?;
    }
    Ok(Replies::new(messages, &doc_base_url, &realm, seconds))
}
