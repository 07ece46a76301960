//! The properties of the codecs under arbitrary and under damaged bytes.
//!
//! `TFPLUGIN_FUZZ_SECONDS` says for how long damaged bytes are tried (1 if it is not set), `TFPLUGIN_FUZZ_SEED` from where the
//! random numbers start; `cargo xtask fuzz` sets both.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

#[path = "../properties/mod.rs"]
mod properties;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::{Duration, Instant, SystemTime};

use proptest::prelude::*;

use self::properties::{PROPERTIES, describe, seeds, take_type};

proptest! {
    #[test]
    fn any_bytes_are_a_value_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        for (_, property) in PROPERTIES {
            property(&bytes);
        }
    }

    #[test]
    fn any_text_is_a_value_or_an_error(text in "[\\[\\]{}\",:0-9eE+.\\-ntfualsr \\\\a-z]{0,60}") {
        for (_, property) in PROPERTIES {
            property(text.as_bytes());
            property(&[b"\x03", text.as_bytes()].concat());
        }
    }

    #[test]
    fn digits_are_kept_in_both_encodings(text in "-?[0-9]{1,60}(\\.[0-9]{1,60})?([eE][+-]?[0-9]{1,3})?") {
        properties::parse_number(text.as_bytes());
    }
}

#[test]
fn numbers_beyond_f64_are_kept_in_both_encodings() {
    for text in properties::NUMBERS {
        properties::parse_number(text.as_bytes());
    }
}

#[test]
fn the_bytes_of_a_type_stand_for_it() {
    for bytes in [b"\x0d".as_slice(), b"\x3d\x00\x04\x01\x2b\x02\x03", b"\x04\x07\x09\x00", b"\x01"] {
        let (ty, rest) = take_type(bytes);
        assert_eq!(rest, b"");
        assert_eq!(take_type(&describe(&ty)).0, ty);
    }
}

/// splitmix64: small, seeded, good enough to choose where to do damage.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Below `end`, which is not 0.
    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(end).unwrap()).unwrap()
    }

    fn byte(&mut self) -> u8 {
        // The first bytes of msgpack items, and of what JSON is made of.
        const TELLING: &[u8] = b"\x00\x7f\x80\x81\x8f\x90\x91\x9f\xa0\xbf\xc0\xc1\xc2\xc3\xc4\xc5\xc6\xc7\xc8\xc9\xca\xcb\xcc\xcd\
            \xce\xcf\xd0\xd3\xd4\xd5\xd8\xd9\xda\xdb\xdc\xdd\xde\xdf\xe0\xff\"\\[]{},:-+.eE0919ntf u";
        if self.next().is_multiple_of(2) {
            TELLING[self.below(TELLING.len())]
        } else {
            self.next().to_le_bytes()[0]
        }
    }

    fn damage(&mut self, bytes: &mut Vec<u8>, other: &[u8]) {
        let at = self.below(bytes.len() + 1);
        match self.below(7) {
            0 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
            1 if at < bytes.len() => bytes[at] = self.byte(),
            2 => bytes.insert(at, self.byte()),
            3 if at < bytes.len() => {
                let end = (at + 1 + self.below(8)).min(bytes.len());
                bytes.drain(at..end);
            }
            4 => bytes.truncate(at),
            5 => {
                let piece = bytes[at..(at + 1 + self.below(16)).min(bytes.len())].to_vec();
                for _ in 0..=self.below(40) {
                    bytes.splice(at..at, piece.iter().copied());
                }
            }
            _ if !other.is_empty() => {
                let from = self.below(other.len());
                let end = (from + 1 + self.below(32)).min(other.len());
                bytes.splice(at..at, other[from..end].iter().copied());
            }
            _ => bytes.push(self.byte()),
        }
    }
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().filter(|text| !text.is_empty()).map(|text| text.parse().unwrap())
}

/// Each seed of the corpus is damaged a few times over, and some of what comes of it is damaged again.
#[test]
fn damaged_bytes_are_a_value_or_an_error() {
    const KEPT: usize = 512;
    const LONGEST: usize = 4096;

    let time = Duration::from_secs(variable("TFPLUGIN_FUZZ_SECONDS").unwrap_or(1));
    let seed = variable("TFPLUGIN_FUZZ_SEED").unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        u64::try_from(now.as_micros()).unwrap()
    });
    println!("fuzz: seed {seed}, {} s", time.as_secs());
    let mut random = Random(seed);
    let mut corpus: BTreeMap<&str, Vec<Vec<u8>>> = BTreeMap::new();
    for (name, bytes) in seeds() {
        corpus.entry(name).or_default().push(bytes);
    }
    let (begun, mut cases) = (Instant::now(), 0_u64);
    while begun.elapsed() < time {
        for (name, property) in PROPERTIES {
            let kept = corpus.get_mut(name).unwrap();
            let mut bytes = kept[random.below(kept.len())].clone();
            let other = kept[random.below(kept.len())].clone();
            for _ in 0..=random.below(4) {
                random.damage(&mut bytes, &other);
            }
            bytes.truncate(LONGEST);
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| property(&bytes))) {
                let text = bytes.iter().fold(String::new(), |mut text, byte| {
                    write!(text, "{byte:02x}").unwrap();
                    text
                });
                println!("fuzz: `{name}` does not hold for {text} (seed {seed}, case {cases})");
                resume_unwind(panic);
            }
            cases += 1;
            if random.below(64) == 0 {
                if kept.len() < KEPT {
                    kept.push(bytes);
                } else {
                    let at = random.below(kept.len());
                    kept[at] = bytes;
                }
            }
        }
    }
    println!(
        "fuzz: {cases} cases, {} a second",
        u128::from(cases) * 1000 / begun.elapsed().as_millis().max(1)
    );
    assert!(cases > 0);
}
