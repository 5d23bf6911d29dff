//! Bodies: bincode with a limit, one encoding per value.

use bincode::config::{self, Config};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::envelope::{self, StoreTag, TableCode};
use super::limits::{MAX_NODE_BYTES, MAX_RECORD_BYTES};
use super::malformed::Malformed;

/// Encodes a body. Only a value that has no length (none of ours) can fail.
pub(super) fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, Malformed> {
    bincode::serde::encode_to_vec(value, config::standard())
        .map_err(|error| Malformed::new(format!("it can't be encoded: {error}")))
}

/// Decodes the body of a record.
pub(super) fn decode<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> Result<T, Malformed> {
    decode_with(bytes, config::standard().with_limit::<MAX_RECORD_BYTES>())
}

/// Decodes the body of a node.
pub(super) fn decode_node<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> Result<T, Malformed> {
    decode_with(bytes, config::standard().with_limit::<MAX_NODE_BYTES>())
}

/// Decodes all of `bytes`, and refuses an encoding that we would not have written.
fn decode_with<T, C>(bytes: &[u8], config: C) -> Result<T, Malformed>
where
    T: Serialize + DeserializeOwned,
    C: Config,
{
    let (value, used): (T, usize) = bincode::serde::decode_from_slice(bytes, config)
        .map_err(|error| Malformed::new(format!("its body does not decode: {error}")))?;
    if used != bytes.len() {
        return Err(Malformed::new(format!(
            "{} bytes after its body",
            bytes.len() - used
        )));
    }
    if encode(&value)? != bytes {
        return Err(Malformed::new("its body is not in canonical form"));
    }
    Ok(value)
}

/// A record body that lives in one table under a key.
pub(crate) trait Record: Serialize + DeserializeOwned {
    /// The table whose code the envelope carries.
    const TABLE: TableCode;

    /// The rules of the format that the types don't express.
    fn check(&self) -> Result<(), Malformed> {
        Ok(())
    }

    /// The record in its envelope.
    fn to_bytes(&self, store: StoreTag, key: &[u8]) -> Result<Vec<u8>, Malformed> {
        self.check()?;
        envelope::seal(Self::TABLE, store, key, &encode(self)?)
    }

    /// The record out of its envelope, bound to this store and key.
    fn from_bytes(store: StoreTag, key: &[u8], bytes: &[u8]) -> Result<Self, Malformed> {
        let record: Self = decode(envelope::open(Self::TABLE, store, key, bytes)?)?;
        record.check()?;
        Ok(record)
    }
}
