//! A request's headers, and what the decision needs to know from them.

#![forbid(unsafe_code)]

/// A request's headers as the proxy has them: names in lower case, values as bytes, repeats kept,
/// pseudo-headers (`:method`, `:path`) included.
#[derive(Clone, Default)]
pub struct Request {
    /// Whether nothing follows the headers: no body and no trailers.
    ends_with_headers: bool,
    map: HeaderMap,
}

/// A header map as proxy-wasm encodes it: the number of headers; then the lengths of each name and
/// value; then each name and value, with a zero byte after each. Numbers have 32 bits, the lowest
/// byte first.
///
/// The headers stay in the one buffer that the proxy hands over, because most of them are
/// irrelevant, and are looked at only once.
#[derive(Clone, Default)]
pub(crate) struct HeaderMap(Vec<u8>);

/// A header: its name in lower case, and its value.
pub type Header<'a> = (&'a [u8], &'a [u8]);

/// The lengths, in bytes, of the header names that matter. Headers with other lengths can be
/// skipped without a look at their names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NameLengths(u64);

impl NameLengths {
    /// Names of this length or longer count as equally long.
    const LONG: usize = 63;

    fn bit(length: usize) -> u64 {
        1 << length.min(Self::LONG)
    }

    fn contains(self, length: usize) -> bool {
        self.0 & Self::bit(length) != 0
    }
}

/// Headers picked from a request. Usually there are only a few, which need no allocation.
#[derive(Debug, Default)]
pub struct Picked<'a> {
    few: [Header<'a>; Picked::FEW],
    count: usize,
    /// All of them, if they do not fit into `few`.
    many: Vec<Header<'a>>,
}

impl<'a> Picked<'a> {
    const FEW: usize = 12;

    /// Returns the headers in order.
    pub fn as_slice(&self) -> &[Header<'a>] {
        match self.few.get(..self.count) {
            Some(few) if self.many.is_empty() => few,
            _ => &self.many,
        }
    }

    fn push(&mut self, header: Header<'a>) {
        match self.few.get_mut(self.count) {
            Some(place) => {
                *place = header;
                self.count = self.count.saturating_add(1);
            }
            None => self.push_one_of_many(header),
        }
    }

    #[cold]
    fn push_one_of_many(&mut self, header: Header<'a>) {
        if self.many.is_empty() {
            self.many.extend(self.few);
        }
        self.many.push(header);
    }
}

impl<'a> FromIterator<&'a str> for NameLengths {
    fn from_iter<T: IntoIterator<Item = &'a str>>(names: T) -> Self {
        let bits = names.into_iter().map(|name| Self::bit(name.len()));
        Self(bits.fold(0, |all, bit| all | bit))
    }
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

impl HeaderMap {
    /// Returns the headers, in order, whose names have one of these lengths.
    pub(crate) fn pick(&self, lengths: NameLengths) -> Picked<'_> {
        let mut picked = Picked::default();
        let places = self.places();
        let places = places.filter(|place| lengths.contains(place.name_length));
        for header in places.map_while(|place| self.header(&place)) {
            picked.push(header);
        }
        picked
    }

    /// Returns all values of a header, in order. `name` is in lower case.
    pub(crate) fn values<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.places()
            // Most names differ in length, so their bytes are not compared.
            .filter(move |place| {
                place.name_length == name.len() && self.name(place) == Some(name.as_bytes())
            })
            .map_while(|place| self.value(&place))
    }

    /// Returns the positions of the headers, in order.
    fn places(&self) -> impl Iterator<Item = Place> {
        let (count, rest) = self.0.split_first_chunk().unwrap_or((&[0; 4], &[]));
        let size = number(*count).saturating_mul(8);
        let lengths = rest.get(..size).unwrap_or_default();
        let mut at = size.saturating_add(4);
        lengths.as_chunks::<8>().0.iter().map(move |lengths| {
            let [a, b, c, d, e, f, g, h] = *lengths;
            let (name_length, value_length) = (number([a, b, c, d]), number([e, f, g, h]));
            let value_at = at.saturating_add(name_length).saturating_add(1);
            let place = Place {
                name_at: at,
                name_length,
                value_at,
                value_length,
            };
            at = value_at.saturating_add(value_length).saturating_add(1);
            place
        })
    }

    fn header(&self, place: &Place) -> Option<Header<'_>> {
        Some((self.name(place)?, self.value(place)?))
    }

    fn name(&self, place: &Place) -> Option<&[u8]> {
        self.0.get(place.name_at..)?.get(..place.name_length)
    }

    fn value(&self, place: &Place) -> Option<&[u8]> {
        let value = self.0.get(place.value_at..)?;
        let (value, end) = value.split_at_checked(place.value_length)?;
        end.first().and(Some(value))
    }
}

/// Encodes headers as a proxy-wasm header map.
pub fn to_map<V: AsRef<[u8]>>(headers: &[(&str, V)]) -> Vec<u8> {
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes();
    let sizes = headers
        .iter()
        .map(|(name, value)| name.len().saturating_add(value.as_ref().len()));
    // Each header has two lengths and two zero bytes.
    let size = sizes.fold(4, |all: usize, size| {
        all.saturating_add(size).saturating_add(10)
    });
    let mut map = Vec::with_capacity(size);
    map.extend(u32::try_from(headers.len()).unwrap_or(0).to_le_bytes());
    for (name, value) in headers {
        map.extend(length(name.as_bytes()));
        map.extend(length(value.as_ref()));
    }
    for (name, value) in headers {
        for text in [name.as_bytes(), value.as_ref()] {
            map.extend_from_slice(text);
            map.push(0);
        }
    }
    map
}

/// The position of a header in the map.
struct Place {
    name_at: usize,
    name_length: usize,
    value_at: usize,
    value_length: usize,
}

fn number(bytes: [u8; 4]) -> usize {
    usize::try_from(u32::from_le_bytes(bytes)).unwrap_or(usize::MAX)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn all(map: &HeaderMap) -> Vec<(&[u8], &[u8])> {
        let places = map.places();
        places.map_while(|place| map.header(&place)).collect()
    }

    #[test]
    fn headers_are_read_as_they_were_written() {
        let cases: [&[(&str, &[u8])]; 4] = [
            &[],
            &[(":path", b"/")],
            &[("a", b""), ("", b"b"), ("a", b"\0\xff\0")],
            &[("x-long", &[b'x'; 70_000]), ("y", b"z")],
        ];
        for headers in cases {
            let expected: Vec<_> = headers
                .iter()
                .map(|(name, value)| (name.as_bytes(), *value))
                .collect();
            assert_eq!(all(&HeaderMap(to_map(headers))), expected);
        }
    }

    #[test]
    fn headers_are_picked_by_the_length_of_their_names() {
        let (long, longer) = ("l".repeat(63), "l".repeat(90));
        let names = [
            "",
            "a",
            "authorization",
            "x-api-key",
            "y-api-key",
            &long,
            &longer,
        ];
        let headers = names.map(|name| (name, &b"v"[..]));
        let map = HeaderMap(to_map(&headers));
        let cases: [(&[&str], &[&str]); 5] = [
            (&[], &[]),
            (&["authorization"], &["authorization"]),
            (&["x-api-key", "b"], &["a", "x-api-key", "y-api-key"]),
            (&[&long], &[&long, &longer]),
            (&[&longer], &[&long, &longer]),
        ];
        for (wanted, expected) in cases {
            let picked = map.pick(wanted.iter().copied().collect());
            let picked = picked.as_slice().iter();
            let picked: Vec<_> = picked.map(|(name, _)| *name).collect();
            let expected: Vec<_> = expected.iter().map(|name| name.as_bytes()).collect();
            assert_eq!(picked, expected, "{wanted:?}");
        }
    }

    #[test]
    fn many_headers_are_picked_in_order() {
        for count in 0..40 {
            let values: Vec<_> = (0..count).map(|n: usize| n.to_string()).collect();
            let headers: Vec<_> = values.iter().map(|value| ("a", value.as_bytes())).collect();
            let map = HeaderMap(to_map(&headers));
            let picked = map.pick(["a"].into_iter().collect());
            let picked: Vec<_> = picked.as_slice().iter().map(|(_, value)| *value).collect();
            let expected: Vec<_> = values.iter().map(String::as_bytes).collect();
            assert_eq!(picked, expected);
        }
    }

    /// The bytes that the SDK's own reader is tested with.
    #[test]
    fn the_map_is_that_of_the_abi() {
        let map = b"\x02\0\0\0\x07\0\0\0\x03\0\0\0\x05\0\0\0\x01\0\0\0:method\0GET\0:path\0/\0";
        let expected: [(&[u8], &[u8]); 2] = [(b":method", b"GET"), (b":path", b"/")];
        assert_eq!(all(&HeaderMap(map.to_vec())), expected);
        let headers: [(&str, &[u8]); 2] = [(":method", b"GET"), (":path", b"/")];
        assert_eq!(to_map(&headers), map);
        // A map that is cut off or has a changed byte never yields extra headers.
        for at in 0..map.len() {
            assert!(all(&HeaderMap(map[..at].to_vec())).len() < 2);
            let mut damaged = map.to_vec();
            damaged[at] = 0xff;
            assert!(all(&HeaderMap(damaged)).len() <= 2);
        }
        assert_eq!(all(&HeaderMap::default()).len(), 0);
    }
}
