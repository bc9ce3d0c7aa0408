//! From the configuration as it is written to the checked one, field by field.

use std::time::Duration;

use super::raw::{
    Entries, Object, Raw, RawCache, RawCredential, RawExempt, RawFeed, RawFormat, RawHash,
    RawIntrospection, RawLookup, RawReplies,
};
use super::{Config, ConfigError, Exemptions, IdentityField, check};
use crate::cache::{CacheRules, Share};
use crate::credential::{Alphabet, CredentialRules, Format, KeyHasher, Source, same_name};
use crate::feed::FeedRules;
use crate::lookup::{CARRIED_ON, Lookup, PathTemplate};
use crate::path::{self, PathPrefix};
use crate::reply::{Replies, Wording};

pub(super) fn config(raw: Raw) -> Result<Config, ConfigError> {
    let credential = credential_rules(raw.credential.0)?;
    let exempt = exemptions(raw.exempt.0)?;
    Ok(Config {
        lookup: lookup(raw.lookup.0)?,
        cache: cache(raw.cache.0)?,
        feed: raw.feed.map(|Object(raw)| feed(raw)).transpose()?,
        hasher: hasher(raw.hash.0)?,
        environment: environment(raw.environment)?,
        introspection: raw
            .introspection
            .map(|Object(raw)| introspection(raw, &exempt))
            .transpose()?,
        exempt,
        identity_headers: identity_headers(raw.identity_headers, &credential)?,
        replies: replies(raw.replies.0)?,
        credential,
    })
}

/// Puts the field's path before what a check found.
fn at<T>(path: impl Into<String>, checked: Result<T, impl Into<String>>) -> Result<T, ConfigError> {
    checked.map_err(|problem| ConfigError::new(path, problem))
}

fn lookup(raw: RawLookup) -> Result<Lookup, ConfigError> {
    let Some(cluster) = raw.cluster else {
        return Err(ConfigError::new(
            "lookup.cluster",
            "is required: the name of the Envoy cluster that answers lookups",
        ));
    };
    at("lookup.cluster", check::cluster(&cluster))?;
    // Istio's cluster names end in the host: outbound|80||auth.default.svc.cluster.local
    let authority = raw
        .authority
        .unwrap_or_else(|| cluster.rsplit('|').next().unwrap_or_default().to_owned());
    at("lookup.authority", check::authority(&authority))?;
    let timeout = at("lookup.timeout", check::duration(&raw.timeout))?;
    if !(Duration::from_millis(1)..=Duration::from_secs(60)).contains(&timeout) {
        return Err(ConfigError::new(
            "lookup.timeout",
            "must be from \"1ms\" to \"60s\"",
        ));
    }
    let mut headers = Vec::new();
    for (name, value) in raw.headers.0 {
        let path = format!("lookup.headers.{name}");
        let name = at(&path, check::header_name(&name))?;
        at(&path, check::header_value(&value))?;
        at(&path, check::once(headers.iter().map(|(n, _)| n), &name))?;
        headers.push((name, value));
    }
    Ok(Lookup {
        authority,
        cluster,
        path: at(
            "lookup.path",
            PathTemplate::parse(&raw.path, "{key_hash}", &RawLookup::default().path),
        )?,
        timeout,
        headers,
    })
}

/// How long a verdict may count.
fn ttl(path: &str, text: &str) -> Result<Duration, ConfigError> {
    /// 30 days.
    const LONGEST: Duration = Duration::from_secs(30 * 24 * 3600);
    let ttl = at(path, check::duration(text))?;
    if ttl > LONGEST {
        return Err(ConfigError::new(path, "must be at most \"720h\""));
    }
    Ok(ttl)
}

fn cache(raw: RawCache) -> Result<CacheRules, ConfigError> {
    const MOST: u32 = 1_000_000;
    let entries = |field: &str, number: u32| {
        usize::try_from(number)
            .ok()
            .filter(|_| (1..=MOST).contains(&number))
            .ok_or_else(|| {
                let problem = format!("must be from 1 to {MOST}; a TTL of \"0s\" keeps none");
                ConfigError::new(format!("cache.{field}"), problem)
            })
    };
    let jitter = Share::new(raw.jitter).ok_or("must be a number from 0 to 1");
    let refresh_ahead = Share::new(raw.refresh_ahead)
        .filter(|share| *share != Share::default())
        .ok_or("must be a number above 0 and at most 1, which is off");
    Ok(CacheRules {
        allow_ttl: ttl("cache.allow_ttl", &raw.allow_ttl)?,
        not_found_ttl: ttl("cache.not_found_ttl", &raw.not_found_ttl)?,
        revoked_ttl: ttl("cache.revoked_ttl", &raw.revoked_ttl)?,
        stale_if_error: ttl("cache.stale_if_error", &raw.stale_if_error)?,
        refresh_ahead: at("cache.refresh_ahead", refresh_ahead)?,
        jitter: at("cache.jitter", jitter)?,
        max_allow_entries: entries("max_allow_entries", raw.max_allow_entries)?,
        max_deny_entries: entries("max_deny_entries", raw.max_deny_entries)?,
    })
}

fn feed(raw: RawFeed) -> Result<FeedRules, ConfigError> {
    const SHORTEST: Duration = Duration::from_millis(100);
    const LONGEST: Duration = Duration::from_secs(60);
    let default = RawFeed::default().path;
    let path = PathTemplate::parse(&raw.path, "{cursor}", &default);
    let interval = at("feed.interval", check::duration(&raw.interval))?;
    if !(SHORTEST..=LONGEST).contains(&interval) {
        return Err(ConfigError::new(
            "feed.interval",
            "must be from \"100ms\" to \"60s\"",
        ));
    }
    let stale_after = ttl("feed.stale_after", &raw.stale_after)?;
    if stale_after <= interval {
        let interval = &raw.interval;
        return Err(ConfigError::new(
            "feed.stale_after",
            format!("must be more than feed.interval, \"{interval}\", better several times that"),
        ));
    }
    Ok(FeedRules {
        path: at("feed.path", path)?,
        interval,
        stale_after,
        allow_ttl_when_stale: ttl("feed.allow_ttl_when_stale", &raw.allow_ttl_when_stale)?,
    })
}

fn credential_rules(raw: RawCredential) -> Result<CredentialRules, ConfigError> {
    let mut sources: Vec<Source> = Vec::new();
    for (index, Object(source)) in raw.sources.into_iter().enumerate() {
        let path = format!("credential.sources[{index}]");
        let header = source.header.ok_or("is required: the name of a header");
        let header = at(format!("{path}.header"), header)?;
        let header = at(format!("{path}.header"), check::header_name(&header))?;
        if CARRIED_ON.contains(&header.as_str()) {
            return Err(ConfigError::new(
                format!("{path}.header"),
                "is passed on to the auth cluster, which must never see a key; choose another",
            ));
        }
        if let Some(scheme) = &source.scheme {
            at(format!("{path}.scheme"), check::token(scheme))?;
        }
        let source = Source {
            header,
            scheme: source.scheme,
        };
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
    Ok(CredentialRules {
        sources,
        format: format(raw.format.0)?,
        forward: raw.forward,
    })
}

fn format(raw: RawFormat) -> Result<Format, ConfigError> {
    const LONGEST: u32 = 8192;
    let alphabet = match raw.alphabet.as_str() {
        "alphanumeric" => Ok(Alphabet::Alphanumeric),
        "base64" => Ok(Alphabet::Base64),
        "hex" => Ok(Alphabet::Hex),
        "url_safe" => Ok(Alphabet::UrlSafe),
        _ => Err("must be \"url_safe\", \"alphanumeric\", \"hex\" or \"base64\""),
    };
    let format = Format {
        alphabet: at("credential.format.alphabet", alphabet)?,
        min_length: usize::try_from(raw.min_length).unwrap_or(usize::MAX),
        max_length: usize::try_from(raw.max_length).unwrap_or(usize::MAX),
        prefix: raw.prefix,
    };
    at(
        "credential.format.prefix",
        check::key_prefix(&format.prefix),
    )?;
    if format.min_length <= format.prefix.len() {
        return Err(ConfigError::new(
            "credential.format.min_length",
            format!(
                "counts the prefix, so it must be more than {}",
                format.prefix.len()
            ),
        ));
    }
    if raw.max_length < raw.min_length || raw.max_length > LONGEST {
        return Err(ConfigError::new(
            "credential.format.max_length",
            format!("must be from {} (min_length) to {LONGEST}", raw.min_length),
        ));
    }
    Ok(format)
}

fn hasher(raw: RawHash) -> Result<KeyHasher, ConfigError> {
    if raw.pepper.as_deref() == Some("") {
        return Err(ConfigError::new(
            "hash.pepper",
            "must not be empty; null is plain SHA-256",
        ));
    }
    at(
        "hash.pepper",
        KeyHasher::new(raw.pepper.as_deref()).map_err(|error| error.to_string()),
    )
}

fn environment(raw: Option<String>) -> Result<Option<String>, ConfigError> {
    if let Some(environment) = &raw {
        at("environment", check::environment(environment))?;
    }
    Ok(raw)
}

fn exemptions(raw: RawExempt) -> Result<Exemptions, ConfigError> {
    let checked = |list: &str, paths: Vec<String>| {
        for (index, entry) in paths.iter().enumerate() {
            at(format!("exempt.{list}[{index}]"), path::check(entry))?;
        }
        Ok(paths)
    };
    Ok(Exemptions {
        paths: checked("paths", raw.paths)?,
        path_prefixes: checked("path_prefixes", raw.path_prefixes)?
            .into_iter()
            .map(PathPrefix::new)
            .collect(),
        preflight: raw.preflight,
    })
}

fn introspection(raw: RawIntrospection, exempt: &Exemptions) -> Result<String, ConfigError> {
    at("introspection.path", path::check(&raw.path))?;
    if exempt.cover_path(raw.path.as_bytes()) {
        return Err(ConfigError::new(
            "introspection.path",
            "is exempt, so nobody would be asked for a key there; take it out of exempt",
        ));
    }
    Ok(raw.path)
}

fn identity_headers(
    raw: Entries,
    credential: &CredentialRules,
) -> Result<Vec<(String, IdentityField)>, ConfigError> {
    let mut headers = Vec::new();
    for (name, field) in raw.0 {
        let path = format!("identity_headers.{name}");
        let name = at(&path, check::header_name(&name))?;
        at(&path, check::once(headers.iter().map(|(n, _)| n), &name))?;
        if credential
            .sources
            .iter()
            .any(|source| same_name(&source.header, &name))
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

fn replies(raw: RawReplies) -> Result<Replies, ConfigError> {
    at("replies.service_name", check::text(&raw.service_name, 64))?;
    at("replies.doc_base_url", check::url(&raw.doc_base_url))?;
    at("replies.realm", check::quotable(&raw.realm))?;
    if !(1..=86_400).contains(&raw.retry_after_seconds) {
        return Err(ConfigError::new(
            "replies.retry_after_seconds",
            "must be from 1 to 86400",
        ));
    }
    let mut wording = Wording::for_service(&raw.service_name);
    for (name, message) in raw.messages.0 {
        let path = format!("replies.messages.{name}");
        at(&path, check::text(&message, 199))?;
        at(path, wording.set(&name, message))?;
    }
    Ok(Replies::new(
        wording,
        &raw.doc_base_url,
        &raw.realm,
        raw.retry_after_seconds,
    ))
}
