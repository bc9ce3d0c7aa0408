//! What the decision needs to know of a request, read from its headers.

/// A request's headers as the proxy has them: names in lower case, values as bytes, repeats kept,
/// pseudo-headers (`:method`, `:path`) included.
#[derive(Clone, Default)]
pub struct Request {
    headers: Vec<(String, Vec<u8>)>,
}

impl Request {
    /// Takes the header list. Values may be any bytes; nothing is assumed about UTF-8.
    pub fn new(headers: Vec<(String, Vec<u8>)>) -> Self {
        Self { headers }
    }

    /// All values of a header, in order. `name` is in lower case.
    pub fn values<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.headers
            .iter()
            .filter(move |(candidate, _)| candidate == name)
            .map(|(_, value)| value.as_slice())
    }

    /// The first value of a header. `name` is in lower case.
    pub fn first(&self, name: &str) -> Option<&[u8]> {
        self.values(name).next()
    }

    /// All headers in order, repeats included.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let headers = self.headers.iter();
        headers.map(|(name, value)| (name.as_str(), value.as_slice()))
    }

    /// The path as Envoy routes it, without the query; empty when there is none (`CONNECT`).
    pub fn path(&self) -> &[u8] {
        without_query(self.first(":path").unwrap_or_default())
    }

    /// Whether this is a CORS preflight as browsers send it (Fetch standard, "CORS-preflight
    /// fetch"), and not just any `OPTIONS` request.
    pub fn is_preflight(&self) -> bool {
        let present = |name| {
            let value = self.first(name).unwrap_or_default();
            !value.trim_ascii().is_empty()
        };
        self.first(":method") == Some(b"OPTIONS")
            && present("origin")
            && present("access-control-request-method")
    }

    /// Whether Envoy answers this request in the gRPC form (`Grpc::Common::isGrpcRequestHeaders`):
    /// `application/grpc` or `application/grpc+…`, but not gRPC-Web.
    pub fn is_grpc(&self) -> bool {
        self.first("content-type")
            .and_then(|value| value.strip_prefix(b"application/grpc"))
            .is_some_and(|rest| matches!(rest.first(), None | Some(b'+')))
            && self.first(":path").is_some()
    }
}

/// The path of a request's target, without its query.
pub fn without_query(target: &[u8]) -> &[u8] {
    target
        .split(|byte| *byte == b'?')
        .next()
        .unwrap_or_default()
}
