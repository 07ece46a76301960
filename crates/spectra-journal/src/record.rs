//! Records, and the hash that chains them.

use std::{fmt, str::FromStr};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use spectra_types::Redactor;

/// The version that new records carry. It grows when the meaning of a record changes; the encoding that is
/// hashed stays, so that an older program can still check and read what a newer one wrote.
pub const RECORD_VERSION: u32 = 1;

/// A SHA-256 value, written as 64 lower-case hexadecimal characters.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Hash([u8; 32]);

impl Hash {
    /// What the first record of a journal names as its predecessor, and the head of an empty journal.
    pub const ZERO: Self = Self([0; 32]);

    /// The bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hash({self})")
    }
}

/// Why a text is no hash of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a record's hash has 64 characters, each one of 0-9 and a-f")]
pub struct HashError;

impl FromStr for Hash {
    type Err = HashError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Ok(byte - b'0'),
            b'a'..=b'f' => Ok(byte - b'a' + 10),
            _ => Err(HashError),
        };
        let text: &[u8; 64] = text.as_bytes().try_into().map_err(|_| HashError)?;
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Ok(Self(bytes))
    }
}

impl Serialize for Hash {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        std::borrow::Cow::<'de, str>::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// What somebody wants to have recorded.
#[derive(Debug, Clone, PartialEq)]
pub struct Draft {
    /// What it is about; the lease of the same subject guards it.
    pub subject: String,
    /// The rollout it belongs to.
    pub rollout: Option<String>,
    /// What happened, such as `rollout.begun`.
    pub kind: String,
    /// The rest, in the words of the kind.
    pub body: Value,
}

/// One entry of the journal; it never changes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The version of the program's record format; may be newer than this program's.
    pub version: u32,
    /// The place in the journal, from 1, without gaps.
    pub seq: u64,
    /// When it was written, by the journal's clock.
    pub at: Timestamp,
    /// A key that its writer chose, unique in the journal: it tells an append that was repeated from two.
    pub key: String,
    /// What it is about.
    pub subject: String,
    /// The rollout it belongs to.
    pub rollout: Option<String>,
    /// What happened.
    pub kind: String,
    /// The fencing number of the lease it was written under.
    pub fence: Option<u64>,
    /// The rest, in the words of the kind.
    pub body: Value,
    /// The hash of the record before it.
    pub previous: Hash,
    /// The hash over all of the above.
    pub hash: Hash,
}

/// Which records are wanted. The default is all of them, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query {
    /// Only records about this subject.
    pub subject: Option<String>,
    /// Only records of this rollout.
    pub rollout: Option<String>,
    /// Only records of these kinds; empty means every kind.
    pub kinds: Vec<String>,
    /// Only records after this place.
    pub after_seq: Option<u64>,
    /// At most so many.
    pub limit: Option<u64>,
    /// The newest first.
    pub newest_first: bool,
}

/// A record as it is stored: what is hashed is the stored text, not what this program understands of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) version: u64,
    pub(crate) seq: u64,
    pub(crate) at: String,
    pub(crate) key: String,
    pub(crate) subject: String,
    pub(crate) rollout: Option<String>,
    pub(crate) kind: String,
    pub(crate) fence: Option<u64>,
    pub(crate) body: String,
    pub(crate) previous: String,
    pub(crate) hash: String,
}

impl Row {
    /// The hash that belongs to the content.
    ///
    /// SHA-256 over the text `spectra-journal-record-1`, and then, in the order of [`Record`]'s fields: for a
    /// number its 8 bytes, most significant first; for a text the number of its bytes and the bytes; before
    /// each field that can be missing one byte, 1 if it is there and 0 if not. `at` and `body` are hashed as
    /// the text that is stored, `previous` as its hexadecimal text.
    pub(crate) fn content_hash(&self) -> Hash {
        let mut hasher = Sha256::new();
        hasher.update(b"spectra-journal-record-1");
        number(&mut hasher, self.version);
        number(&mut hasher, self.seq);
        text(&mut hasher, &self.at);
        text(&mut hasher, &self.key);
        text(&mut hasher, &self.subject);
        hasher.update([u8::from(self.rollout.is_some())]);
        if let Some(rollout) = &self.rollout {
            text(&mut hasher, rollout);
        }
        text(&mut hasher, &self.kind);
        hasher.update([u8::from(self.fence.is_some())]);
        if let Some(fence) = self.fence {
            number(&mut hasher, fence);
        }
        text(&mut hasher, &self.body);
        text(&mut hasher, &self.previous);
        Hash(hasher.finalize().into())
    }

    /// The record for people and programs; says what is wrong with a row that holds none.
    pub(crate) fn into_record(self) -> Result<Record, String> {
        Ok(Record {
            version: u32::try_from(self.version).map_err(|_| "its version is none".to_owned())?,
            seq: self.seq,
            at: self.at.parse().map_err(|error| format!("its time is none: {error}"))?,
            key: self.key,
            subject: self.subject,
            rollout: self.rollout,
            kind: self.kind,
            fence: self.fence,
            body: serde_json::from_str(&self.body)
                .map_err(|error| format!("its body is not JSON: {error}"))?,
            previous: self
                .previous
                .parse()
                .map_err(|error| format!("the hash of its predecessor is none: {error}"))?,
            hash: self.hash.parse().map_err(|error| format!("its hash is none: {error}"))?,
        })
    }
}

fn number(hasher: &mut Sha256, number: u64) {
    hasher.update(number.to_be_bytes());
}

fn text(hasher: &mut Sha256, text: &str) {
    // A length of more than 64 bits does not exist.
    number(hasher, text.len() as u64);
    hasher.update(text.as_bytes());
}

/// The text of a body to store: no secret that the process knows, and the keys of objects in order, so that
/// the text is the same however a program's JSON maps are made.
pub(crate) fn stored_body(body: &Value) -> String {
    redacted(body).to_string()
}

fn redacted(value: &Value) -> Value {
    let redactor = Redactor::global();
    match value {
        Value::String(text) => Value::String(redactor.redact(text).into_owned()),
        Value::Array(items) => Value::Array(items.iter().map(redacted).collect()),
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_by_key(|(key, _)| key.as_str());
            Value::Object(
                fields
                    .into_iter()
                    .map(|(key, value)| (redactor.redact(key).into_owned(), redacted(value)))
                    .collect(),
            )
        }
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn row() -> Row {
        Row {
            version: 1,
            seq: 7,
            at: "2026-08-01T12:00:00Z".to_owned(),
            key: "k".to_owned(),
            subject: "shop/production/api".to_owned(),
            rollout: Some("r1".to_owned()),
            kind: "rollout.begun".to_owned(),
            fence: Some(3),
            body: r#"{"image":"a"}"#.to_owned(),
            previous: Hash::ZERO.to_string(),
            hash: String::new(),
        }
    }

    #[test]
    fn the_encoding_is_what_the_documentation_says() {
        let mut expected = b"spectra-journal-record-1".to_vec();
        let put = |bytes: &mut Vec<u8>, text: &str| {
            bytes.extend((text.len() as u64).to_be_bytes());
            bytes.extend(text.bytes());
        };
        expected.extend(1_u64.to_be_bytes());
        expected.extend(7_u64.to_be_bytes());
        put(&mut expected, "2026-08-01T12:00:00Z");
        put(&mut expected, "k");
        put(&mut expected, "shop/production/api");
        expected.push(1);
        put(&mut expected, "r1");
        put(&mut expected, "rollout.begun");
        expected.push(1);
        expected.extend(3_u64.to_be_bytes());
        put(&mut expected, r#"{"image":"a"}"#);
        put(&mut expected, &"0".repeat(64));
        assert_eq!(row().content_hash(), Hash(Sha256::digest(expected).into()));
    }

    #[test]
    fn texts_do_not_run_into_each_other() {
        let mut one = row();
        one.subject = "ab".to_owned();
        one.rollout = None;
        one.kind = "c".to_owned();
        let mut other = one.clone();
        other.subject = "a".to_owned();
        other.kind = "bc".to_owned();
        assert_ne!(one.content_hash(), other.content_hash());
    }

    #[test]
    fn bodies_are_stored_without_secrets_and_in_one_order() {
        Redactor::global().register("tell-nobody-9");
        let body = json!({"z": ["x tell-nobody-9"], "a": {"key tell-nobody-9": 1, "b": null}});
        assert_eq!(stored_body(&body), r#"{"a":{"b":null,"key [redacted]":1},"z":["x [redacted]"]}"#);
    }

    proptest! {
        #[test]
        fn hashes_are_read_as_they_are_written(bytes in proptest::array::uniform32(any::<u8>())) {
            let hash = Hash(bytes);
            prop_assert_eq!(hash.to_string().parse::<Hash>().unwrap(), hash);
        }
    }

    #[test]
    fn other_texts_are_no_hash() {
        for text in ["", "0", &"g".repeat(64), &"A".repeat(64), &"0".repeat(65), &"é".repeat(32)] {
            assert_eq!(text.parse::<Hash>(), Err(HashError), "{text}");
        }
    }
}
