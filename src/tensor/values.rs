//! Elements as numbers, whatever their type.

use super::dtype::DType;

/// Turns the bytes of elements into `f64`, exactly but for 64-bit integers beyond 2^53. A complex
/// number gives two. Of several elements in a byte, the one in its lowest bits is the first.
#[derive(Clone, Debug)]
pub(crate) struct Values {
    dtype: DType,
    /// What each pattern of up to 8 bits stands for.
    table: Vec<f64>,
}

impl Values {
    pub(crate) fn of(dtype: DType) -> Self {
        let codes = if dtype.bits() > 8 {
            0
        } else {
            1 << dtype.bits()
        };
        let table = (0..=u8::MAX)
            .take(codes)
            .map(|code| short(dtype, code))
            .collect();
        Self { dtype, table }
    }

    pub(crate) const fn dtype(&self) -> DType {
        self.dtype
    }

    /// Bits of a number; eight numbers fill whole bytes.
    pub(crate) const fn bits(&self) -> usize {
        match self.dtype {
            DType::C64 => 32,
            #[expect(clippy::cast_possible_truncation, reason = "they are 64 at most")]
            other => other.bits() as usize,
        }
    }

    /// Puts the numbers of these bytes in the place of what is in `out`.
    pub(crate) fn put(&self, bytes: &[u8], out: &mut Vec<f64>) {
        out.clear();
        match self.dtype {
            DType::F64 => put(bytes, out, f64::from_le_bytes),
            DType::F32 | DType::C64 => put(bytes, out, |b| f32::from_le_bytes(b).into()),
            DType::Bf16 => put(bytes, out, |[low, high]| {
                f32::from_le_bytes([0, 0, low, high]).into()
            }),
            DType::F16 => put(bytes, out, |b| half(u16::from_le_bytes(b).into())),
            DType::I16 => put(bytes, out, |b| i16::from_le_bytes(b).into()),
            DType::U16 => put(bytes, out, |b| u16::from_le_bytes(b).into()),
            DType::I32 => put(bytes, out, |b| i32::from_le_bytes(b).into()),
            DType::U32 => put(bytes, out, |b| u32::from_le_bytes(b).into()),
            #[expect(clippy::cast_precision_loss, reason = "as it says")]
            DType::I64 => put(bytes, out, |b| i64::from_le_bytes(b) as f64),
            #[expect(clippy::cast_precision_loss, reason = "as it says")]
            DType::U64 => put(bytes, out, |b| u64::from_le_bytes(b) as f64),
            _ => self.put_short(bytes, out),
        }
    }

    /// [`Values::put`] of elements that have a table.
    fn put_short(&self, bytes: &[u8], out: &mut Vec<f64>) {
        let value = |code: u32| self.table.get(code as usize).copied().unwrap_or(f64::NAN);
        match self.dtype.bits() {
            4 => out.extend(bytes.iter().flat_map(|byte| {
                let byte = u32::from(*byte);
                [value(byte & 15), value(byte >> 4)]
            })),
            6 => out.extend(bytes.as_chunks::<3>().0.iter().flat_map(|group| {
                let word = u32::from_le_bytes([group[0], group[1], group[2], 0]);
                [0, 6, 12, 18].map(|at| value(word >> at & 63))
            })),
            _ => out.extend(bytes.iter().map(|byte| value(u32::from(*byte)))),
        }
    }
}

/// A number for each word of so many bytes.
fn put<const N: usize>(bytes: &[u8], out: &mut Vec<f64>, number: impl Fn([u8; N]) -> f64) {
    out.extend(bytes.as_chunks().0.iter().map(|word| number(*word)));
}

/// What a pattern of up to 8 bits stands for: floats of 8 bits by the OCP's OFP8 specification 1.0
/// (2023), of less and bare exponents by its Microscaling Formats specification 1.0 (2023), those
/// without a negative zero by Noune et al., "8-bit numerical formats for deep neural networks"
/// (arXiv 2206.02915).
fn short(dtype: DType, code: u8) -> f64 {
    let byte = code;
    let code = u32::from(code);
    match dtype {
        DType::Bool => f64::from(u8::from(code != 0)),
        DType::I8 => f64::from(byte.cast_signed()),
        DType::F4 => float(code, (2, 1), 1),
        DType::F6E2M3 => float(code, (2, 3), 1),
        DType::F6E3M2 => float(code, (3, 2), 3),
        // The upper half of a half.
        DType::F8E5M2 => half(code << 8),
        DType::F8E4M3 if code & 0x7f == 0x7f => f64::NAN,
        DType::F8E4M3 => float(code, (4, 3), 7),
        DType::F8E4M3Fnuz | DType::F8E5M2Fnuz if code == 0x80 => f64::NAN,
        DType::F8E4M3Fnuz => float(code, (4, 3), 8),
        DType::F8E5M2Fnuz => float(code, (5, 2), 16),
        DType::F8E8M0 if code == 0xff => f64::NAN,
        DType::F8E8M0 => 2_f64.powi(i32::from(byte) - 127),
        _ => f64::from(code),
    }
}

/// An IEEE half.
fn half(code: u32) -> f64 {
    let sign = if code & 0x8000 == 0 { 1.0 } else { -1.0 };
    match (code >> 10 & 31, code & 0x3ff) {
        (31, 0) => sign * f64::INFINITY,
        (31, _) => f64::NAN,
        _ => float(code, (5, 10), 15),
    }
}

/// A float of a sign, so many bits of exponent and of mantissa, and this bias; all patterns are
/// finite.
fn float(code: u32, (exponent_bits, mantissa_bits): (u32, u32), bias: i32) -> f64 {
    let mantissa = f64::from(code & ((1 << mantissa_bits) - 1));
    let exponent = (code >> mantissa_bits & ((1 << exponent_bits) - 1)).cast_signed();
    let one = f64::from(1_u32 << mantissa_bits);
    let (whole, power) = match exponent {
        // Subnormal.
        0 => (mantissa, 1),
        _ => (mantissa + one, exponent),
    };
    let size = whole / one * 2_f64.powi(power - bias);
    if code >> (exponent_bits + mantissa_bits) & 1 == 0 {
        size
    } else {
        -size
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(dtype: DType, bytes: &[u8]) -> Vec<f64> {
        let mut out = vec![7.0];
        Values::of(dtype).put(bytes, &mut out);
        out
    }

    #[test]
    fn each_type_gives_the_numbers_that_its_specification_names() {
        // Largest, smallest normal and subnormal, as the specifications list them.
        let e4m3 = values(DType::F8E4M3, &[0x7e, 0x08, 0x01, 0xfe, 0x80, 0x7f, 0xff]);
        assert_eq!(e4m3[..4], [448.0, 2_f64.powi(-6), 2_f64.powi(-9), -448.0]);
        assert!(e4m3[4] == 0.0 && e4m3[5].is_nan() && e4m3[6].is_nan());
        let e5m2 = values(DType::F8E5M2, &[0x7b, 0x04, 0x01, 0xfc, 0x7d]);
        let expected = [57344.0, 2_f64.powi(-14), 2_f64.powi(-16), f64::NEG_INFINITY];
        assert_eq!(e5m2[..4], expected);
        assert!(e5m2[4].is_nan());
        let fnuz = values(DType::F8E4M3Fnuz, &[0x7f, 0x01, 0x80]);
        assert_eq!(fnuz[..2], [240.0, 2_f64.powi(-10)]);
        assert!(fnuz[2].is_nan());
        let fnuz = values(DType::F8E5M2Fnuz, &[0x7f, 0x01, 0x80]);
        assert_eq!(fnuz[..2], [57344.0, 2_f64.powi(-17)]);
        assert!(fnuz[2].is_nan());
        let e8m0 = values(DType::F8E8M0, &[0, 127, 254, 255]);
        assert_eq!(e8m0[..3], [2_f64.powi(-127), 1.0, 2_f64.powi(127)]);
        assert!(e8m0[3].is_nan());
        assert_eq!(values(DType::F4, &[0x71, 0xef]), [0.5, 6.0, -6.0, -4.0]);
        // 1, 63, 31, 32 in 6 bits each.
        let word = 1_u32 | 63 << 6 | 31 << 12 | 32 << 18;
        let bytes = &word.to_le_bytes()[..3];
        assert_eq!(values(DType::F6E2M3, bytes), [0.125, -7.5, 7.5, -0.0]);
        assert_eq!(values(DType::F6E3M2, bytes), [0.0625, -28.0, 28.0, -0.0]);
        let f16 = values(DType::F16, &[0xff, 0x7b, 1, 0, 0, 0x7c, 1, 0x7c, 0, 0xbc]);
        assert_eq!(f16[..3], [65504.0, 2_f64.powi(-24), f64::INFINITY]);
        assert!(f16[3].is_nan());
        assert_eq!(f16[4..], [-1.0]);
        assert_eq!(values(DType::Bf16, &[0x80, 0x3f, 0, 0xc0]), [1.0, -2.0]);
        assert_eq!(values(DType::Bool, &[0, 1]), [0.0, 1.0]);
        assert_eq!(values(DType::I8, &[0xff]), [-1.0]);
        assert_eq!(values(DType::U64, &[0xff; 8]), [2_f64.powi(64)]);
    }

    #[test]
    fn every_type_gives_as_many_numbers_as_there_are_elements() {
        for &dtype in DType::ALL {
            let bytes = vec![1; Values::of(dtype).bits() * 3];
            let numbers = if dtype == DType::C64 {
                24
            } else {
                bytes.len() as u64 * 8 / dtype.bits()
            };
            assert_eq!(values(dtype, &bytes).len() as u64, numbers, "{dtype}");
            assert_eq!(numbers, 24);
        }
    }

    #[test]
    fn plain_numbers_come_as_they_are() {
        assert_eq!(values(DType::F32, &1.5_f32.to_le_bytes()), [1.5]);
        assert_eq!(values(DType::F64, &(-0.1_f64).to_le_bytes()), [-0.1]);
        assert_eq!(values(DType::I16, &(-3_i16).to_le_bytes()), [-3.0]);
        assert_eq!(values(DType::U16, &3_u16.to_le_bytes()), [3.0]);
        assert_eq!(values(DType::I32, &(-3_i32).to_le_bytes()), [-3.0]);
        assert_eq!(values(DType::U32, &3_u32.to_le_bytes()), [3.0]);
        assert_eq!(values(DType::I64, &(-3_i64).to_le_bytes()), [-3.0]);
        let complex: Vec<u8> = [1.0_f32, -2.0].map(f32::to_le_bytes).concat();
        assert_eq!(values(DType::C64, &complex), [1.0, -2.0]);
    }
}
