//! Element types, by the names that safetensors gives them.

use std::fmt;

use safetensors::Dtype;

use crate::error::{Error, Result};

/// Most dimensions that a tensor may have. `NumPy` stops at 64 too.
pub const MAX_DIMENSIONS: usize = 64;

/// Declares the element types once: variant, safetensors' variant, code in the file, bits, name.
macro_rules! dtypes {
    ($($name:ident, $theirs:ident, $code:literal, $bits:literal, $text:literal;)*) => {
        /// The type of a tensor's elements, under safetensors' name.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum DType {
            $(#[doc = concat!("`", $text, "`, ", stringify!($bits), " bits an element.")] $name,)*
        }

        impl DType {
            /// Every element type, in the order of their codes.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// Bits of one element.
            pub const fn bits(self) -> u64 {
                match self { $(Self::$name => $bits,)* }
            }

            /// The name, as safetensors writes it.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// The code in the file format. Codes are never reused.
            pub const fn code(self) -> u8 {
                match self { $(Self::$name => $code,)* }
            }

            /// The element type with this code.
            pub const fn from_code(code: u8) -> Option<Self> {
                match code { $($code => Some(Self::$name),)* _ => None }
            }

            /// The element type with this name.
            pub fn from_name(name: &str) -> Option<Self> {
                match name { $($text => Some(Self::$name),)* _ => None }
            }
        }

        impl From<DType> for Dtype {
            fn from(dtype: DType) -> Self {
                match dtype { $(DType::$name => Self::$theirs,)* }
            }
        }

        impl TryFrom<Dtype> for DType {
            type Error = Error;

            fn try_from(dtype: Dtype) -> Result<Self> {
                match dtype {
                    $(Dtype::$theirs => Ok(Self::$name),)*
                    other => Err(Error::invalid(
                        format!("element type {other}"),
                        "this release does not know it",
                    )),
                }
            }
        }
    };
}

dtypes! {
    Bool, BOOL, 1, 8, "BOOL";
    F4, F4, 2, 4, "F4";
    F6E2M3, F6_E2M3, 3, 6, "F6_E2M3";
    F6E3M2, F6_E3M2, 4, 6, "F6_E3M2";
    U8, U8, 5, 8, "U8";
    I8, I8, 6, 8, "I8";
    F8E5M2, F8_E5M2, 7, 8, "F8_E5M2";
    F8E4M3, F8_E4M3, 8, 8, "F8_E4M3";
    F8E8M0, F8_E8M0, 9, 8, "F8_E8M0";
    F8E4M3Fnuz, F8_E4M3FNUZ, 10, 8, "F8_E4M3FNUZ";
    F8E5M2Fnuz, F8_E5M2FNUZ, 11, 8, "F8_E5M2FNUZ";
    I16, I16, 12, 16, "I16";
    U16, U16, 13, 16, "U16";
    F16, F16, 14, 16, "F16";
    Bf16, BF16, 15, 16, "BF16";
    I32, I32, 16, 32, "I32";
    U32, U32, 17, 32, "U32";
    F32, F32, 18, 32, "F32";
    C64, C64, 19, 64, "C64";
    F64, F64, 20, 64, "F64";
    I64, I64, 21, 64, "I64";
    U64, U64, 22, 64, "U64";
}

impl DType {
    /// Bytes of a tensor with this element type and shape. A 0-dimensional tensor has one
    /// element; a dimension of 0 makes it empty.
    ///
    /// # Errors
    /// [`Error::Invalid`] when there are too many dimensions, the size overflows, or the bits do
    /// not fill whole bytes.
    pub fn size_of(self, shape: &[u64]) -> Result<u64> {
        let what = || format!("shape {shape:?} of {self}");
        if shape.len() > MAX_DIMENSIONS {
            let why = format!("{} dimensions; the limit is {MAX_DIMENSIONS}", shape.len());
            return Err(Error::invalid("shape", why));
        }
        let bits = shape
            .iter()
            .try_fold(1_u64, |product, &dimension| product.checked_mul(dimension))
            .and_then(|elements| elements.checked_mul(self.bits()))
            .ok_or_else(|| Error::invalid(what(), "its size does not fit 64 bits"))?;
        if bits % 8 != 0 {
            return Err(Error::invalid(what(), "its bits do not fill whole bytes"));
        }
        Ok(bits / 8)
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_names_and_safetensors_types_agree() {
        for &dtype in DType::ALL {
            let theirs = Dtype::from(dtype);
            assert_eq!(DType::try_from(theirs).unwrap(), dtype);
            assert_eq!(theirs.to_string(), dtype.name());
            assert_eq!(theirs.bitsize() as u64, dtype.bits());
            assert_eq!(DType::from_code(dtype.code()), Some(dtype));
            assert_eq!(DType::from_name(dtype.name()), Some(dtype));
        }
        assert_eq!(DType::ALL.len(), 22);
    }

    #[test]
    fn sizes_are_exact_or_refused() {
        assert_eq!(DType::F32.size_of(&[]).unwrap(), 4);
        assert_eq!(DType::F32.size_of(&[3, 0, 5]).unwrap(), 0);
        assert_eq!(DType::F4.size_of(&[6]).unwrap(), 3);
        assert_eq!(DType::F6E2M3.size_of(&[4]).unwrap(), 3);
        assert!(DType::F4.size_of(&[3]).is_err());
        assert!(DType::F64.size_of(&[u64::MAX, 2]).is_err());
        assert!(DType::U8.size_of(&[1; MAX_DIMENSIONS + 1]).is_err());
    }
}
