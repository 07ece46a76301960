//! The 512 bytes before an entry.

use std::ops::Range;

/// Bytes of a header; content is filled up to a multiple of it.
pub const BLOCK: usize = 512;

/// A header. Nothing in it was checked.
pub struct Header([u8; BLOCK]);

/// Why a field holds no number; a phrase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum NumberError {
    /// It is below zero.
    Negative,
    /// It is beyond 64 bits.
    TooLarge,
    /// Some readers skip a zero byte and go on, others stop there.
    ZeroByte,
    /// It has something else than digits.
    NoDigits,
}

impl NumberError {
    /// What is wrong with a number called `what`, as a phrase: `a size that is not a number`.
    #[must_use]
    pub fn about(self, what: &str) -> String {
        match self {
            Self::Negative => format!("a negative {what}"),
            Self::TooLarge => format!("a {what} that no file can have"),
            Self::ZeroByte => format!("a {what} with a zero byte in it"),
            Self::NoDigits => format!("a {what} that is not a number"),
        }
    }
}

/// The dialect, by what stands where POSIX has `ustar`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Dialect {
    Posix,
    /// POSIX, but with times where that has the end of the prefix.
    Star,
    Gnu,
    Old,
}

impl Header {
    /// Takes a block for a header.
    #[must_use]
    pub const fn new(block: [u8; BLOCK]) -> Self {
        Self(block)
    }

    /// Whether this is one of the blocks of zeros that end an archive.
    #[must_use]
    pub fn is_end(&self) -> bool {
        self.0.iter().all(|byte| *byte == 0)
    }

    /// Whether it states the sum of all its bytes, with blanks for the sum itself. Old writers summed signed bytes.
    #[must_use]
    pub fn has_right_sum(&self) -> bool {
        let field = &self.0[148..156];
        let Ok(stated) = number(field) else { return false };
        if field[0] & 0x80 != 0 {
            return false;
        }
        let bytes = || self.0[..148].iter().chain(&self.0[156..]);
        let unsigned: u64 = bytes().map(|byte| u64::from(*byte)).sum::<u64>() + 8 * 32;
        let signed: i64 = bytes().map(|byte| i64::from(byte.cast_signed())).sum::<i64>() + 8 * 32;
        stated == unsigned || u64::try_from(signed) == Ok(stated)
    }

    /// Whether it is in the dialect of POSIX, which has a prefix of the name.
    #[must_use]
    pub fn is_posix(&self) -> bool {
        matches!(self.dialect(), Dialect::Posix | Dialect::Star)
    }

    fn dialect(&self) -> Dialect {
        match &self.0[257..265] {
            magic if magic[..6] != *b"ustar\0" => match magic {
                b"ustar  \0" => Dialect::Gnu,
                _ => Dialect::Old,
            },
            _ if self.0[508..] == *b"tar\0" => Dialect::Star,
            _ => Dialect::Posix,
        }
    }

    /// Whether readers disagree about which bytes are the prefix of the name. That of `star` is shorter than that of POSIX. GNU tar has
    /// times in its place, which Go takes for a prefix where they are none; the old format has nothing there, which Python takes
    /// for one nevertheless.
    #[must_use]
    pub fn has_doubtful_prefix(&self) -> bool {
        match self.dialect() {
            Dialect::Posix => false,
            Dialect::Star => true,
            // Times before 1970 have the first bit set, and no prefix has it.
            Dialect::Gnu => [345..357, 357..369]
                .into_iter()
                .any(|field| self.0[field.start] & 0x80 == 0 && number(&self.0[field]).is_err()),
            Dialect::Old => self.is_any_set(345..500),
        }
    }

    /// Whether any of these bytes is not zero.
    #[must_use]
    pub fn is_any_set(&self, bytes: Range<usize>) -> bool {
        self.0[bytes].iter().any(|byte| *byte != 0)
    }

    /// The byte that says what the entry is.
    #[must_use]
    pub const fn kind(&self) -> u8 {
        self.0[156]
    }

    /// The name, with the prefix that POSIX keeps apart.
    #[must_use]
    pub fn name(&self) -> Vec<u8> {
        let name = self.text(0..100);
        let prefix = if self.is_posix() { self.text(345..500) } else { b"" };
        if prefix.is_empty() { name.to_owned() } else { [prefix, b"/", name].concat() }
    }

    /// Where a link leads.
    #[must_use]
    pub fn link(&self) -> &[u8] {
        self.text(157..257)
    }

    /// Bytes of content that are behind it.
    pub fn size(&self) -> Result<u64, NumberError> {
        number(&self.0[124..136])
    }

    pub(crate) fn mode(&self) -> Result<u64, NumberError> {
        number(&self.0[100..108])
    }

    pub(crate) fn user(&self) -> Result<u64, NumberError> {
        number(&self.0[108..116])
    }

    pub(crate) fn group(&self) -> Result<u64, NumberError> {
        number(&self.0[116..124])
    }

    /// Whether a sparse file of GNU tar has another block with a map of its holes behind the header.
    pub(crate) const fn has_more_map(&self) -> bool {
        self.0[482] != 0
    }

    /// The same of such a block.
    pub(crate) const fn map_goes_on(&self) -> bool {
        self.0[504] != 0
    }

    /// A text field up to its first zero byte.
    fn text(&self, bytes: Range<usize>) -> &[u8] {
        let field = &self.0[bytes];
        &field[..field.iter().position(|byte| *byte == 0).unwrap_or(field.len())]
    }
}

/// A number: octal digits, or base 256 where the first bit is set. An empty field is zero.
fn number(field: &[u8]) -> Result<u64, NumberError> {
    match field.first() {
        // The second bit is the sign.
        Some(first) if first & 0xc0 == 0xc0 => return Err(NumberError::Negative),
        Some(first) if first & 0x80 != 0 => {
            let mut value = u64::from(first & 0x7f);
            for byte in &field[1..] {
                value = value.checked_mul(256).ok_or(NumberError::TooLarge)? + u64::from(*byte);
            }
            return Ok(value);
        }
        _ => {}
    }
    let blanks = field.iter().take_while(|byte| **byte == b' ').count();
    let text = &field[blanks..];
    if text.first() == Some(&b'-') {
        return Err(NumberError::Negative);
    }
    let digits = text.iter().take_while(|byte| (b'0'..=b'7').contains(*byte)).count();
    let (digits, rest) = text.split_at(digits);
    if rest.iter().any(|byte| !matches!(byte, 0 | b' ')) {
        return Err(if rest[0] == 0 { NumberError::ZeroByte } else { NumberError::NoDigits });
    }
    let mut value: u64 = 0;
    for byte in digits {
        value = value.checked_mul(8).ok_or(NumberError::TooLarge)? + u64::from(byte - b'0');
    }
    Ok(value)
}
