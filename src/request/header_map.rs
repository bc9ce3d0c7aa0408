//! The header map: headers in the encoding in which the proxy hands them over.

#![forbid(unsafe_code)]

/// A header map as proxy-wasm encodes it: the number of headers; then the lengths of each name and
/// value; then each name and value, with a zero byte after each. Numbers have 32 bits, the lowest
/// byte first.
///
/// The headers stay in the one buffer that the proxy hands over, because most of them are
/// irrelevant, and are looked at only once.
#[derive(Clone, Default)]
pub(crate) struct HeaderMap(pub(super) Vec<u8>);

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

#[cfg(test)]
mod tests;
