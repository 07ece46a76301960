//! Numbers of any size and precision.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use bigdecimal::num_bigint::{BigInt, Sign};
use bigdecimal::{BigDecimal, ToPrimitive};

/// The greatest number of significant decimal digits. Terraform core keeps 512 bits, which is 155 digits.
const MAX_DIGITS: usize = 4096;

/// The greatest power of ten, up or down, of the first digit. Without a bound `1e999999999` is a ten-byte
/// message that asks for a gigabyte.
const MAX_EXPONENT: i64 = 10_000;

/// The most decimal digits that the exact value of an `f64` can have.
const MAX_F64_DIGITS: u64 = 767;

/// The most decimals that the exact value of an `f64` can have.
const MAX_F64_SCALE: i64 = 1074;

/// A number, exact: Terraform's numbers have neither the range nor the rounding of `f64`.
///
/// Two numbers are equal, and hash alike, when they are the same number, however they were written: `1.0` is
/// `1`, `1e2` is `100`, `-0` is `0`. There is no NaN and no infinity. A number has at most 4096 significant
/// digits and lies within 10^±10000, so that none can cost more than it is worth.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Number(Repr);

/// One representation per number, so that derived equality and hash are those of the number.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Repr {
    /// Every integer that fits.
    Int(i64),
    /// Everything else: `digits × 10^-scale`, where `digits` does not end in 0.
    Decimal { digits: BigInt, scale: i64 },
}

/// Why something is not a [`Number`], or not the kind of number that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NumberError {
    /// The text is not a decimal number.
    #[error("not a decimal number")]
    Syntax,
    /// Beyond 10^±10000.
    #[error("the number lies beyond 10^10000 or within 10^-10000 of zero")]
    OutOfRange,
    /// More than 4096 significant digits.
    #[error("the number has more than 4096 significant digits")]
    TooPrecise,
    /// NaN or an infinity: Terraform cannot hold either.
    #[error("the number is not finite")]
    NotFinite,
}

impl Number {
    /// Zero.
    pub const ZERO: Self = Self(Repr::Int(0));

    /// Reads a decimal number: `12`, `-0.5`, `.5`, `1E+30`.
    pub fn parse(text: &str) -> Result<Self, NumberError> {
        if let Ok(int) = text.parse::<i64>() {
            return Ok(Self(Repr::Int(int)));
        }
        let (negative, unsigned) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, text),
        };
        let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, parse_exponent(exponent)?),
            None => (unsigned, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let is_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if mantissa.len() == mantissa.bytes().filter(|byte| *byte == b'.').count()
            || !is_digits(whole)
            || !is_digits(fraction)
        {
            return Err(NumberError::Syntax);
        }
        let digits = [whole, fraction].concat();
        let decimals = i64::try_from(fraction.len()).map_err(|_| NumberError::OutOfRange)?;
        Self::from_parts(negative, &digits, decimals.saturating_sub(exponent))
    }

    /// `±digits × 10^-scale`, from ASCII digits.
    fn from_parts(negative: bool, digits: &str, scale: i64) -> Result<Self, NumberError> {
        let digits = digits.trim_start_matches('0');
        let trimmed = digits.trim_end_matches('0');
        if trimmed.is_empty() {
            return Ok(Self::ZERO);
        }
        let length = |text: &str| i64::try_from(text.len()).map_err(|_| NumberError::OutOfRange);
        let scale = scale.saturating_sub(length(digits)? - length(trimmed)?);
        let magnitude = length(trimmed)?.saturating_sub(scale);
        if !(-MAX_EXPONENT..=MAX_EXPONENT).contains(&magnitude) {
            return Err(NumberError::OutOfRange);
        }
        if trimmed.len() > MAX_DIGITS {
            return Err(NumberError::TooPrecise);
        }
        let sign = if negative { "-" } else { "" };
        if scale <= 0 && magnitude <= 19 {
            let zeros = usize::try_from(-scale).map_err(|_| NumberError::OutOfRange)?;
            if let Ok(int) = format!("{sign}{trimmed}{}", "0".repeat(zeros)).parse::<i64>() {
                return Ok(Self(Repr::Int(int)));
            }
        }
        let digits = BigInt::from_str(&[sign, trimmed].concat()).map_err(|_| NumberError::Syntax)?;
        Ok(Self(Repr::Decimal { digits, scale }))
    }

    /// From an integer of any size that is known to be within bounds.
    fn from_big_int(int: &BigInt) -> Result<Self, NumberError> {
        Self::from_parts(int.sign() == Sign::Minus, &int.magnitude().to_string(), 0)
    }

    /// Whether there is nothing behind the decimal point.
    #[must_use]
    pub fn is_integer(&self) -> bool {
        match &self.0 {
            Repr::Int(_) => true,
            Repr::Decimal { scale, .. } => *scale <= 0,
        }
    }

    /// The number, if it is an integer within `i64`.
    #[must_use]
    pub fn to_i64(&self) -> Option<i64> {
        match self.0 {
            Repr::Int(int) => Some(int),
            Repr::Decimal { .. } => None,
        }
    }

    /// The number, if it is an integer within `u64`.
    #[must_use]
    pub fn to_u64(&self) -> Option<u64> {
        match &self.0 {
            Repr::Int(int) => u64::try_from(*int).ok(),
            Repr::Decimal { digits, scale } => {
                let zeros = u32::try_from(scale.checked_neg()?).ok().filter(|zeros| *zeros < 20)?;
                digits.to_u64()?.checked_mul(10_u64.checked_pow(zeros)?)
            }
        }
    }

    /// The `f64` that stands for this number in Terraform: for integers the one that is exactly equal, for
    /// other numbers the one whose shortest decimal text is this number. `0.1` has one, 2^53 + 1 and `1e100` do
    /// not. The way back, `Number::try_from`, gives the same number.
    #[must_use]
    pub fn to_f64(&self) -> Option<f64> {
        let nearest = self.to_f64_lossy();
        (Self::try_from(nearest).as_ref() == Ok(self)).then_some(nearest)
    }

    /// The `f64` that is exactly equal: `0.5` has one, `0.1` does not.
    #[must_use]
    pub fn to_f64_exact(&self) -> Option<f64> {
        match &self.0 {
            Repr::Decimal { digits, scale } if *scale > 0 => {
                // digits/10^scale is a dyadic fraction exactly when 5^scale divides digits; the last digit of a
                // trimmed one is then 5, which settles almost every number without arithmetic.
                let five = BigInt::from(5);
                if *scale > MAX_F64_SCALE
                    || digits.bits() > MAX_F64_DIGITS * 4
                    || digits % 10 != five && digits % 10 != -five
                {
                    return None;
                }
                let nearest = self.to_f64_lossy();
                let (mantissa, exponent) = decode(nearest)?;
                let down = u32::try_from(exponent.checked_neg()?).ok()?;
                // mantissa / 2^down = digits / 10^scale, by cross-multiplication.
                let scale = u32::try_from(*scale).ok()?;
                (BigInt::from(mantissa) * BigInt::from(10).pow(scale) == digits << down).then_some(nearest)
            }
            _ => self.to_f64(),
        }
    }

    /// The nearest `f64`; an infinity when the number is beyond its range.
    #[must_use]
    pub fn to_f64_lossy(&self) -> f64 {
        match &self.0 {
            #[expect(clippy::cast_precision_loss, reason = "the nearest is what is asked for")]
            Repr::Int(int) => *int as f64,
            Repr::Decimal { digits, scale } => {
                format!("{digits}e{}", -scale).parse().unwrap_or(f64::INFINITY)
            }
        }
    }

    /// The number for arithmetic.
    #[must_use]
    pub fn to_big_decimal(&self) -> BigDecimal {
        match &self.0 {
            Repr::Int(int) => BigDecimal::from(*int),
            Repr::Decimal { digits, scale } => BigDecimal::new(digits.clone(), *scale),
        }
    }

    fn is_negative(&self) -> bool {
        match &self.0 {
            Repr::Int(int) => *int < 0,
            Repr::Decimal { digits, .. } => digits.sign() == Sign::Minus,
        }
    }
}

/// Reads an exponent; one that is too long for `i64` is as good as the largest.
fn parse_exponent(text: &str) -> Result<i64, NumberError> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(NumberError::Syntax);
    }
    let magnitude = digits.parse::<i64>().unwrap_or(i64::MAX);
    Ok(if text.starts_with('-') { -magnitude } else { magnitude })
}

/// A finite `f64` as `mantissa × 2^exponent`.
fn decode(float: f64) -> Option<(i64, i32)> {
    if !float.is_finite() {
        return None;
    }
    let bits = float.to_bits();
    let fraction = i64::try_from(bits & ((1 << 52) - 1)).ok()?;
    let biased = i32::try_from((bits >> 52) & 0x7ff).ok()?;
    let (mantissa, exponent) =
        if biased == 0 { (fraction, -1074) } else { (fraction | (1 << 52), biased - 1075) };
    Some((if float.is_sign_negative() { -mantissa } else { mantissa }, exponent))
}

impl From<i64> for Number {
    fn from(int: i64) -> Self {
        Self(Repr::Int(int))
    }
}

impl From<i32> for Number {
    fn from(int: i32) -> Self {
        Self(Repr::Int(int.into()))
    }
}

impl From<u32> for Number {
    fn from(int: u32) -> Self {
        Self(Repr::Int(int.into()))
    }
}

impl From<u64> for Number {
    fn from(int: u64) -> Self {
        match i64::try_from(int) {
            Ok(int) => Self(Repr::Int(int)),
            // 19 or 20 digits: within every bound, so the other arm is never taken.
            Err(_) => Self::from_parts(false, &int.to_string(), 0).unwrap_or(Self::ZERO),
        }
    }
}

/// The number Terraform core takes an `f64` for: an integer is exactly that integer, any other is its shortest
/// decimal text (`0.1`, not `0.1000000000000000055…`).
impl TryFrom<f64> for Number {
    type Error = NumberError;

    fn try_from(float: f64) -> Result<Self, NumberError> {
        let (mantissa, exponent) = decode(float).ok_or(NumberError::NotFinite)?;
        if float.fract() != 0.0 {
            return Self::parse(&format!("{float:e}"));
        }
        match u32::try_from(exponent) {
            Ok(up) => Self::from_big_int(&(BigInt::from(mantissa) << up)),
            // An integer below 2^53.
            #[expect(clippy::cast_possible_truncation, reason = "integral, and less than 2^53")]
            Err(_) => Ok(Self(Repr::Int(float as i64))),
        }
    }
}

impl TryFrom<BigDecimal> for Number {
    type Error = NumberError;

    fn try_from(decimal: BigDecimal) -> Result<Self, NumberError> {
        let (digits, scale) = decimal.into_bigint_and_exponent();
        Self::from_parts(digits.sign() == Sign::Minus, &digits.magnitude().to_string(), scale)
    }
}

impl FromStr for Number {
    type Err = NumberError;

    fn from_str(text: &str) -> Result<Self, NumberError> {
        Self::parse(text)
    }
}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// By value.
impl Ord for Number {
    fn cmp(&self, other: &Self) -> Ordering {
        match (&self.0, &other.0) {
            (Repr::Int(a), Repr::Int(b)) => a.cmp(b),
            _ => other
                .is_negative()
                .cmp(&self.is_negative())
                .then_with(|| self.to_big_decimal().cmp(&other.to_big_decimal())),
        }
    }
}

/// The shortest exact decimal, without an exponent, as Terraform core writes it.
impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (digits, scale) = match &self.0 {
            Repr::Int(int) => return int.fmt(f),
            Repr::Decimal { digits, scale } => (digits.magnitude().to_string(), *scale),
        };
        let sign = if self.is_negative() { "-" } else { "" };
        let decimals = usize::try_from(scale).unwrap_or(0);
        if decimals == 0 {
            let zeros = usize::try_from(-scale).unwrap_or(0);
            write!(f, "{sign}{digits}{}", "0".repeat(zeros))
        } else if decimals < digits.len() {
            let (whole, fraction) = digits.split_at(digits.len() - decimals);
            write!(f, "{sign}{whole}.{fraction}")
        } else {
            write!(f, "{sign}0.{}{digits}", "0".repeat(decimals - digits.len()))
        }
    }
}
