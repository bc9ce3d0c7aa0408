//! `lookup`: how lookups are sent to the auth cluster.

use std::borrow::Cow;
use std::time::Duration;

use super::credential::is_source;
use super::reader::{self, at};
use super::{ConfigError, check};
use crate::auth::lookup::{Lookup, OWN, PathTemplate, Scheme};
use crate::json::Object;
use crate::request::credential::{CredentialRules, Source};

/// All defaults except the cluster, which must be given, and the authority, which follows from it.
impl Default for Lookup {
    fn default() -> Self {
        Self {
            cluster: String::new(),
            authority: String::new(),
            path: PathTemplate::new("/v1/key-hashes/", ""),
            timeout: Duration::from_millis(250),
            headers: Vec::new(),
            require_key_hash: false,
            max_concurrent: 256,
            scheme: Scheme::Http,
            propagate_headers: ["x-request-id", "traceparent", "tracestate"]
                .map(str::to_owned)
                .to_vec(),
        }
    }
}

/// More than any circuit breaker needs.
const MOST_CONCURRENT: usize = 65_536;

/// More than all formats of trace headers together have.
const MOST_PROPAGATED: usize = 16;

#[cold]
#[inline(never)]
pub(super) fn parse(
    json: &mut Object<'_>,
    credential: &CredentialRules,
) -> Result<Lookup, ConfigError> {
    let fields = [
        "cluster",
        "authority",
        "path",
        "timeout",
        "headers",
        "require_key_hash",
        "max_concurrent",
        "scheme",
        "propagate_headers",
    ];
    let mut json = json.object_or_empty("lookup", &fields)?;
    let mut lookup = Lookup::default();
    let Some(cluster) = json.or_null("cluster").string("cluster")? else {
        return Err(ConfigError::new(
            "lookup.cluster",
            "is required: the name of the Envoy cluster that answers lookups",
        ));
    };
    at("lookup.cluster", check::cluster(&cluster))?;
    let authority = json.or_null("authority").string("authority")?;
    let authority = authority.unwrap_or_else(|| host(&cluster).into());
    at("lookup.authority", check_authority(&authority))?;
    lookup.authority = authority.into_owned();
    lookup.cluster = cluster.into_owned();
    reader::duration(&mut json, "timeout", &mut lookup.timeout)?;
    if !(Duration::from_millis(1)..=Duration::from_secs(60)).contains(&lookup.timeout) {
        return Err(ConfigError::new(
            "lookup.timeout",
            "must be from \"1ms\" to \"60s\"",
        ));
    }
    for (name, value) in json.entries("headers")?.unwrap_or_default() {
        let path = format!("lookup.headers.{name}");
        let headers = &mut lookup.headers;
        let name = at(&path, check::header_name(&name))?;
        at(&path, check::header_value(&value))?;
        at(&path, check::once(headers.iter().map(|(n, _)| n), &name))?;
        headers.push((name, value));
    }
    reader::path_template(&mut json, "{key_hash}", &mut lookup.path)?;
    if let Some(required) = json.bool("require_key_hash")? {
        lookup.require_key_hash = required;
    }
    reader::integer(&mut json, "max_concurrent", &mut lookup.max_concurrent)?;
    if !(1..=MOST_CONCURRENT).contains(&lookup.max_concurrent) {
        return Err(ConfigError::new(
            "lookup.max_concurrent",
            format!("must be from 1 to {MOST_CONCURRENT}"),
        ));
    }
    if let Some(scheme) = json.string("scheme")? {
        lookup.scheme = at("lookup.scheme", parse_scheme(&scheme))?;
    }
    match json.strings("propagate_headers")? {
        Some(names) => lookup.propagate_headers = propagated(&names, credential)?,
        None => check_sources(credential, &lookup.propagate_headers)?,
    }
    Ok(lookup)
}

fn parse_scheme(name: &str) -> Result<Scheme, &'static str> {
    match name {
        "http" => Ok(Scheme::Http),
        "https" => Ok(Scheme::Https),
        _ => Err("must be \"http\" or \"https\""),
    }
}

/// Reads the names of the headers to propagate, and returns them in lower case.
#[cold]
#[inline(never)]
fn propagated(
    names: &[Cow<'_, str>],
    credential: &CredentialRules,
) -> Result<Vec<String>, ConfigError> {
    let mut propagated = Vec::new();
    for (index, name) in names.iter().enumerate() {
        let path = format!("lookup.propagate_headers[{index}]");
        let name = at(&path, check::header_name(name))?;
        at(&path, check::once(propagated.iter(), &name))?;
        at(&path, check_propagated(&name, credential))?;
        propagated.push(name);
    }
    if propagated.len() > MOST_PROPAGATED {
        return Err(ConfigError::new(
            "lookup.propagate_headers",
            format!("must have at most {MOST_PROPAGATED} headers"),
        ));
    }
    Ok(propagated)
}

/// Checks that no source is propagated by default.
fn check_sources(credential: &CredentialRules, propagated: &[String]) -> Result<(), ConfigError> {
    let mut sources = credential.sources.iter();
    let is_propagated = |source: &Source| propagated.contains(&source.header);
    let Some(index) = sources.position(is_propagated) else {
        return Ok(());
    };
    Err(ConfigError::new(
        format!("credential.sources[{index}].header"),
        "is propagated to the auth cluster, which must never see a key; choose another, or list \
         lookup.propagate_headers without it",
    ))
}

fn check_propagated(name: &str, credential: &CredentialRules) -> Result<(), &'static str> {
    if is_source(credential, name) {
        Err("is a credential source, but the auth cluster must never see a key; choose another")
    } else if OWN.contains(&name) {
        Err("is set by the filter; choose another, or set it in lookup.headers")
    } else if name == "x-forwarded-proto" {
        Err("would change the scheme of lookups; choose another, and set lookup.scheme")
    } else if name.starts_with("x-envoy-") {
        Err("would let clients change how Envoy sends lookups; choose another")
    } else {
        Ok(())
    }
}

/// Returns the host in a cluster's name. Istio's names end in it:
/// `outbound|80||auth.default.svc.cluster.local`.
fn host(cluster: &str) -> &str {
    cluster.rsplit('|').next().unwrap_or_default()
}

/// Checks for an authority (RFC 3986 section 3.2), without user information.
fn check_authority(value: &str) -> Result<(), &'static str> {
    let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:[]".contains(&byte);
    if value.is_empty() || !value.bytes().all(is_host) {
        Err(
            "must be a host, such as \"auth.example.com:8080\"; the default is the host in the cluster's name",
        )
    } else {
        Ok(())
    }
}
