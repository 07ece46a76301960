//! A transparency log: a Merkle tree (RFC 6962), its signed checkpoints, and its promises.

use std::sync::Mutex;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{Key, base64, hex, sha256};

/// The number of the first entry: this tree is the second one of its log.
const FIRST: u64 = 1000;
const ORIGIN: &str = "rekor.spectra.test - 4242";

/// The log.
pub struct Log {
    pub(crate) key: Key,
    leaves: Mutex<Vec<[u8; 32]>>,
}

/// An entry, with everything that proves it.
#[derive(Clone, Debug)]
pub struct Entry {
    /// What is entered.
    pub body: Vec<u8>,
    /// When, in seconds since 1970.
    pub time: i64,
    /// Its number in this tree.
    pub index: u64,
    /// How many there were.
    pub size: u64,
    /// The hashes beside its way to the root.
    pub path: Vec<[u8; 32]>,
    /// The root.
    pub root: [u8; 32],
    /// The root, signed.
    pub checkpoint: String,
    /// The promise, signed.
    pub promise: Vec<u8>,
    id: [u8; 32],
}

impl Log {
    pub(crate) fn new() -> Self {
        // Whoever is alone has no way to the root.
        Self { key: Key::generate(), leaves: Mutex::new(vec![leaf(b"first"), leaf(b"second")]) }
    }

    /// Enters something.
    pub fn enter(&self, body: &[u8], at: Timestamp) -> Entry {
        let mut leaves = self.leaves.lock().unwrap();
        let position = leaves.len();
        leaves.push(leaf(body));
        let (index, size) = (u64::try_from(position).unwrap(), u64::try_from(position + 1).unwrap());
        let root = root(&leaves);
        let note = format!("{ORIGIN}\n{size}\n{}\n", base64(&root));
        let id = sha256(&self.key.spki());
        let line = base64(&[&id[..4], &self.key.sign(note.as_bytes())].concat());
        let checkpoint = format!("{note}\n\u{2014} rekor.spectra.test {line}\n");
        let time = at.as_second();
        let promised = format!(
            r#"{{"body":"{}","integratedTime":{time},"logID":"{}","logIndex":{}}}"#,
            base64(body),
            hex(&id),
            FIRST + index
        );
        let promise = self.key.sign(promised.as_bytes());
        let path = path(position, &leaves);
        Entry { body: body.to_vec(), time, index, size, path, root, checkpoint, promise, id }
    }
}

impl Entry {
    /// As a bundle has it.
    #[must_use]
    pub fn in_bundle(&self, kind: &str) -> Value {
        json!({
            "logIndex": (FIRST + self.index).to_string(),
            "logId": { "keyId": base64(&self.id) },
            "kindVersion": { "kind": kind, "version": "0.0.1" },
            "integratedTime": self.time.to_string(),
            "inclusionPromise": { "signedEntryTimestamp": base64(&self.promise) },
            "inclusionProof": {
                "logIndex": self.index.to_string(),
                "rootHash": base64(&self.root),
                "treeSize": self.size.to_string(),
                "hashes": self.path.iter().map(|hash| base64(hash)).collect::<Vec<_>>(),
                "checkpoint": { "envelope": self.checkpoint },
            },
            "canonicalizedBody": base64(&self.body),
        })
    }

    /// As an annotation has it, with the promise alone.
    #[must_use]
    pub fn in_annotation(&self) -> Value {
        json!({
            "SignedEntryTimestamp": base64(&self.promise),
            "Payload": {
                "body": base64(&self.body),
                "integratedTime": self.time,
                "logIndex": FIRST + self.index,
                "logID": hex(&self.id),
            },
        })
    }

    /// As Rekor answers with it.
    #[must_use]
    pub fn in_answer(&self) -> Value {
        let uuid = format!("0000000000004242{}", hex(&leaf(&self.body)));
        json!({ uuid: {
            "body": base64(&self.body),
            "integratedTime": self.time,
            "logID": hex(&self.id),
            "logIndex": FIRST + self.index,
            "verification": {
                "inclusionProof": {
                    "checkpoint": self.checkpoint,
                    "hashes": self.path.iter().map(|hash| hex(hash)).collect::<Vec<_>>(),
                    "logIndex": self.index,
                    "rootHash": hex(&self.root),
                    "treeSize": self.size,
                },
                "signedEntryTimestamp": base64(&self.promise),
            },
        }})
    }
}

fn leaf(body: &[u8]) -> [u8; 32] {
    sha256(&[&[0], body].concat())
}

fn node(left: [u8; 32], right: [u8; 32]) -> [u8; 32] {
    sha256(&[[1].as_slice(), &left, &right].concat())
}

/// The largest power of two below a number of leaves.
fn split(leaves: usize) -> usize {
    leaves.next_power_of_two() / 2
}

fn root(leaves: &[[u8; 32]]) -> [u8; 32] {
    match leaves {
        [] => sha256(&[]),
        [one] => *one,
        more => {
            let (left, right) = more.split_at(split(more.len()));
            node(root(left), root(right))
        }
    }
}

fn path(position: usize, leaves: &[[u8; 32]]) -> Vec<[u8; 32]> {
    if leaves.len() < 2 {
        return Vec::new();
    }
    let (left, right) = leaves.split_at(split(leaves.len()));
    let (mut below, beside) = if position < left.len() {
        (path(position, left), root(right))
    } else {
        (path(position - left.len(), right), root(left))
    };
    below.push(beside);
    below
}
