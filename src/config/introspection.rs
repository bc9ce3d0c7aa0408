//! `introspection`: the path at which clients can ask about their own key. It is off by default.

use super::{ConfigError, reader};
use crate::decision::exempt::Exemptions;
use crate::json::Object;
use crate::request::path;

/// The section, if it is given.
struct Introspection {
    path: String,
}

impl Default for Introspection {
    fn default() -> Self {
        Self {
            path: "/v1/keys/me".to_owned(),
        }
    }
}

#[cold]
#[inline(never)]
pub(super) fn parse(
    json: &mut Object<'_>,
    exempt: &Exemptions,
) -> Result<Option<String>, ConfigError> {
    let json = json.or_null("introspection");
    let Some(mut json) = json.object("introspection", &["path"])? else {
        return Ok(None);
    };
    let Introspection { mut path } = Introspection::default();
    let check = |path: &str| path::check(path).map_err(str::to_owned);
    reader::string(&mut json, "path", &mut path, check)?;
    // Envoy may rewrite such a path before the filter sees it.
    if path.contains("//") || path.contains('%') {
        return Err(ConfigError::new(
            "introspection.path",
            "must not have \"//\" or \"%\": write it as Envoy routes it",
        ));
    }
    if exempt.matches_path(path.as_bytes()) && exempt.matches_method(b"HEAD") {
        return Err(ConfigError::new(
            "introspection.path",
            "is exempt, so requests to it would need no key; remove it from exempt",
        ));
    }
    Ok(Some(path))
}
