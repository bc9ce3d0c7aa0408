//! `lookup`: how lookups are sent to the auth cluster.

use std::time::Duration;

use super::reader::{self, at};
use super::{ConfigError, check};
use crate::auth::lookup::{Lookup, PathTemplate};
use crate::json::Object;

/// All defaults except the cluster, which must be given, and the authority, which follows from it.
impl Default for Lookup {
    fn default() -> Self {
        Self {
            cluster: String::new(),
            authority: String::new(),
            path: PathTemplate::new("/v1/key-hashes/", ""),
            timeout: Duration::from_millis(250),
            headers: Vec::new(),
        }
    }
}

#[cold]
#[inline(never)]
pub(super) fn parse(json: &mut Object<'_>) -> Result<Lookup, ConfigError> {
    let fields = ["cluster", "authority", "path", "timeout", "headers"];
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
    Ok(lookup)
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
