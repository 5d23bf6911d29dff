//! Identifiers: commit ids, content hashes, the store's own id.

use std::fmt;

/// A checkpoint's id: its place in the store's commit log. Rising, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CheckpointId(u64);

impl CheckpointId {
    /// The id with this number.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for CheckpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "id:{}", self.0)
    }
}

/// Declares a fixed-size byte identifier that prints as lower-case hex.
macro_rules! byte_id {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; $len]);

        impl $name {
            /// The identifier with these bytes.
            pub const fn new(bytes: [u8; $len]) -> Self {
                Self(bytes)
            }

            /// The bytes.
            pub const fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }
    };
}

byte_id! {
    /// BLAKE3 of a chunk's raw bytes, whatever codec stores them.
    ChunkId, 32
}
byte_id! {
    /// BLAKE3 of a manifest node's encoded bytes.
    NodeId, 32
}
byte_id! {
    /// BLAKE3 over everything that a save recorded: the checkpoint's content hash.
    ContentHash, 32
}
byte_id! {
    /// The random id that a store is given when it is created.
    StoreId, 16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_print_as_users_write_them() {
        assert_eq!(CheckpointId::new(12).to_string(), "id:12");
        assert_eq!(StoreId::new([0xab; 16]).to_string(), "ab".repeat(16));
        assert!(CheckpointId::new(1) < CheckpointId::new(2));
    }
}
