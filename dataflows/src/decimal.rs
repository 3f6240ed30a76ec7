//! The one exact number of headwater: sums, filters and rules all compute with it, and never through floating point.
//!
//! Text is read twofold. A summand is rounded to a [`Decimal`] (half to even); a number that is compared is not rounded:
//! [`Exact`] says where it stands among the decimals, whatever its size and however many digits it has.

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::ops::{Add, Mul};

/// Digits after the point.
const PLACES: u32 = 6;
const ONE: i128 = 10_i128.pow(PLACES);
/// The largest magnitude, in millionths, of a summand (10^18): a larger number is no number for a sum, so that 10^14
/// values fit into an exact sum and into a Parquet DECIMAL(38,6).
const LARGEST: i128 = 10_i128.pow(18 + PLACES);
/// The smallest magnitude, in millionths, that a literal is too large for (10^25).
const TOO_LARGE: u128 = 10_u128.pow(25 + PLACES);

/// A decimal number with six digits after the point.
///
/// Prints as short as it can (`12.5`), and so it is in JSON, as a text; in binary it is the number of millionths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Decimal(i128);

impl Decimal {
    /// The number 0.
    pub const ZERO: Decimal = Decimal(0);

    /// Makes a number from its millionths.
    pub const fn from_millionths(millionths: i128) -> Decimal {
        Decimal(millionths)
    }

    /// Returns the number of millionths.
    pub const fn millionths(self) -> i128 {
        self.0
    }

    /// Reads a summand; digits after the sixth place are rounded half to even.
    ///
    /// A number is an optional sign, digits with an optional `.`, and an optional exponent (`-12.50`, `.5`, `1.2e3`),
    /// between optional blanks. `None` for everything else (`NaN`, `0x10`, `1_000`, `1,5`), and above 10^18 in magnitude.
    pub fn summand(text: &str) -> Option<Decimal> {
        let number = Digits::parse(text.trim_ascii().as_bytes())?;
        let (whole, rest) = number.scaled(i64::from(PLACES))?;
        let up = rest > Rest::Half || (rest == Rest::Half && whole % 2 == 1);
        let magnitude = i128::try_from(whole).ok()? + i128::from(up);
        (magnitude <= LARGEST).then_some(Decimal(if number.negative { -magnitude } else { magnitude }))
    }

    /// Reads a literal: a number with at most 25 digits before and six after the point, zeros left out. `None` for every
    /// other text.
    pub fn literal(text: &str) -> Option<Decimal> {
        let number = Digits::parse(text.as_bytes())?;
        let (whole, rest) = number.scaled(i64::from(PLACES))?;
        if rest != Rest::Zero || whole >= TOO_LARGE {
            return None;
        }
        // Below 10^31, which fits.
        let magnitude = whole as i128;
        Some(Decimal(if number.negative { -magnitude } else { magnitude }))
    }

    /// Returns the sum, or the largest or least number if it is beyond that.
    #[must_use]
    pub fn saturating_add(self, other: Decimal) -> Decimal {
        Decimal(self.0.saturating_add(other.0))
    }
}

impl From<i64> for Decimal {
    fn from(number: i64) -> Decimal {
        Decimal(i128::from(number) * ONE)
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let magnitude = self.0.unsigned_abs();
        let (whole, mut rest) = (magnitude / ONE.unsigned_abs(), magnitude % ONE.unsigned_abs());
        let sign = if self.0 < 0 { "-" } else { "" };
        write!(f, "{sign}{whole}")?;
        if rest == 0 {
            return Ok(());
        }
        let mut places = PLACES as usize;
        while rest.is_multiple_of(10) {
            rest /= 10;
            places -= 1;
        }
        write!(f, ".{rest:0places$}")
    }
}

impl Serialize for Decimal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() { serializer.collect_str(self) } else { serializer.serialize_i128(self.0) }
    }
}

impl<'de> Deserialize<'de> for Decimal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Decimal, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Decimal;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a decimal number as a text")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Decimal, E> {
                Decimal::literal(text).ok_or_else(|| E::custom(format!("`{text}` is no decimal number")))
            }
        }
        if deserializer.is_human_readable() {
            deserializer.deserialize_str(Text)
        } else {
            i128::deserialize(deserializer).map(Decimal)
        }
    }
}

/// Where a number stands among the decimals: exact beside every literal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Exact {
    /// The largest decimal that is not above the number; the largest or the smallest of all for what lies beyond them.
    floor: Decimal,
    /// The number is above `floor`.
    above: bool,
}

impl Exact {
    /// Reads a number as [`Decimal::summand`] does, of any magnitude.
    pub fn parse(text: &str) -> Option<Exact> {
        let number = Digits::parse(text.trim_ascii().as_bytes())?;
        let scaled = number.scaled(i64::from(PLACES));
        let scaled = scaled.and_then(|(whole, rest)| Some((i128::try_from(whole).ok()?, rest != Rest::Zero)));
        let (floor, above) = match (scaled, number.negative) {
            (Some((whole, above)), false) => (whole, above),
            // The floor of a negative number is further from zero.
            (Some((whole, above)), true) => (-whole - i128::from(above), above),
            (None, false) => (i128::MAX, true),
            (None, true) => (i128::MIN, false),
        };
        Some(Exact { floor: Decimal(floor), above })
    }
}

impl From<Decimal> for Exact {
    fn from(decimal: Decimal) -> Exact {
        Exact { floor: decimal, above: false }
    }
}

/// The digits of a number as text, without leading zeros, and where the point stands among them.
#[derive(Clone, Copy, Debug)]
pub struct Digits<'a> {
    /// A minus sign stands before it.
    pub negative: bool,
    /// Digits before and after the point as written. Zero has none at all.
    integer: &'a [u8],
    fraction: &'a [u8],
    /// How many digits there are before the point once the exponent is applied: the number is in
    /// `10^(magnitude - 1)..10^magnitude`. Zero or negative when the number is below 0.1.
    pub magnitude: i64,
}

/// What [`Digits::scaled`] cuts off, compared with a half of the last place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rest {
    /// Nothing is cut off.
    Zero,
    /// Less than a half.
    BelowHalf,
    /// A half.
    Half,
    /// More than a half.
    AboveHalf,
}

impl<'a> Digits<'a> {
    /// Reads an optional sign, digits with an optional point, an optional exponent. `None`: the text is another one.
    #[inline]
    pub fn parse(text: &'a [u8]) -> Option<Digits<'a>> {
        let (negative, unsigned) = sign(text);
        let (integer, rest) = digits(unsigned);
        let (fraction, rest) = match rest {
            [b'.', rest @ ..] => digits(rest),
            _ => (&rest[..0], rest),
        };
        if integer.is_empty() && fraction.is_empty() {
            return None;
        }
        let exponent = match rest {
            [] => 0,
            [b'e' | b'E', rest @ ..] => exponent(rest)?,
            _ => return None,
        };
        let integer = without_leading_zeros(integer);
        let (fraction, point) = if integer.is_empty() {
            let significant = without_leading_zeros(fraction);
            (significant, significant.len() as i64 - fraction.len() as i64)
        } else {
            (fraction, integer.len() as i64)
        };
        Some(Digits { negative, integer, fraction, magnitude: point + exponent })
    }

    /// Magnitude times `10^places`, cut to an integer, and what was cut off. `None` from 10^38 on.
    #[inline]
    pub fn scaled(&self, places: i64) -> Option<(u128, Rest)> {
        if self.integer.is_empty() && self.fraction.is_empty() {
            return Some((0, Rest::Zero));
        }
        let keep = self.magnitude + places;
        if keep > 38 {
            return None;
        }
        // With a negative `keep` there are zeros between the point and the first digit.
        let kept = usize::try_from(keep).unwrap_or(0);
        let (integer, integer_rest) = self.integer.split_at(kept.min(self.integer.len()));
        let in_fraction = kept - integer.len();
        let (fraction, fraction_rest) = self.fraction.split_at(in_fraction.min(self.fraction.len()));
        let zeros = (in_fraction - fraction.len()) as u32;
        let whole = match kept {
            // Up to 19 digits, which is what times have.
            ..20 => u128::from(append(append(0, integer), fraction) * 10_u64.pow(zeros)),
            _ => append(append(0, integer), fraction) * 10_u128.pow(zeros),
        };
        let mut cut = integer_rest.iter().chain(fraction_rest).map(|digit| digit - b'0');
        let next = if keep < 0 { 0 } else { cut.next().unwrap_or(0) };
        let more = cut.any(|digit| digit != 0);
        let rest = match (next, more) {
            (0, false) => Rest::Zero,
            (5, false) => Rest::Half,
            (0..5, _) => Rest::BelowHalf,
            _ => Rest::AboveHalf,
        };
        Some((whole, rest))
    }
}

/// `number` with more digits behind it.
#[inline]
fn append<N: From<u8> + Mul<Output = N> + Add<Output = N>>(number: N, digits: &[u8]) -> N {
    digits.iter().fold(number, |number, digit| number * N::from(10) + N::from(digit - b'0'))
}

fn sign(text: &[u8]) -> (bool, &[u8]) {
    match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    }
}

/// The leading digits, and what follows them.
fn digits(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    text.split_at(end)
}

fn without_leading_zeros(digits: &[u8]) -> &[u8] {
    let zeros = digits.iter().take_while(|digit| **digit == b'0').count();
    &digits[zeros..]
}

fn exponent(text: &[u8]) -> Option<i64> {
    // Far beyond every limit whatever the digits, and far from overflowing when their number is added.
    const ENOUGH: i64 = 1 << 40;
    let (negative, unsigned) = sign(text);
    let (digits, rest) = digits(unsigned);
    if digits.is_empty() || !rest.is_empty() {
        return None;
    }
    let exponent = digits.iter().fold(0, |sum: i64, digit| (sum * 10 + i64::from(digit - b'0')).min(ENOUGH));
    Some(if negative { -exponent } else { exponent })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers() {
        let cases: [(&str, i128); 24] = [
            ("0", 0),
            ("-0", 0),
            ("1", 1_000_000),
            ("+1.5", 1_500_000),
            ("-12.50", -12_500_000),
            (" 3 ", 3_000_000),
            ("\t.5", 500_000),
            ("5.", 5_000_000),
            ("0.000001", 1),
            ("007", 7_000_000),
            ("1.2e3", 1_200_000_000),
            ("1.2E+3", 1_200_000_000),
            ("1e-6", 1),
            ("0e999999999999999999999999", 0),
            ("1e-999999999999999999999999", 0),
            // Half to even.
            ("0.0000005", 0),
            ("0.0000015", 2),
            ("0.0000025", 2),
            ("-0.0000015", -2),
            ("0.00000050000000000000000000000000000000000000000000001", 1),
            ("0.00000005", 0),
            ("0.0000009999", 1),
            ("1e18", 10_i128.pow(24)),
            ("-1000000000000000000.0", -(10_i128.pow(24))),
        ];
        for (text, expected) in cases {
            assert_eq!(Decimal::summand(text), Some(Decimal(expected)), "{text:?}");
        }
    }

    #[test]
    fn decimals_are_short_and_exact() {
        let printed = |millionths| Decimal(millionths).to_string();
        assert_eq!([printed(0), printed(1), printed(-1)], ["0", "0.000001", "-0.000001"]);
        assert_eq!([printed(12_500_000), printed(-100_000_000), printed(100_100_000)], ["12.5", "-100", "100.1"]);
        assert_eq!(printed(i128::MAX), "170141183460469231731687303715884.105727");
    }

    #[test]
    fn no_numbers() {
        let no_numbers = "
            |abc|NaN|inf|-Infinity|0x10|1_000|1,5|1 000|-|+|.|-.|1.2.3|--1|1e|1e+|e5|1e5.0|1e 5|\u{661}|1\u{a0}|5%|$5|
            1e19|1e180000000000000000000|1000000000000000000.000001|9999999999999999999999999999999999999999999999";
        for text in no_numbers.split('|') {
            assert_eq!(Decimal::summand(text), None, "{text:?}");
        }
    }

    #[test]
    fn literals_are_exact_and_print_as_they_are_written() {
        for text in ["0", "12.5", "-12.5", "0.01", "-0.000001", "9999999999999999999999999.999999"] {
            let decimal = Decimal::literal(text).unwrap();
            assert_eq!(decimal.to_string(), text);
        }
        for (text, printed) in [("1e3", "1000"), ("-0.0", "0"), ("007.500000000", "7.5"), (".5", "0.5")] {
            assert_eq!(Decimal::literal(text).unwrap().to_string(), printed);
        }
        for text in ["0.0000001", "10000000000000000000000000", "1e400", " 1", "", "x"] {
            assert_eq!(Decimal::literal(text), None, "{text}");
        }
    }

    #[test]
    fn numbers_that_are_compared_are_not_rounded() {
        let ascending = [
            "-1e400",
            "-1e33",
            "-2.0000001",
            "-2",
            "-1.9999999",
            "-1e-9",
            "0",
            "1e-400",
            "0.0000005",
            "0.000001",
            "0.0000010001",
            "9007199254740992",
            "9007199254740993",
            "1e25",
            "1e400",
        ];
        let exact: Vec<Exact> = ascending.iter().map(|text| Exact::parse(text).unwrap()).collect();
        for (place, (one, text)) in exact.iter().zip(ascending).enumerate() {
            let Some(literal) = Decimal::literal(text).map(Exact::from) else { continue };
            assert_eq!(*one, literal, "{text}");
            assert!(exact[..place].iter().all(|less| *less < literal), "{text}");
            assert!(exact[place + 1..].iter().all(|more| *more > literal), "{text}");
        }
    }

    proptest! {
        /// `mantissa / 10^places`, written with a point at `point` and the exponent that makes up for it.
        #[test]
        fn agrees_with_integer_arithmetic(
            mantissa in prop_oneof![-1000..1000_i128, -10_i128.pow(18)..10_i128.pow(18)],
            places in 0..12_u32,
            point in 0..30_usize,
        ) {
            let divisor = 10_i128.pow(places);
            let scaled = mantissa * 1_000_000;
            let (floor, twice) = (scaled.div_euclid(divisor), 2 * scaled.rem_euclid(divisor));
            let expected = floor + i128::from(twice > divisor || (twice == divisor && floor % 2 != 0));
            let digits = format!("{:031}", mantissa.unsigned_abs());
            let (integer, fraction) = digits.split_at(31 - point);
            let sign = if mantissa < 0 { "-" } else { "" };
            let text = format!("{sign}{integer}.{fraction}e{}", point as i64 - i64::from(places));
            prop_assert_eq!(Decimal::summand(&text), Some(Decimal(expected)), "{}", text);
        }

        #[test]
        fn any_text_is_a_number_or_none(text in "[ +\\-.eE0-9]{0,12}|\\PC*") {
            // Rust's own parser has the same grammar, and the words for infinity and not-a-number besides.
            let number = text.trim_ascii().parse::<f64>().ok().filter(|number| !number.is_nan());
            prop_assume!(number.is_none_or(|number| number.abs() < 1e17));
            prop_assert_eq!(Decimal::summand(&text).is_some(), number.is_some(), "{:?}", text);
            prop_assert_eq!(Exact::parse(&text).is_some(), number.is_some(), "{:?}", text);
        }
    }
}
