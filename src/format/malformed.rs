//! Why bytes could not be read. The object that they belong to is added above.

use crate::error::Error;

/// Bytes that are not what the format says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Malformed(String);

impl Malformed {
    /// Malformed for this reason.
    pub(crate) fn new(why: impl Into<String>) -> Self {
        Self(why.into())
    }

    /// A field that has another value than it must.
    pub(crate) fn field(
        name: &str,
        expected: impl std::fmt::Display,
        found: impl std::fmt::Display,
    ) -> Self {
        Self(format!("{name} is {found}, not {expected}"))
    }

    /// The error for the object that the bytes belong to.
    pub(crate) fn of(self, what: impl Into<String>) -> Error {
        Error::corrupt(what, self.0)
    }
}

/// Reads fixed-width fields from the front of a slice, or says that it ends early.
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The next `count` bytes.
    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        match self.rest.split_at_checked(count) {
            Some((field, rest)) => {
                self.rest = rest;
                Ok(field)
            }
            None => {
                let have = self.rest.len();
                Err(Malformed::new(format!(
                    "it ends {} bytes early",
                    count - have
                )))
            }
        }
    }

    /// The next `N` bytes as an array.
    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N)?);
        Ok(out)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Malformed> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Malformed> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Malformed> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Malformed> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// What has not been read.
    pub(crate) fn rest(self) -> &'a [u8] {
        self.rest
    }

    /// Nothing may be left.
    pub(crate) fn end(self) -> Result<(), Malformed> {
        match self.rest.len() {
            0 => Ok(()),
            extra => Err(Malformed::new(format!("{extra} bytes too many"))),
        }
    }
}

/// The first `N` bytes of the BLAKE3 hash of these parts, one after the other.
pub(crate) fn short_hash<const N: usize>(parts: &[&[u8]]) -> [u8; N] {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(part);
    }
    let mut out = [0; N];
    hasher.finalize_xof().fill(&mut out);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_in_order_and_nothing_may_be_missing_or_left() {
        let bytes = [1, 2, 0, 3, 0, 0, 0, 9];
        let mut fields = Fields::new(&bytes);
        assert_eq!(fields.u8().unwrap(), 1);
        assert_eq!(fields.u16().unwrap(), 2);
        assert_eq!(fields.u32().unwrap(), 3);
        let early = fields.u32().unwrap_err().of("a row").to_string();
        assert!(early.contains("it ends 3 bytes early"), "{early}");
        let left = fields.end().unwrap_err().of("a row").to_string();
        assert!(left.contains("1 bytes too many"), "{left}");
        Fields::new(&[]).end().unwrap();
        assert_eq!(Fields::new(&bytes).rest(), bytes);
    }
}
