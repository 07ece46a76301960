//! Unknown values: extension items, with promises in those of code 12.

use super::reader::{Head, Reader};
use super::write_number;
use super::writer::Writer;
use crate::codec::Reason;
use crate::value::text::nfc;
use crate::value::{Bound, Refinements};
use crate::{Type, Unknown};

/// The code of extension items that carry promises.
const REFINED: i8 = 12;

/// Terraform core does not read longer ones.
const MAX_PAYLOAD: usize = 1024;

/// Terraform core cuts prefixes to this length.
const MAX_PREFIX: usize = 256;

/// A bound with more digits than this is left out, so that all promises together stay within the limit.
const MAX_BOUND: usize = 256;

/// The keys of the map of promises.
mod key {
    pub(super) const NULL: u64 = 1;
    pub(super) const PREFIX: u64 = 2;
    pub(super) const LOWER: u64 = 3;
    pub(super) const UPPER: u64 = 4;
    pub(super) const MIN_LENGTH: u64 = 5;
    pub(super) const MAX_LENGTH: u64 = 6;
}

/// Reads an extension item. Any is an unknown; promises that are not understood are not relied upon.
pub(super) fn read(code: i8, payload: &[u8]) -> Unknown {
    if code != REFINED || payload.len() <= 1 || payload.len() > MAX_PAYLOAD {
        return Unknown::plain();
    }
    read_refinements(payload).map_or_else(|_| Unknown::plain(), Unknown::refined)
}

fn read_refinements(payload: &[u8]) -> Result<Refinements, Reason> {
    let mut reader = Reader::new(payload);
    let mut found = Refinements::default();
    let Head::Map(count) = reader.head()? else {
        return Err(Reason::DynamicShape);
    };
    for _ in 0..count {
        let key = match reader.head()? {
            Head::Int(key) => u64::try_from(key).unwrap_or(0),
            Head::Uint(key) => key,
            _ => return Err(Reason::KeyNotString),
        };
        match key {
            key::NULL => {
                if let Head::Bool(null) = reader.head()? {
                    found.null = Some(null);
                }
            }
            key::PREFIX => {
                if let Head::Str(prefix) = reader.head()? {
                    let prefix = std::str::from_utf8(prefix).map_err(|_| Reason::InvalidUtf8)?;
                    found.prefix = Some(nfc(prefix.to_owned()));
                }
            }
            key::LOWER => found.lower = Some(read_bound(&mut reader)?),
            key::UPPER => found.upper = Some(read_bound(&mut reader)?),
            key::MIN_LENGTH => found.min_length = read_length(&mut reader)?,
            key::MAX_LENGTH => found.max_length = read_length(&mut reader)?,
            _ => reader.skip(0)?,
        }
    }
    Ok(found)
}

fn read_bound(reader: &mut Reader<'_>) -> Result<Bound, Reason> {
    if reader.head()? != Head::Array(2) {
        return Err(Reason::DynamicShape);
    }
    let value = reader.head()?.number().ok_or(Reason::DynamicShape)??;
    let Head::Bool(inclusive) = reader.head()? else {
        return Err(Reason::DynamicShape);
    };
    Ok(Bound { value, inclusive })
}

fn read_length(reader: &mut Reader<'_>) -> Result<Option<u64>, Reason> {
    Ok(match reader.head()? {
        Head::Int(length) => u64::try_from(length).ok(),
        Head::Uint(length) => Some(length),
        _ => return Err(Reason::DynamicShape),
    })
}

/// Writes an unknown of type `ty`, with those of its promises that make sense for the type.
pub(super) fn write(out: &mut Writer, unknown: &Unknown, ty: &Type) {
    let Some(promised) = unknown.refinements().filter(|_| *ty != Type::Dynamic) else {
        out.ext(0, &[0]);
        return;
    };
    let mut entries: Vec<(u64, Vec<u8>)> = Vec::new();
    let mut entry = |key, write: &dyn Fn(&mut Writer)| {
        let mut value = Writer::new();
        write(&mut value);
        entries.push((key, value.into_bytes()));
    };
    if let Some(null) = promised.null {
        entry(key::NULL, &|out| out.bool(null));
    }
    match ty {
        Type::String => {
            if let Some(prefix) =
                promised.prefix.as_deref().map(safe_prefix).filter(|prefix| !prefix.is_empty())
            {
                entry(key::PREFIX, &|out| out.str(prefix));
            }
        }
        Type::Number => {
            for (key, bound) in [(key::LOWER, &promised.lower), (key::UPPER, &promised.upper)] {
                if let Some(bound) = bound.as_ref().filter(|bound| bound.value.to_string().len() <= MAX_BOUND)
                {
                    entry(key, &|out| {
                        out.array(2);
                        write_number(out, &bound.value);
                        out.bool(bound.inclusive);
                    });
                }
            }
        }
        Type::List(_) | Type::Set(_) | Type::Map(_) => {
            for (key, length) in
                [(key::MIN_LENGTH, promised.min_length), (key::MAX_LENGTH, promised.max_length)]
            {
                if let Some(length) = length.and_then(|length| i64::try_from(length).ok()) {
                    entry(key, &|out| out.int(length));
                }
            }
        }
        Type::Bool | Type::Dynamic | Type::Tuple(_) | Type::Object(_) => {}
    }
    if entries.is_empty() {
        out.ext(0, &[0]);
        return;
    }
    let mut payload = Writer::new();
    payload.map(entries.len());
    for (key, value) in entries {
        payload.int(key.cast_signed());
        payload.raw(&value);
    }
    out.ext(REFINED, &payload.into_bytes());
}

/// A prefix of at most 256 bytes that does not end inside a grapheme. Between two printable ASCII characters
/// there always is a boundary; a long prefix without two of them in a row promises nothing.
fn safe_prefix(prefix: &str) -> &str {
    if prefix.len() <= MAX_PREFIX {
        return prefix;
    }
    let bytes = prefix.as_bytes();
    let plain = |byte: u8| byte == b' ' || byte.is_ascii_graphic();
    let end = (1..=MAX_PREFIX).rev().find(|end| plain(bytes[end - 1]) && plain(bytes[*end])).unwrap_or(0);
    &prefix[..end]
}
