//! Randomness that is the same on every machine: 64-bit integers, and floating point only by the operations that IEEE
//! 754 rounds exactly (+, -, ×, ÷, square root). The `ln` and `pow` of a platform's library may differ in the last
//! digit, and one digit would change every byte after it.

use std::str::FromStr;

/// SplitMix64 (Steele, Lea, Flood 2014).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Sources of one seed with different numbers have nothing to do with each other.
    pub fn new(seed: u64, number: u64) -> Random {
        Random(mix(seed ^ mix(number.wrapping_add(STEP))))
    }

    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(STEP);
        mix(self.0)
    }

    /// Returns a number evenly from `0..bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.bits()) * u128::from(bound)) >> 64) as u64
    }

    pub fn chance(&mut self, share: Share) -> bool {
        self.bits() >> 11 < share.0
    }

    /// Returns an exponentially distributed number.
    pub fn exponential(&mut self, mean: f64) -> f64 {
        -mean * ln(((self.bits() >> 11) + 1) as f64 / Share::ALL as f64)
    }
}

const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// Returns a permutation of the 64-bit numbers, so different numbers stay different.
pub fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// A share from 0 to 1, in units of 2^-53.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share(u64);

impl Share {
    pub const NONE: Share = Share(0);
    const ALL: u64 = 1 << 53;

    /// This share of a number, rounded down.
    pub fn of(self, number: u64) -> u64 {
        ((u128::from(self.0) * u128::from(number)) >> 53) as u64
    }
}

impl FromStr for Share {
    type Err = String;

    /// `0.01` or `1%`.
    fn from_str(text: &str) -> Result<Share, String> {
        let (number, unit) = text.strip_suffix('%').map_or((text, 1.0), |percent| (percent, 100.0));
        match number.trim_end().parse::<f64>() {
            Ok(number) if (0.0..=unit).contains(&number) => Ok(Share((number / unit * Share::ALL as f64) as u64)),
            _ => Err("write a share from 0 to 1, such as 0.01, or from 0% to 100%".into()),
        }
    }
}

/// Ranks 0, 1, 2, … drawn with weights 1, 1/2^s, 1/3^s, …
pub struct Zipf {
    /// Up to and with each rank.
    weights: Vec<u64>,
}

impl Zipf {
    /// Most ranks for which the sum of all weights fits.
    pub const MOST: u32 = 10_000_000;
    const ONE: f64 = (1u64 << 40) as f64;

    pub fn new(ranks: u32, exponent: f64) -> Zipf {
        let mut sum = 0;
        let weight = |rank: u32| ((Zipf::ONE / power(f64::from(rank) + 1.0, exponent)) as u64).max(1);
        let up_to = |rank| {
            sum += weight(rank);
            sum
        };
        Zipf { weights: (0..ranks).map(up_to).collect() }
    }

    pub fn draw(&self, random: &mut Random) -> usize {
        let all = self.weights.last().copied().unwrap_or_default();
        let at = random.below(all);
        self.weights.partition_point(|weight| *weight <= at)
    }
}

/// `base` to the power of `exponent` (not negative), which is taken to 16 binary digits after the point: its whole part
/// by multiplication, its fraction by square roots.
fn power(base: f64, exponent: f64) -> f64 {
    let mut result = 1.0;
    for _ in 0..exponent as u32 {
        result *= base;
    }
    let mut fraction = ((exponent - exponent.floor()) * 65_536.0) as u32;
    let mut root = base;
    while fraction != 0 {
        root = root.sqrt();
        fraction <<= 1;
        if fraction & 0x1_0000 != 0 {
            result *= root;
            fraction &= 0xffff;
        }
    }
    result
}

/// Returns the natural logarithm of a positive number, by the series of the area tangent: ln m = 2 (t + t³/3 + t⁵/5 +
/// …) with t = (m - 1) / (m + 1).
fn ln(number: f64) -> f64 {
    let bits = number.to_bits();
    let mut exponent = ((bits >> 52) & 0x7ff) as i32 - 1023;
    let mut mantissa = f64::from_bits((bits & ((1 << 52) - 1)) | (1023 << 52));
    if mantissa > std::f64::consts::SQRT_2 {
        mantissa *= 0.5;
        exponent += 1;
    }
    let t = (mantissa - 1.0) / (mantissa + 1.0);
    // |t| < 0.172: the ninth term is below 10^-14.
    let sum = (0..9).rev().fold(0.0, |sum, term| sum * (t * t) + 1.0 / f64::from(2 * term + 1));
    2.0 * t * sum + f64::from(exponent) * std::f64::consts::LN_2
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of the authors' C program, for the state 0.
    #[test]
    fn is_splitmix64() {
        let mut random = Random(0);
        assert_eq!(random.bits(), 0xe220_a839_7b1d_cdaf);
        assert_eq!(random.bits(), 0x6e78_9e6a_a1b9_65f4);
    }

    #[test]
    fn logarithms_and_powers_are_close_to_the_library() {
        for number in [1.0 / Share::ALL as f64, 1e-9, 0.001, 0.5, 0.707, 0.708, 0.999_999, 1.0] {
            assert!((ln(number) - number.ln()).abs() <= 1e-13 * number.ln().abs().max(1.0), "{number}");
        }
        for (base, exponent) in [(1.0, 1.1), (2.0, 0.5), (10.0, 0.0), (1e6, 1.25), (1e7, 2.875), (3.0, 4.0)] {
            let expected: f64 = f64::powf(base, exponent);
            assert!((power(base, exponent) / expected - 1.0).abs() < 1e-12, "{base} {exponent}");
        }
        assert!((power(1e6, 1.1) / 1e6f64.powf(1.1) - 1.0).abs() < 1e-3, "to 16 binary digits");
    }

    #[test]
    fn shares_are_numbers_or_percents() {
        let half = Share(1 << 52);
        assert_eq!([".5", "0.5", "50%", "50 %"].map(str::parse), [const { Ok(Share(1 << 52)) }; 4]);
        assert_eq!((half.of(7), Share::NONE.of(7), "1".parse::<Share>().unwrap().of(7)), (3, 0, 7));
        for wrong in ["", "%", "1.1", "-0.1", "101%", "NaN", "half"] {
            assert!(wrong.parse::<Share>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn zipf_gives_small_ranks_more() {
        let zipf = Zipf::new(4, 1.0);
        let mut random = Random::new(1, 0);
        let mut drawn = [0u32; 4];
        (0..25_000).for_each(|_| drawn[zipf.draw(&mut random)] += 1);
        // Of 25 parts: 12, 6, 4, 3.
        for (drawn, expected) in drawn.into_iter().zip([12_000u32, 6_000, 4_000, 3_000]) {
            assert!(drawn.abs_diff(expected) < 300, "{drawn} of {expected}");
        }
        let flat = Zipf::new(3, 0.0);
        assert!((0..100).all(|_| flat.draw(&mut random) < 3));
    }
}
