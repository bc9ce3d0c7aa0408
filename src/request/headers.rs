//! A request's headers, and what the decision needs to know from them.

#![forbid(unsafe_code)]

use crate::request::header_map::{HeaderMap, NameLengths, Picked, to_map};

/// A request's headers as the proxy has them: names in lower case, values as bytes, repeats kept,
/// pseudo-headers (`:method`, `:path`) included.
#[derive(Clone, Default)]
pub struct Request {
    /// Whether nothing follows the headers: no body and no trailers.
    ends_with_headers: bool,
    map: HeaderMap,
}

impl Request {
    /// Takes a header map as proxy-wasm encodes it. If the map is damaged, only the headers before
    /// the damage count.
    pub fn from_map(map: Vec<u8>) -> Self {
        Self {
            map: HeaderMap(map),
            ..Self::default()
        }
    }

    /// Sets whether nothing follows the headers, as the proxy reports. By default, a body may
    /// follow.
    #[must_use]
    pub fn ending_with_headers(self, ends_with_headers: bool) -> Self {
        Self {
            ends_with_headers,
            ..self
        }
    }

    /// Takes a list of headers. Values may be any bytes, not only UTF-8.
    pub fn new(headers: &[(&str, &[u8])]) -> Self {
        Self::from_map(to_map(headers))
    }

    /// Returns the headers, in order, whose names have one of these lengths.
    pub fn headers_of(&self, lengths: NameLengths) -> Picked<'_> {
        self.map.pick(lengths)
    }

    /// Returns all values of a header, in order. `name` is in lower case.
    pub fn values<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.map.values(name)
    }

    /// Returns the first value of a header. `name` is in lower case.
    pub fn first(&self, name: &str) -> Option<&[u8]> {
        self.values(name).next()
    }

    /// Returns the value of a header that occurs exactly once.
    fn only(&self, name: &str) -> Option<&[u8]> {
        let mut values = self.values(name);
        let value = values.next()?;
        values.next().is_none().then_some(value)
    }

    /// Returns the path as Envoy routes it, without the query. It is empty if there is none
    /// (`CONNECT`).
    pub fn path(&self) -> &[u8] {
        without_query(self.first(":path").unwrap_or_default())
    }

    /// Returns whether this is a genuine CORS preflight: exactly what browsers send (Fetch
    /// standard, "CORS-preflight fetch"), and nothing that a server could take for another request.
    /// It has no credentials and no body, and announces none.
    pub fn is_genuine_preflight(&self) -> bool {
        self.first(":method") == Some(b"OPTIONS")
            && self.only("origin").is_some_and(is_origin)
            && self
                .only("access-control-request-method")
                .is_some_and(is_token)
            && self.first("authorization").is_none()
            && self.first("cookie").is_none()
            && self.has_no_body()
    }

    /// Returns whether the request ends with its headers, and they announce no body.
    pub fn has_no_body(&self) -> bool {
        self.ends_with_headers
            && self.values("content-length").all(|length| length == b"0")
            && self.first("transfer-encoding").is_none()
    }

    /// Returns whether Envoy answers this request in gRPC form
    /// (`Grpc::Common::isGrpcRequestHeaders`): `application/grpc` or `application/grpc+…`, but not
    /// gRPC-Web.
    pub fn is_grpc(&self) -> bool {
        self.first("content-type")
            .and_then(|value| value.strip_prefix(b"application/grpc"))
            .is_some_and(|rest| matches!(rest.first(), None | Some(b'+')))
            && self.first(":path").is_some()
    }
}

/// Returns the path of a request's target, without its query.
pub fn without_query(target: &[u8]) -> &[u8] {
    target
        .split(|byte| *byte == b'?')
        .next()
        .unwrap_or_default()
}

/// Returns whether some server treats two header names, both in lower case, as the same. CGI, WSGI
/// and PHP turn headers into variables and replace characters that a variable's name cannot
/// contain. So all characters except letters and digits are equal.
pub(crate) fn same_name(one: &[u8], other: &[u8]) -> bool {
    let same = |(one, other): (&u8, &u8)| {
        one == other || !(one.is_ascii_alphanumeric() || other.is_ascii_alphanumeric())
    };
    one.len() == other.len() && one.iter().zip(other).all(same)
}

/// Returns whether this is a token (RFC 9110 section 5.6.2), such as a method or the name of a
/// header.
pub(crate) fn is_token(value: &[u8]) -> bool {
    let of_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !value.is_empty() && value.iter().all(of_token)
}

/// Returns whether this is an origin as browsers send it (RFC 6454 section 7.1): `null`, or a
/// scheme and a host, perhaps with a port.
fn is_origin(value: &[u8]) -> bool {
    let Some(at) = value.windows(3).position(|part| part == b"://") else {
        return value == b"null";
    };
    let (scheme, rest) = value.split_at_checked(at).unwrap_or_default();
    let host = rest.get(3..).unwrap_or_default();
    let of_scheme = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
    let of_host = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~:[]".contains(byte);
    scheme.first().is_some_and(u8::is_ascii_alphabetic)
        && scheme.iter().all(of_scheme)
        && host.iter().any(u8::is_ascii_alphanumeric)
        && host.iter().all(of_host)
}
