//! What is compared.

/// A variant. Each is a listener of its own, before the same upstream.
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
}

/// The keys of a variant's requests.
#[derive(Clone, Copy)]
pub(crate) enum Keys {
    /// The same in each request.
    One,
    /// The static ones of the native filter, in turn.
    Static,
    /// All of `--keys`, in turn.
    All,
    /// One that is as long as a key, and has one character that no key has.
    Malformed,
}

/// The native filter's keys.
pub(crate) const STATIC_KEYS: u32 = 1000;

/// A key that the auth server knows, as all of its shape.
pub(crate) fn key(number: u32) -> String {
    format!("{}{number:06}", Keys::All.prefix())
}

impl Keys {
    /// What keys are made of, with their number of six digits behind it.
    pub(crate) fn prefix(self) -> &'static str {
        match self {
            Self::Malformed => "aw_x7Kq2mVtR9bYw4LhZ0cNf8sJd3gPu6EaX!",
            _ => "aw_x7Kq2mVtR9bYw4LhZ0cNf8sJd3gPu6EaXT",
        }
    }

    /// How many there are.
    pub(crate) fn count(self, all: u32) -> u32 {
        match self {
            Self::One | Self::Malformed => 1,
            Self::Static => STATIC_KEYS,
            Self::All => all,
        }
    }
}

impl Variant {
    /// All, in the order of the report.
    pub(crate) const ALL: [Self; 11] = [
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
    ];

    /// The name of its listener.
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
        }
    }

    /// Its name in the report.
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
        }
    }

    /// Whether it is Keystile.
    pub(crate) fn is_keystile(self) -> bool {
        matches!(
            self,
            Self::Cached | Self::CachedRotation | Self::Lookup | Self::Refused | Self::Malformed
        )
    }

    /// The keys of its requests. Requests at once with one key share Keystile's lookup, so all
    /// variants with a callout get many.
    pub(crate) fn keys(self) -> Keys {
        match self {
            Self::NoFilter | Self::LuaHeader | Self::Cached | Self::Refused => Keys::One,
            Self::NativeKeys => Keys::Static,
            Self::Malformed => Keys::Malformed,
            _ => Keys::All,
        }
    }

    /// The status that each request must get.
    pub(crate) fn status(self) -> u16 {
        match self {
            Self::Refused | Self::Malformed => 401,
            _ => 200,
        }
    }

    /// Whether each request asks the auth server; else none may, once the cache is warm.
    pub(crate) fn asks(self) -> bool {
        matches!(
            self,
            Self::LuaCallout | Self::AuthzHttp | Self::AuthzGrpc | Self::Lookup
        )
    }
}
