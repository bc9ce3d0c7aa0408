//! From the configuration as it is written to the checked one, field by field, with all defaults.

use std::time::Duration;

use super::{Config, ConfigError, Exemptions, IdentityField, check};
use crate::cache::{CacheRules, Share};
use crate::credential::{Alphabet, CredentialRules, Format, KeyHasher, Source, same_name};
use crate::feed::{FeedRules, LONG_PAGE};
use crate::json::{Fields, Object};
use crate::lookup::{CARRIED_ON, Lookup, PathTemplate};
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

pub(super) fn config(json: &mut Object) -> Result<Config, ConfigError> {
    let lookup = lookup(json)?;
    let credential = credential_rules(json)?;
    let exempt = exemptions(json)?;
    Ok(Config {
        lookup,
        cache: cache(json)?,
        feed: feed(json)?,
        hasher: hasher(json)?,
        environment: environment(json)?,
        introspection: introspection(json, &exempt)?,
        exempt,
        identity_headers: identity_headers(json, &credential)?,
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
    json: &mut Object,
    name: &str,
    default: &str,
    check: fn(&str) -> Result<(), String>,
) -> Result<String, ConfigError> {
    let text = json.text(name)?.unwrap_or_else(|| default.to_owned());
    at(json.path(name), check(&text))?;
    Ok(text)
}

fn duration_or(json: &mut Object, name: &str, default: &str) -> Result<Duration, ConfigError> {
    let text = json.text(name)?;
    let text = text.as_deref().unwrap_or(default);
    at(json.path(name), check::duration(text))
}

fn path_template(
    json: &mut Object,
    placeholder: &str,
    default: &str,
) -> Result<PathTemplate, ConfigError> {
    let text = json.text("path")?;
    let text = text.as_deref().unwrap_or(default);
    let template = PathTemplate::parse(text, placeholder, default);
    at(json.path("path"), template)
}

fn lookup(json: &mut Object) -> Result<Lookup, ConfigError> {
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
        .unwrap_or_else(|| cluster.rsplit('|').next().unwrap_or_default().to_owned());
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
        authority,
        cluster,
        path: path_template(&mut json, "{key_hash}", "/v1/key-hashes/{key_hash}")?,
        timeout,
        headers,
    })
}

/// How long a verdict may count.
fn ttl_or(json: &mut Object, name: &str, default: &str) -> Result<Duration, ConfigError> {
    /// 30 days.
    const LONGEST: Duration = Duration::from_secs(30 * 24 * 3600);
    let ttl = duration_or(json, name, default)?;
    if ttl > LONGEST {
        return Err(ConfigError::new(
            json.path(name),
            "must be at most \"720h\"",
        ));
    }
    Ok(ttl)
}

fn cache(json: &mut Object) -> Result<CacheRules, ConfigError> {
    let fields = [
        "allow_ttl",
        "not_found_ttl",
        "revoked_ttl",
        "stale_if_error",
        "refresh_ahead",
        "jitter",
        "max_allow_entries",
        "max_deny_entries",
    ];
    let mut json = json.object_or_empty("cache", &fields)?;
    let refresh_ahead = Share::new(json.number("refresh_ahead")?.unwrap_or(0.8))
        .filter(|share| *share != Share::default())
        .ok_or("must be a number above 0 and at most 1, which is off");
    let jitter = Share::new(json.number("jitter")?.unwrap_or(0.1));
    Ok(CacheRules {
        allow_ttl: ttl_or(&mut json, "allow_ttl", "60s")?,
        not_found_ttl: ttl_or(&mut json, "not_found_ttl", "5s")?,
        revoked_ttl: ttl_or(&mut json, "revoked_ttl", "5m")?,
        stale_if_error: ttl_or(&mut json, "stale_if_error", "10m")?,
        refresh_ahead: at("cache.refresh_ahead", refresh_ahead)?,
        jitter: at("cache.jitter", jitter.ok_or("must be a number from 0 to 1"))?,
        max_allow_entries: entries_or(&mut json, "max_allow_entries", 50_000)?,
        max_deny_entries: entries_or(&mut json, "max_deny_entries", 10_000)?,
    })
}

fn entries_or(json: &mut Object, name: &str, default: u32) -> Result<usize, ConfigError> {
    const MOST: u32 = 1_000_000;
    let number = json.whole(name)?.unwrap_or(default);
    let entries = usize::try_from(number).ok();
    let entries = entries.filter(|_| (1..=MOST).contains(&number));
    entries.ok_or_else(|| {
        let problem = format!("must be from 1 to {MOST}; a TTL of \"0s\" keeps none");
        ConfigError::new(json.path(name), problem)
    })
}

fn feed(json: &mut Object) -> Result<Option<FeedRules>, ConfigError> {
    const SHORTEST: Duration = Duration::from_millis(100);
    const LONGEST: Duration = Duration::from_secs(60);
    const STALEST: Duration = Duration::from_secs(3600);
    let fields = ["path", "interval", "stale_after", "allow_ttl_when_stale"];
    let Some(mut json) = json.or_null("feed").object("feed", &fields)? else {
        return Ok(None);
    };
    let path = path_template(&mut json, "{cursor}", "/v1/changes?after={cursor}")?;
    if path.limit().is_some_and(|limit| limit < LONG_PAGE) {
        return Err(ConfigError::new(
            "feed.path",
            format!("must ask for at least {LONG_PAGE} changes at once, or set no limit"),
        ));
    }
    let interval = duration_or(&mut json, "interval", "1s")?;
    if !(SHORTEST..=LONGEST).contains(&interval) {
        return Err(ConfigError::new(
            "feed.interval",
            "must be from \"100ms\" to \"60s\"",
        ));
    }
    let stale_after = duration_or(&mut json, "stale_after", "10s")?;
    if !(interval.saturating_mul(2)..=STALEST).contains(&stale_after) {
        return Err(ConfigError::new(
            "feed.stale_after",
            "must be at least twice feed.interval, and at most \"1h\"",
        ));
    }
    Ok(Some(FeedRules {
        path,
        interval,
        stale_after,
        allow_ttl_when_stale: ttl_or(&mut json, "allow_ttl_when_stale", "60s")?,
    }))
}

fn credential_rules(json: &mut Object) -> Result<CredentialRules, ConfigError> {
    let mut json = json.object_or_empty("credential", &["sources", "format", "forward"])?;
    let format = format(&mut json)?;
    let forward = json.flag("forward")?.unwrap_or(false);
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

fn checked_sources(json: Vec<Object>) -> Result<Vec<Source>, ConfigError> {
    let mut sources: Vec<Source> = Vec::new();
    for (index, mut source) in json.into_iter().enumerate() {
        let path = format!("credential.sources[{index}]");
        let header = source.or_null("header").text("header")?;
        let header = header.ok_or("is required: the name of a header");
        let header = at(format!("{path}.header"), header)?;
        let header = at(format!("{path}.header"), check::header_name(&header))?;
        if CARRIED_ON.contains(&header.as_str()) {
            return Err(ConfigError::new(
                format!("{path}.header"),
                "is passed on to the auth cluster, which must never see a key; choose another",
            ));
        }
        let scheme = source.or_null("scheme").text("scheme")?;
        if let Some(scheme) = &scheme {
            at(format!("{path}.scheme"), check::token(scheme))?;
        }
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

fn format(json: &mut Object) -> Result<Format, ConfigError> {
    const LONGEST: u32 = 8192;
    let fields = ["prefix", "min_length", "max_length", "alphabet"];
    let mut json = json.object_or_empty("format", &fields)?;
    let alphabet = json.text("alphabet")?;
    let alphabet = match alphabet.as_deref().unwrap_or("url_safe") {
        "alphanumeric" => Ok(Alphabet::Alphanumeric),
        "base64" => Ok(Alphabet::Base64),
        "hex" => Ok(Alphabet::Hex),
        "url_safe" => Ok(Alphabet::UrlSafe),
        _ => Err("must be \"url_safe\", \"alphanumeric\", \"hex\" or \"base64\""),
    };
    let min_length = json.whole("min_length")?.unwrap_or(43);
    let max_length = json.whole("max_length")?.unwrap_or(256);
    let format = Format {
        alphabet: at("credential.format.alphabet", alphabet)?,
        min_length: usize::try_from(min_length).unwrap_or(usize::MAX),
        max_length: usize::try_from(max_length).unwrap_or(usize::MAX),
        prefix: text_or(&mut json, "prefix", "aw_", check::key_prefix)?,
    };
    if format.min_length <= format.prefix.len() {
        return Err(ConfigError::new(
            "credential.format.min_length",
            format!(
                "counts the prefix, so it must be more than {}",
                format.prefix.len()
            ),
        ));
    }
    if max_length < min_length || max_length > LONGEST {
        return Err(ConfigError::new(
            "credential.format.max_length",
            format!("must be from {min_length} (min_length) to {LONGEST}"),
        ));
    }
    Ok(format)
}

fn hasher(json: &mut Object) -> Result<KeyHasher, ConfigError> {
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

fn environment(json: &mut Object) -> Result<Option<String>, ConfigError> {
    let environment = json.or_null("environment").text("environment")?;
    if let Some(environment) = &environment {
        at("environment", check::environment(environment))?;
    }
    Ok(environment)
}

fn exemptions(json: &mut Object) -> Result<Exemptions, ConfigError> {
    let mut json = json.object_or_empty("exempt", &["paths", "path_prefixes", "preflight"])?;
    let mut paths = |list: &str| {
        let paths = json.texts(list)?.unwrap_or_default();
        for (index, entry) in paths.iter().enumerate() {
            at(format!("exempt.{list}[{index}]"), path::check(entry))?;
        }
        Ok::<_, ConfigError>(paths)
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

fn introspection(json: &mut Object, exempt: &Exemptions) -> Result<Option<String>, ConfigError> {
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
    json: &mut Object,
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

fn replies(json: &mut Object) -> Result<Replies, ConfigError> {
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
