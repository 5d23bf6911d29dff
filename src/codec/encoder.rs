//! The choice of a codec for a chunk, and the encoding.

use std::fmt;
use std::str::FromStr;

use super::choose::Sample;
use super::classes::{Classes, MOST_CLASSES};
use super::dense::{self, Buffers};
use super::derived::Narrow;
use super::plane::{self, Coders};
use super::sparse::{self, Changes};
use super::words::Words;
use super::zstd_codec::{self, ZstdCoder};
use super::{Codec, fit, head, of_head};
use crate::error::Error;
use crate::id::ChunkId;
use crate::name::printable;
use crate::tensor::DType;

/// What a chunk holds, as far as it matters for the choice of a codec.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Texture {
    /// Text, or opaque bytes: what they look like is found out.
    General,
    /// Numbers.
    Numeric(Words),
}

impl Texture {
    /// Of a tensor's elements.
    pub(crate) const fn of(dtype: DType) -> Self {
        Self::Numeric(match dtype {
            DType::I16 | DType::U16 => Words::U16,
            DType::I32 | DType::U32 => Words::U32,
            DType::I64 | DType::U64 => Words::U64,
            DType::F16 | DType::Bf16 => Words::F16,
            DType::F32 | DType::C64 => Words::F32,
            DType::F64 => Words::F64,
            DType::F8E5M2 | DType::F8E4M3 | DType::F8E5M2Fnuz | DType::F8E4M3Fnuz => Words::F8,
            // Exponents, flags, and elements of which several share a byte.
            _ => Words::U8,
        })
    }
}

/// What a chunk holds, told from how it is stored.
pub(crate) fn texture_of(codec: u8, encoded: &[u8]) -> Texture {
    let words = |code: u8| Words::from_code(code).map_or(Texture::General, Texture::Numeric);
    let first = encoded.first().copied().unwrap_or(u8::MAX);
    match Codec::from_code(codec) {
        Some(Codec::Planes) => words(first),
        Some(Codec::Steps) => words(of_head(first).0),
        Some(Codec::Sparse) => words(sparse::words_code(first)),
        Some(Codec::Derived) => Texture::Numeric(Words::F16),
        Some(Codec::Raw | Codec::Zstd) | None => Texture::General,
    }
}

/// How much the encoding of new chunks may cost. What is stored already is shared in any case, and
/// every checkpoint loads whatever its chunks were encoded with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Compression {
    /// Bytes are stored as they are.
    None,
    /// Each chunk by itself, whatever the checkpoint before it holds.
    Fast,
    /// As what has changed since the checkpoint before, where that is shorter.
    #[default]
    Default,
    /// The same, with more effort for each chunk.
    Max,
}

impl Compression {
    /// All of them, by rising effort.
    pub const ALL: [Self; 4] = [Self::None, Self::Fast, Self::Default, Self::Max];

    /// Whether chunks are written against others.
    pub(crate) fn uses_bases(self) -> bool {
        self >= Self::Default
    }

    /// Its name, as the command line and the configuration have it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Fast => "fast",
            Self::Default => "default",
            Self::Max => "max",
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Compression {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let named = |compression: &Self| compression.name() == text;
        Self::ALL.into_iter().find(named).ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            let what = format!("compression `{}`", printable(text));
            Error::invalid(what, format!("it is one of {names}"))
        })
    }
}

/// A chunk's encoded bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Encoded {
    /// How they are encoded.
    pub(crate) codec: Codec,
    /// Whether they are of use only with the base.
    pub(crate) with_base: bool,
    /// The bytes.
    pub(crate) bytes: Vec<u8>,
}

/// A base of what is encoded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Against<'a> {
    /// Its id.
    pub(crate) id: &'a [u8; 32],
    /// Its bytes.
    pub(crate) raw: &'a [u8],
    /// Whether steps from all of its words are allowed, and not only what is light.
    pub(crate) allows_steps: bool,
}

/// What stands before the encoded bytes, with room for so many of these.
fn begun(next: &mut Vec<u8>, base: Option<&[u8; 32]>, bytes: usize) -> Vec<u8> {
    let mut begun = std::mem::take(next);
    begun.clear();
    // A plane is put there with what it may take at most.
    begun.reserve_exact(32 + plane::most_bytes(bytes));
    begun.extend(base.into_iter().flatten());
    begun
}

/// More than so many hundredths of the groups as in the base, or zero: only the others are stored.
const SPARSE: usize = 6;
/// What is shorter by less than one part of so many stays as it is.
const WORTH: u64 = 32;

/// Encodes chunks. Deterministic: the same bytes, base and effort give the same result everywhere.
pub(crate) struct Encoder {
    effort: Compression,
    coders: Coders,
    documents: ZstdCoder,
    sample: Sample,
    buffers: Buffers,
    there: Vec<u8>,
    from: Vec<u8>,
    /// What the next encoded bytes are put into.
    next: Vec<u8>,
}

impl Encoder {
    pub(crate) fn new(effort: Compression) -> Self {
        let level = if effort == Compression::Max { 9 } else { 1 };
        Self {
            effort,
            coders: Coders::new(level),
            documents: ZstdCoder::default(),
            sample: Sample::default(),
            buffers: Buffers::default(),
            there: Vec::new(),
            from: Vec::new(),
            next: Vec::new(),
        }
    }

    /// How much it may cost.
    pub(crate) const fn effort(&self) -> Compression {
        self.effort
    }

    /// Gives it a buffer for what it encodes next: fresh pages for each chunk cost more than what
    /// is written to them.
    pub(crate) fn reuse(&mut self, buffer: Vec<u8>) {
        self.next = buffer;
    }

    /// The bytes as they are.
    pub(crate) fn copied(&mut self, raw: &[u8]) -> Vec<u8> {
        let mut bytes = begun(&mut self.next, None, raw.len());
        bytes.extend_from_slice(raw);
        bytes
    }

    /// Whether it has a use for bases.
    pub(crate) fn uses_bases(&self) -> bool {
        self.effort.uses_bases()
    }

    /// Encodes raw bytes by the codec that suits them. A base comes with its id, which then stands
    /// before the encoded bytes. `None` means raw: the bytes themselves are stored.
    pub(crate) fn encode(
        &mut self,
        texture: Texture,
        raw: &[u8],
        base: Option<Against<'_>>,
    ) -> Option<Encoded> {
        let base = base.filter(|_| self.uses_bases());
        let encoded = match (self.effort, texture) {
            (Compression::None, _) => None,
            (_, Texture::General) => match self.sample.guess(raw) {
                Some(words) => self.numeric(words, raw, base),
                None => self.general(raw, base),
            },
            (_, Texture::Numeric(words)) => self.numeric(words, raw, base),
        }?;
        let length = raw.len() as u64;
        if (encoded.bytes.len() as u64) < length - length / WORTH {
            return Some(encoded);
        }
        self.reuse(encoded.bytes);
        None
    }

    /// Whether [`Encoder::encode`] may give something else with this base than without, as far as
    /// samples tell at once: where numbers are noise by themselves and beside the base, it doesn't.
    pub(crate) fn may_use(&mut self, texture: Texture, raw: &[u8], base: &[u8]) -> bool {
        let Texture::Numeric(words) = texture else {
            return true;
        };
        if base.len() != raw.len() || sparse::may_be_worth(raw, Some(base), SPARSE) {
            return true;
        }
        self.costs(words, raw, Some(base)).is_some()
    }

    /// What words take by themselves, and as steps from a base; none if neither is worth it.
    fn costs(&mut self, words: Words, raw: &[u8], base: Option<&[u8]>) -> Option<(u64, u64)> {
        let (alone, plain) = self.sample.cost(words, raw, None);
        let steps = base.map_or(u64::MAX, |base| self.sample.cost(words, raw, Some(base)).0);
        (alone.min(steps) <= plain - plain / WORTH).then_some((alone, steps))
    }

    fn general(&mut self, raw: &[u8], base: Option<Against<'_>>) -> Option<Encoded> {
        let level = match self.effort {
            Compression::None | Compression::Fast => 1,
            // Nothing but what it shares with the base can be won, which any effort finds.
            _ if self.sample.is_noise(raw) => 1,
            Compression::Default if base.is_some() => zstd_codec::DELTA_LEVEL,
            Compression::Default => zstd_codec::LEVEL,
            Compression::Max => 19,
        };
        let (id, base) = base.map(|base| (base.id, base.raw)).unzip();
        let frame = self.documents.encode(raw, base, level)?;
        let mut bytes = begun(&mut self.next, id, frame.len());
        bytes.extend_from_slice(frame);
        Some(Encoded {
            codec: Codec::Zstd,
            with_base: base.is_some(),
            bytes,
        })
    }

    fn numeric(&mut self, words: Words, raw: &[u8], base: Option<Against<'_>>) -> Option<Encoded> {
        let mut fitted = Vec::new();
        let allows_steps = base.is_some_and(|base| base.allows_steps);
        let (id, base) = base.map(|base| (base.id, base.raw)).unzip();
        let base = base.map(|base| fit(base, raw.len(), &mut fitted));
        let compared = |base: Option<&[u8]>| {
            let changes =
                sparse::may_be_worth(raw, base, SPARSE).then(|| sparse::changes(raw, base));
            changes.filter(|changes| changes.is_worth(SPARSE))
        };
        let changes = base.and_then(|base| compared(Some(base)));
        let zeros = compared(None);
        let most = zeros.as_ref().map_or(usize::MAX, |zeros| zeros.changed);
        if let Some((base, changes)) = base.zip(changes)
            && changes.changed <= most
        {
            return Some(self.sparse(words, raw, id.zip(Some(base)), &changes));
        }
        if let Some(zeros) = zeros {
            return Some(self.sparse(words, raw, None, &zeros));
        }
        let base = base.filter(|_| allows_steps);
        let (alone, steps) = self.costs(words, raw, base)?;
        let base = base.filter(|_| steps < alone);
        let classes = base.map_or(Classes::ONE, |_| self.classes(words, raw.len()));
        let mut bytes = begun(&mut self.next, id.filter(|_| base.is_some()), raw.len());
        bytes.push(head(words, &classes));
        bytes.extend_from_slice(classes.bounds());
        dense::put(
            words,
            raw,
            base,
            &classes,
            &mut self.coders,
            &mut self.buffers,
            &mut bytes,
        );
        Some(Encoded {
            codec: if base.is_some() {
                Codec::Steps
            } else {
                Codec::Planes
            },
            with_base: base.is_some(),
            bytes,
        })
    }

    /// The classes that these steps, which the sample was of, are sorted into.
    fn classes(&mut self, words: Words, bytes: usize) -> Classes {
        // Each word that is sorted costs time in each load.
        let (most, worth) = match self.effort {
            Compression::Max => (MOST_CLASSES, 1024),
            _ => (4, 64),
        };
        if words.has_exponents() {
            self.sample.classes(words, most, worth, bytes)
        } else {
            Classes::ONE
        }
    }

    fn sparse(
        &mut self,
        words: Words,
        raw: &[u8],
        base: Option<(&[u8; 32], &[u8])>,
        changes: &Changes,
    ) -> Encoded {
        let (id, base) = base.unzip();
        changes.gather(raw, &mut self.there);
        let from = base.map(|base| {
            changes.gather(base, &mut self.from);
            &*self.from
        });
        let (alone, _) = self.sample.cost(words, &self.there, None);
        let from = from.filter(|from| self.sample.cost(words, &self.there, Some(from)).0 < alone);
        let mut bytes = begun(&mut self.next, id, self.there.len() + changes.len());
        changes.put(
            words,
            &self.there,
            from,
            &mut self.coders,
            &mut self.buffers,
            &mut bytes,
        );
        Encoded {
            codec: Codec::Sparse,
            with_base: base.is_some(),
            bytes,
        }
    }

    /// Encodes what is a rounded copy of its bases, if it is.
    pub(crate) fn derive(
        narrow: Narrow,
        raw: &[u8],
        masters: &[&[u8]],
        ids: &[ChunkId],
    ) -> Option<Encoded> {
        let is_shorter = 32 * ids.len() + 1 < raw.len();
        (is_shorter && narrow.is_rounded(raw, masters)).then(|| {
            let ids = ids.iter().flat_map(|id| *id.as_bytes());
            Encoded {
                codec: Codec::Derived,
                with_base: true,
                bytes: ids.chain([narrow.code()]).collect(),
            }
        })
    }
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Encoder")
            .field("effort", &self.effort)
            .finish_non_exhaustive()
    }
}
