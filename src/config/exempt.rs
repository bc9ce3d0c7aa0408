//! `exempt`: the requests that need no key.

use super::check::token;
use super::{ConfigError, reader};
use crate::decision::exempt::Exemptions;
use crate::json::Object;
use crate::request::path::{self, PathPrefix};

impl Default for Exemptions {
    fn default() -> Self {
        Self {
            paths: Vec::new(),
            path_prefixes: Vec::new(),
            methods: vec!["GET".to_owned()],
            bodies: false,
            preflight: true,
        }
    }
}

#[cold]
#[inline(never)]
pub(super) fn parse(json: &mut Object<'_>) -> Result<Exemptions, ConfigError> {
    let fields = ["paths", "path_prefixes", "methods", "preflight"];
    let mut json = json.object_or_empty("exempt", &fields)?;
    let mut exempt = Exemptions::default();
    if let Some(paths) = reader::strings(&mut json, "paths", path::check)? {
        exempt.paths = paths;
    }
    if let Some(prefixes) = reader::strings(&mut json, "path_prefixes", path::check)? {
        exempt.path_prefixes = prefixes.into_iter().map(PathPrefix::new).collect();
    }
    if let Some(methods) = reader::strings(&mut json, "methods", check_method)? {
        let problem = if methods.is_empty() {
            Some("must name at least one method; without it, GET and HEAD are exempt")
        } else if exempt.paths.is_empty() && exempt.path_prefixes.is_empty() {
            Some("has no effect alone: exempt.paths or exempt.path_prefixes must be set too")
        } else {
            None
        };
        if let Some(problem) = problem {
            return Err(ConfigError::new("exempt.methods", problem));
        }
        exempt.methods = methods;
        exempt.bodies = true;
    }
    if let Some(preflight) = json.bool("preflight")? {
        exempt.preflight = preflight;
    }
    Ok(exempt)
}

/// Checks a method. Methods are case-sensitive (RFC 9110 section 9.1), and all that are in use are
/// in upper case.
fn check_method(value: &str) -> Result<(), &'static str> {
    if token(value).is_err() || value.bytes().any(|byte| byte.is_ascii_lowercase()) {
        Err("must be a method in upper case, such as \"GET\" or \"POST\"")
    } else {
        Ok(())
    }
}
