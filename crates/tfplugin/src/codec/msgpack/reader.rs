//! The grammar of msgpack, without types.

use crate::Number;
use crate::codec::{MAX_DEPTH, Reason};
use crate::value::NumberError;

/// The head of one msgpack item. What a head declares is not read yet, let alone allocated.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Head<'a> {
    Nil,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Float(f64),
    /// Not checked to be UTF-8.
    Str(&'a [u8]),
    Bin(&'a [u8]),
    /// An array of this many items, which follow.
    Array(usize),
    /// A map of this many pairs, which follow.
    Map(usize),
    Ext {
        code: i8,
        payload: &'a [u8],
    },
}

impl Head<'_> {
    pub(super) const fn kind(&self) -> &'static str {
        match self {
            Self::Nil => "null",
            Self::Bool(_) => "bool",
            Self::Int(_) | Self::Uint(_) | Self::Float(_) => "number",
            Self::Str(_) => "string",
            Self::Bin(_) => "bytes",
            Self::Array(_) => "array",
            Self::Map(_) => "map",
            Self::Ext { .. } => "unknown",
        }
    }

    /// The number, if it is one in any of the forms that a number can have.
    pub(super) fn number(self) -> Option<Result<Number, NumberError>> {
        match self {
            Self::Int(int) => Some(Ok(Number::from(int))),
            Self::Uint(int) => Some(Ok(Number::from(int))),
            Self::Float(float) => Some(Number::try_from(float)),
            Self::Str(text) | Self::Bin(text) => {
                Some(std::str::from_utf8(text).map_err(|_| NumberError::Syntax).and_then(Number::parse))
            }
            _ => None,
        }
    }
}

/// Reads items from bytes.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(super) const fn remaining(&self) -> usize {
        self.rest.len()
    }

    fn bytes(&mut self, count: usize) -> Result<&'a [u8], Reason> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(Reason::UnexpectedEnd)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Reason> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(Reason::UnexpectedEnd)?;
        self.rest = rest;
        Ok(*taken)
    }

    fn length(&mut self, width: usize) -> Result<usize, Reason> {
        let bytes = self.bytes(width)?;
        Ok(bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)))
    }

    fn ext(&mut self, length: usize) -> Result<Head<'a>, Reason> {
        let [code] = self.array()?;
        Ok(Head::Ext { code: code.cast_signed(), payload: self.bytes(length)? })
    }

    /// A container cannot hold more items than there are bytes left.
    fn count(&mut self, width: usize, container: fn(usize) -> Head<'a>) -> Result<Head<'a>, Reason> {
        let count = self.length(width)?;
        if count > self.rest.len() { Err(Reason::UnexpectedEnd) } else { Ok(container(count)) }
    }

    /// Takes the next head.
    pub(super) fn head(&mut self) -> Result<Head<'a>, Reason> {
        let [marker] = self.array()?;
        Ok(match marker {
            0x00..=0x7f => Head::Int(marker.into()),
            0x80..=0x8f => Head::Map(usize::from(marker & 0x0f)),
            0x90..=0x9f => Head::Array(usize::from(marker & 0x0f)),
            0xa0..=0xbf => Head::Str(self.bytes(usize::from(marker & 0x1f))?),
            0xc0 => Head::Nil,
            0xc1 => return Err(Reason::InvalidMarker),
            0xc2 => Head::Bool(false),
            0xc3 => Head::Bool(true),
            0xc4..=0xc6 => {
                let length = self.length(1 << (marker - 0xc4))?;
                Head::Bin(self.bytes(length)?)
            }
            0xc7..=0xc9 => {
                let length = self.length(1 << (marker - 0xc7))?;
                self.ext(length)?
            }
            0xca => Head::Float(f32::from_be_bytes(self.array()?).into()),
            0xcb => Head::Float(f64::from_be_bytes(self.array()?)),
            0xcc => Head::Uint(u8::from_be_bytes(self.array()?).into()),
            0xcd => Head::Uint(u16::from_be_bytes(self.array()?).into()),
            0xce => Head::Uint(u32::from_be_bytes(self.array()?).into()),
            0xcf => Head::Uint(u64::from_be_bytes(self.array()?)),
            0xd0 => Head::Int(i8::from_be_bytes(self.array()?).into()),
            0xd1 => Head::Int(i16::from_be_bytes(self.array()?).into()),
            0xd2 => Head::Int(i32::from_be_bytes(self.array()?).into()),
            0xd3 => Head::Int(i64::from_be_bytes(self.array()?)),
            0xd4..=0xd8 => self.ext(1 << (marker - 0xd4))?,
            0xd9..=0xdb => {
                let length = self.length(1 << (marker - 0xd9))?;
                Head::Str(self.bytes(length)?)
            }
            0xdc => self.count(2, Head::Array)?,
            0xdd => self.count(4, Head::Array)?,
            0xde => self.count(2, Head::Map)?,
            0xdf => self.count(4, Head::Map)?,
            0xe0..=0xff => Head::Int(marker.cast_signed().into()),
        })
    }

    /// Takes the next item, whatever it is and holds.
    pub(super) fn skip(&mut self, depth: usize) -> Result<(), Reason> {
        if depth > MAX_DEPTH {
            return Err(Reason::TooDeep);
        }
        let items = match self.head()? {
            Head::Array(count) => count,
            Head::Map(count) => count.saturating_mul(2),
            _ => 0,
        };
        (0..items).try_for_each(|_| self.skip(depth + 1))
    }
}
