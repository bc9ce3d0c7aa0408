//! The variants that are compared.

use std::path::Path;

/// A variant. Each has its own listener, and all have the same upstream.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Variant {
    NoFilter,
    NativeKeys,
    LuaHeader,
    LuaCallout,
    AuthzHttp,
    AuthzGrpc,
    Cached,
    CachedRotation,
    Lookup,
    Refused,
    Malformed,
    CachedFloor,
    LookupFloor,
    RefusedFloor,
}

/// A variant and the module to measure it with. Each subject has a listener.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subject<'a> {
    pub(crate) variant: Variant,
    /// The module to measure instead of the one that was built.
    pub(crate) against: Option<&'a Path>,
}

impl Subject<'_> {
    /// Returns a variant with the module that was built.
    pub(crate) fn of(variant: Variant) -> Self {
        Self {
            variant,
            against: None,
        }
    }

    /// Returns the name of its listener.
    pub(crate) fn name(self) -> String {
        let name = self.variant.name();
        if self.against.is_some() {
            format!("{name}_against")
        } else {
            name.to_owned()
        }
    }
}

/// The keys of a variant's requests.
#[derive(Clone, Copy)]
pub(crate) enum Keys {
    /// The same in each request.
    One,
    /// The native filter's static keys, in turn.
    Static,
    /// All of `--keys`, in turn.
    All,
    /// One that is as long as a key, but has a character that no key has.
    Malformed,
}

/// The number of the native filter's keys.
pub(crate) const STATIC_KEYS: u32 = 1000;

/// Returns a key. The auth server accepts all keys of this form.
pub(crate) fn key(number: u32) -> String {
    format!("{}{number:06}", Keys::All.prefix())
}

impl Keys {
    /// Returns what all keys begin with, before their number of six digits.
    pub(crate) fn prefix(self) -> &'static str {
        match self {
            Self::Malformed => "aw_x7Kq2mVtR9bYw4LhZ0cNf8sJd3gPu6EaX!",
            _ => "aw_x7Kq2mVtR9bYw4LhZ0cNf8sJd3gPu6EaXT",
        }
    }

    /// Returns the number of keys; `all` is the number from `--keys`.
    pub(crate) fn count(self, all: u32) -> u32 {
        match self {
            Self::One | Self::Malformed => 1,
            Self::Static => STATIC_KEYS,
            Self::All => all,
        }
    }
}

impl Variant {
    /// All variants, in the order of the report.
    pub(crate) const ALL: [Self; 14] = [
        Self::NoFilter,
        Self::NativeKeys,
        Self::LuaHeader,
        Self::LuaCallout,
        Self::AuthzHttp,
        Self::AuthzGrpc,
        Self::Cached,
        Self::CachedRotation,
        Self::Lookup,
        Self::Refused,
        Self::Malformed,
        Self::CachedFloor,
        Self::LookupFloor,
        Self::RefusedFloor,
    ];

    /// The variants of Keystile.
    pub(crate) const KEYSTILE: [Self; 5] = [
        Self::Cached,
        Self::CachedRotation,
        Self::Lookup,
        Self::Refused,
        Self::Malformed,
    ];

    /// Returns its name in Envoy.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::NoFilter => "no_filter",
            Self::NativeKeys => "api_key_auth",
            Self::LuaHeader => "lua_header",
            Self::LuaCallout => "lua_http_call",
            Self::AuthzHttp => "ext_authz_http",
            Self::AuthzGrpc => "ext_authz_grpc",
            Self::Cached => "keystile_cached",
            Self::CachedRotation => "keystile_cached_rotation",
            Self::Lookup => "keystile_lookup",
            Self::Refused => "keystile_refused",
            Self::Malformed => "keystile_malformed",
            Self::CachedFloor => "floor_cached",
            Self::LookupFloor => "floor_lookup",
            Self::RefusedFloor => "floor_refused",
        }
    }

    /// Returns its name in the report.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::NoFilter => "no filter",
            Self::NativeKeys => "`api_key_auth`, 1000 static keys",
            Self::LuaHeader => "Lua, reads and sets one header",
            Self::LuaCallout => "Lua, `httpCall`",
            Self::AuthzHttp => "`ext_authz`, HTTP service",
            Self::AuthzGrpc => "`ext_authz`, gRPC service",
            Self::Cached => "Keystile, allowed from cache",
            Self::CachedRotation => "Keystile, allowed from cache, many keys in turn",
            Self::Lookup => "Keystile, allowed by lookup",
            Self::Refused => "Keystile, refused from cache",
            Self::Malformed => "Keystile, malformed key",
            Self::CachedFloor => "Wasm, host calls alone: from cache",
            Self::LookupFloor => "Wasm, host calls alone: by lookup",
            Self::RefusedFloor => "Wasm, host calls alone: refused",
        }
    }

    /// Returns true if it is a variant of Keystile.
    pub(crate) fn is_keystile(self) -> bool {
        Self::KEYSTILE.contains(&self)
    }

    /// Returns the keys of its requests. Concurrent requests with the same key share a lookup in
    /// Keystile, so all variants with a callout get many keys.
    pub(crate) fn keys(self) -> Keys {
        match self {
            Self::NoFilter
            | Self::LuaHeader
            | Self::Cached
            | Self::Refused
            | Self::CachedFloor
            | Self::RefusedFloor => Keys::One,
            Self::NativeKeys => Keys::Static,
            Self::Malformed => Keys::Malformed,
            _ => Keys::All,
        }
    }

    /// Returns the status that each request must get.
    pub(crate) fn status(self) -> u16 {
        match self {
            Self::Refused | Self::Malformed | Self::RefusedFloor => 401,
            _ => 200,
        }
    }

    /// Returns true if each request makes a callout to the auth server. Otherwise none may, once the
    /// cache is warm.
    pub(crate) fn makes_callout(self) -> bool {
        matches!(
            self,
            Self::LuaCallout | Self::AuthzHttp | Self::AuthzGrpc | Self::Lookup | Self::LookupFloor
        )
    }

    /// Returns true if it makes Keystile's host calls and does nothing else.
    pub(crate) fn is_floor(self) -> bool {
        matches!(
            self,
            Self::CachedFloor | Self::LookupFloor | Self::RefusedFloor
        )
    }

    /// Returns true if it decides by the credential.
    pub(crate) fn decides(self) -> bool {
        !matches!(self, Self::NoFilter | Self::LuaHeader) && !self.is_floor()
    }
}
