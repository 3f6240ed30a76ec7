//! Sums whose terms halve with age, in fixed point: equal bits on every machine, in any order of the terms.
//!
//! A value `v` of time `t` counts as `v * 2^((t - L) / half)`, where the landmark `L` is the start of its epoch of 4
//! half-lives. Terms of one epoch add up, whatever the time at which they are read. A reader scales the sums of the last
//! epochs to its time. (Forward decay: Cormode et al., ICDE 2009.)

use crate::decimal::Decimal;
use crate::time::EventTime;
use std::sync::LazyLock;

/// Half-lives of an epoch.
const EPOCH: i128 = 4;
/// Epochs that a reader looks at. An older value has lost 64 halves, and counts as 0.
pub(super) const EPOCHS: i64 = 17;
/// Bits of fraction of a term.
const FRACTION: u32 = 40;
/// The largest magnitude, in millionths, that a term has (10^9): so 2^31 terms fit into a sum.
const LARGEST: i128 = 1_000_000_000_000_000;

/// Returns the largest magnitude of a value that can decay.
pub const fn largest() -> Decimal {
    Decimal::from_millionths(LARGEST)
}

/// Returns the epoch of a time. `half` is the half-life in microseconds.
pub(super) fn epoch(time: EventTime, half: i64) -> i64 {
    i128::from(time.micros()).div_euclid(EPOCH * i128::from(half)) as i64
}

/// Returns what a value adds to the sum of its epoch; `None`: it is too large.
pub(super) fn term(value: Decimal, time: EventTime, half: i64) -> Option<i128> {
    let millionths = Some(value.millionths()).filter(|millionths| millionths.abs() <= LARGEST)?;
    let half = i128::from(half);
    let into = i128::from(time.micros()).rem_euclid(EPOCH * half);
    let (whole, part) = (into / half, into % half);
    let factor = power(fraction(part, half)) >> (UNIT - FRACTION);
    Some((millionths * i128::from(factor)) << whole)
}

/// Returns the value at `now` of sums by epoch.
pub(super) fn value(sums: impl Iterator<Item = (i64, i128)>, now: EventTime, half: i64) -> Decimal {
    let half = i128::from(half);
    let scaled = sums.map(|(epoch, sum)| {
        let age = i128::from(now.micros()) - i128::from(epoch) * EPOCH * half;
        let (whole, part) = (age.div_euclid(half), age.rem_euclid(half));
        match part {
            0 => shifted(sum, whole),
            // 2^-(part/half) as half of 2^(1 - part/half), which the table has.
            _ => shifted(times(sum, power(fraction(half - part, half))), whole + 1),
        }
    });
    let sum = scaled.fold(0_i128, i128::saturating_add);
    Decimal::from_millionths(sum.saturating_add(1 << (FRACTION - 1)) >> FRACTION)
}

/// Returns `sum / 2^halvings`. An epoch ahead of the reader has negative ones: what does not fit then is the largest sum.
fn shifted(sum: i128, halvings: i128) -> i128 {
    match halvings {
        0.. => sum >> halvings.min(127),
        _ => {
            let doublings = halvings.unsigned_abs().min(126) as u32;
            sum.checked_mul(1 << doublings).unwrap_or(if sum < 0 { i128::MIN } else { i128::MAX })
        }
    }
}

/// Bits of fraction of a power.
const UNIT: u32 = 62;

/// Returns the product of a sum and a power.
fn times(sum: i128, power: u64) -> i128 {
    let (high, low) = (sum >> 64, sum as u64);
    let low = (u128::from(low) * u128::from(power)) >> UNIT;
    ((high * i128::from(power)) << (64 - UNIT)) + low as i128
}

/// Returns `part / half` with 40 bits of fraction.
fn fraction(part: i128, half: i128) -> u64 {
    ((part << 40) / half) as u64
}

/// Returns 2^(x / 2^40), for x below 2^40.
fn power(x: u64) -> u64 {
    /// By byte of x, the highest first: 2^(i / 2^8), 2^(i / 2^16) and so on. Of integer square roots alone.
    static POWERS: LazyLock<[[u64; 256]; 5]> = LazyLock::new(|| {
        [8, 16, 24, 32, 40].map(|halvings| {
            let one = 1_u128 << UNIT;
            let root = (0..halvings).fold(2 * one, |power, _| (power << UNIT).isqrt());
            let mut power = one;
            std::array::from_fn(|_| {
                let this = power as u64;
                power = (power * root) >> UNIT;
                this
            })
        })
    });
    let bytes = POWERS.iter().zip([32, 24, 16, 8, 0]);
    bytes.fold(1 << UNIT, |power, (powers, shift)| {
        let byte = (x >> shift) & 0xff;
        ((u128::from(power) * u128::from(powers[byte as usize])) >> UNIT) as u64
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400_000_000;

    fn at(micros: i64) -> EventTime {
        EventTime::from_micros(micros).unwrap()
    }

    fn of(values: &[(i64, i64)], now: i64, half: i64) -> f64 {
        let terms = values
            .iter()
            .map(|(value, time)| (epoch(at(*time), half), term(Decimal::from(*value), at(*time), half).unwrap()));
        value(terms, at(now), half).to_string().parse().unwrap()
    }

    #[test]
    fn a_value_halves_with_each_half_life() {
        for start in [0, 5, 4 * 7 * DAY - 1, -3 * DAY, 1_700_000_000_000_000] {
            for halves in 0..20 {
                let found = of(&[(1024, start)], start + halves * 7 * DAY, 7 * DAY);
                let expected = 1024.0 / f64::powi(2.0, halves as i32);
                // Rounded to millionths.
                assert!((found - expected).abs() < 6e-7, "{found} {expected}");
            }
        }
    }

    /// Against floating point, at any distance.
    #[test]
    fn values_are_those_of_the_formula() {
        for step in 0..2000_i64 {
            let (time, now, half) = (step * 7_919_000_003, step * 7_919_000_003 + step * 104_729_007, 3_600_000_000);
            let expected = 1e6 * f64::powf(2.0, -((now - time) as f64) / half as f64);
            let found = of(&[(1_000_000, time)], now, half);
            assert!((found - expected).abs() <= expected * 1e-10 + 6e-7, "{step}: {found} {expected}");
        }
    }

    #[test]
    fn at_the_ends_nothing_overflows() {
        let largest = Decimal::from(1_000_000_000);
        assert_eq!(term(largest, at(0), 1).map(|term| term > 0), Some(true));
        assert_eq!(term(Decimal::from_millionths(largest.millionths() + 1), at(0), 1), None);
        for (time, half) in [(EventTime::MIN, 1), (EventTime::MAX, 1), (EventTime::MAX, 1 << 60)] {
            let term = (epoch(time, half), term(largest, time, half).unwrap());
            for now in [EventTime::MIN, time, EventTime::MAX] {
                value([term, term].into_iter(), now, half);
            }
        }
        // The sum of 2^31 terms at the end of an epoch.
        let most = term(largest, at(3), 1).unwrap();
        assert!(most.checked_mul(1 << 31).is_some_and(|sum| times(sum, power((1 << 40) - 1)) > 0));
    }
}
