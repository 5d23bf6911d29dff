//! The envelope of records: what it is, whose it is, and a hash over all of it.

use super::limits::{MAX_RECORD_BYTES, RECORD_CHECK_BYTES, RECORD_HEADER_BYTES, RECORD_MAGIC};
use super::malformed::{Fields, Malformed, short_hash};
use crate::id::StoreId;

const BODY_VERSION: u8 = 1;

/// The table that a record belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum TableCode {
    Settings = 1,
    Log = 2,
    Checkpoints = 3,
    Jobs = 4,
    Names = 5,
    Telemetry = 6,
}

impl TableCode {
    const ALL: [Self; 6] = [
        Self::Settings,
        Self::Log,
        Self::Checkpoints,
        Self::Jobs,
        Self::Names,
        Self::Telemetry,
    ];
}

/// The store id as every record carries it, so that a record says whose it is wherever it is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct StoreTag([u8; 16]);

impl StoreTag {
    /// No store's: for reading before the store is known.
    pub(crate) const NONE: Self = Self([0; 16]);

    /// The tag of this store.
    pub(crate) const fn of(id: StoreId) -> Self {
        Self(*id.as_bytes())
    }

    /// The store whose tag this is.
    pub(crate) const fn store(self) -> StoreId {
        StoreId::new(self.0)
    }

    /// The tag that these record bytes carry, unverified: how the identity record is read before
    /// the store id is known.
    pub(crate) fn peek(bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields::new(bytes);
        fields.take(12).ok()?;
        fields.array().ok().map(Self)
    }
}

/// Puts a body in its envelope.
pub(super) fn seal(
    table: TableCode,
    store: StoreTag,
    key: &[u8],
    body: &[u8],
) -> Result<Vec<u8>, Malformed> {
    let total = RECORD_HEADER_BYTES + key.len() + body.len() + RECORD_CHECK_BYTES;
    let key_len = u16::try_from(key.len()).map_err(|_| Malformed::new("its key is too long"))?;
    let body_len = match u32::try_from(body.len()) {
        Ok(length) if total <= MAX_RECORD_BYTES => length,
        _ => {
            let why = format!("{total} bytes; a record may have {MAX_RECORD_BYTES}");
            return Err(Malformed::new(why));
        }
    };
    let mut out = Vec::with_capacity(total);
    out.extend_from_slice(RECORD_MAGIC);
    out.extend_from_slice(&[table as u8, BODY_VERSION]);
    out.extend_from_slice(&key_len.to_le_bytes());
    out.extend_from_slice(&body_len.to_le_bytes());
    out.extend_from_slice(&store.0);
    out.extend_from_slice(key);
    out.extend_from_slice(body);
    let check: [u8; RECORD_CHECK_BYTES] = short_hash(&[&out]);
    out.extend_from_slice(&check);
    Ok(out)
}

/// A record found outside its table: where it belongs, as it says itself, its hash having been
/// checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LooseRecord {
    pub(crate) table: TableCode,
    pub(crate) store: StoreTag,
    pub(crate) key: u64,
    /// Length of the whole record.
    pub(crate) len: usize,
}

impl LooseRecord {
    /// The record that these bytes begin with, if they do.
    pub(crate) fn at(bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields::new(bytes);
        if fields.take(4).ok()? != RECORD_MAGIC {
            return None;
        }
        let code = fields.u8().ok()?;
        let table = TableCode::ALL.into_iter().find(|t| *t as u8 == code)?;
        let (version, key_len) = (fields.u8().ok()?, fields.u16().ok()?);
        let body_len = usize::try_from(fields.u32().ok()?).ok()?;
        let store = StoreTag(fields.array().ok()?);
        let covered = body_len.checked_add(RECORD_HEADER_BYTES + 8)?;
        let len = covered.checked_add(RECORD_CHECK_BYTES)?;
        if version != BODY_VERSION || key_len != 8 || len > MAX_RECORD_BYTES {
            return None;
        }
        let key = u64::from_be_bytes(fields.array().ok()?);
        let check = bytes.get(covered..len)?;
        (short_hash::<RECORD_CHECK_BYTES>(&[bytes.get(..covered)?]) == check).then_some(Self {
            table,
            store,
            key,
            len,
        })
    }
}

/// Takes a body out of its envelope after checking that it is this table's, store's and key's.
pub(super) fn open<'a>(
    table: TableCode,
    store: StoreTag,
    key: &[u8],
    bytes: &'a [u8],
) -> Result<&'a [u8], Malformed> {
    if bytes.len() > MAX_RECORD_BYTES {
        return Err(Malformed::field(
            "its length",
            "within the limit",
            bytes.len(),
        ));
    }
    let mut fields = Fields::new(bytes);
    if fields.take(4)? != RECORD_MAGIC {
        return Err(Malformed::new("it does not begin like a record"));
    }
    let found = fields.u8()?;
    if found != table as u8 {
        return Err(Malformed::field("its table", table as u8, found));
    }
    let version = fields.u8()?;
    if version != BODY_VERSION {
        return Err(Malformed::field("its version", BODY_VERSION, version));
    }
    let key_len = fields.u16()?;
    let body_len = fields.u32()?;
    if fields.array()? != store.0 {
        return Err(Malformed::new("it belongs to another store"));
    }
    if usize::from(key_len) != key.len() || fields.take(key.len())? != key {
        return Err(Malformed::new("it belongs to another key"));
    }
    let body_len = usize::try_from(body_len).map_err(|_| Malformed::new("its body is too long"))?;
    let body = fields.take(body_len)?;
    let check: [u8; RECORD_CHECK_BYTES] = fields.array()?;
    fields.end()?;
    let covered = bytes.len() - RECORD_CHECK_BYTES;
    match bytes.get(..covered) {
        Some(all) if short_hash::<RECORD_CHECK_BYTES>(&[all]) == check => Ok(body),
        _ => Err(Malformed::new("its hash does not match its bytes")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed() -> Vec<u8> {
        seal(TableCode::Jobs, StoreTag([7; 16]), &[0, 0, 0, 1], b"body").unwrap()
    }

    #[test]
    fn a_record_is_as_long_as_the_limit_and_no_longer() {
        let around = RECORD_HEADER_BYTES + 4 + RECORD_CHECK_BYTES;
        let sealed = |len| {
            seal(
                TableCode::Jobs,
                StoreTag([7; 16]),
                &[0, 0, 0, 1],
                &vec![1; len],
            )
        };
        let longest = sealed(MAX_RECORD_BYTES - around).unwrap();
        assert_eq!(longest.len(), MAX_RECORD_BYTES);
        assert!(sealed(MAX_RECORD_BYTES - around + 1).is_err());
    }

    #[test]
    fn an_envelope_opens_only_under_its_own_table_store_and_key() {
        let bytes = sealed();
        let tag = StoreTag([7; 16]);
        let key = [0, 0, 0, 1];
        assert_eq!(open(TableCode::Jobs, tag, &key, &bytes).unwrap(), b"body");
        assert!(open(TableCode::Names, tag, &key, &bytes).is_err());
        assert!(open(TableCode::Jobs, StoreTag([8; 16]), &key, &bytes).is_err());
        assert!(open(TableCode::Jobs, tag, &[0, 0, 0, 2], &bytes).is_err());
        assert_eq!(StoreTag::peek(&bytes), Some(tag));
    }

    #[test]
    fn any_changed_missing_or_extra_byte_is_noticed() {
        let bytes = sealed();
        let read = |b: &[u8]| {
            open(TableCode::Jobs, StoreTag([7; 16]), &[0, 0, 0, 1], b).map(<[u8]>::to_vec)
        };
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut damaged = bytes.clone();
                damaged[at] ^= 1 << bit;
                assert!(
                    read(&damaged).is_err(),
                    "bit {bit} of byte {at} went unnoticed"
                );
            }
            assert!(read(&bytes[..at]).is_err());
        }
        let mut longer = bytes;
        longer.push(0);
        assert!(read(&longer).is_err());
    }

    /// A record of this version, key and body, as long as it comes.
    fn unchecked(version: u8, key: &[u8], body: &[u8]) -> Vec<u8> {
        let mut out = RECORD_MAGIC.to_vec();
        out.extend_from_slice(&[TableCode::Jobs as u8, version]);
        out.extend_from_slice(&u16::try_from(key.len()).unwrap().to_le_bytes());
        out.extend_from_slice(&u32::try_from(body.len()).unwrap().to_le_bytes());
        out.extend_from_slice(&[7; 16]);
        out.extend_from_slice(key);
        out.extend_from_slice(body);
        let check: [u8; RECORD_CHECK_BYTES] = short_hash(&[&out]);
        out.extend_from_slice(&check);
        out
    }

    #[test]
    fn a_record_is_found_by_itself_if_it_is_of_this_version_and_within_the_limit() {
        let tag = StoreTag([7; 16]);
        let key = 9_u64.to_be_bytes();
        let mut bytes = seal(TableCode::Jobs, tag, &key, b"body").unwrap();
        assert_eq!(bytes, unchecked(BODY_VERSION, &key, b"body"));
        let len = bytes.len();
        bytes.extend_from_slice(b"what follows it");
        let expected = LooseRecord {
            table: TableCode::Jobs,
            store: tag,
            key: 9,
            len,
        };
        assert_eq!(LooseRecord::at(&bytes), Some(expected));
        assert_eq!(LooseRecord::at(&bytes[..len - 1]), None);
        assert_eq!(LooseRecord::at(&unchecked(9, &key, b"body")), None);
        assert_eq!(
            LooseRecord::at(&unchecked(BODY_VERSION, &key[..7], b"body")),
            None
        );
        let around = RECORD_HEADER_BYTES + 8 + RECORD_CHECK_BYTES;
        for (extra, is_found) in [(0, true), (1, false), (9, false)] {
            let body = vec![1; MAX_RECORD_BYTES - around + extra];
            let bytes = unchecked(BODY_VERSION, &key, &body);
            assert_eq!(LooseRecord::at(&bytes).is_some(), is_found, "{extra}");
            let opened = open(TableCode::Jobs, tag, &key, &bytes);
            assert_eq!(opened.is_ok(), is_found, "{extra}");
        }
    }
}
