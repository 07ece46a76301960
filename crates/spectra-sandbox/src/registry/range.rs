//! The two range headers: `Content-Range` of an upload chunk (`0-99`, without unit) and `Range` of a download
//! (`bytes=0-99`).

/// The bytes of one upload chunk, both ends inclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ChunkRange {
    pub(crate) start: u64,
    pub(crate) end: u64,
}

impl ChunkRange {
    /// Reads `<start>-<end>`. The distribution specification has no unit and no total, so `bytes 0-99/100` is
    /// refused, as real registries do.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (start, end) = text.split_once('-')?;
        let (start, end) = (number(start)?, number(end)?);
        (start <= end).then_some(Self { start, end })
    }

    /// How many bytes the chunk has.
    pub(crate) const fn length(self) -> u64 {
        self.end - self.start + 1
    }
}

/// What a `Range` header asks of content with a known length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Requested {
    /// Everything: no header, another unit, several ranges, or not understood (RFC 9110 lets a server ignore it).
    Whole,
    /// One part, both ends inclusive, inside the content.
    Part { start: u64, end: u64 },
    /// Understood, but outside the content.
    Unsatisfiable,
}

/// Reads a `Range` header for content of `length` bytes.
pub(crate) fn requested(header: Option<&str>, length: u64) -> Requested {
    let Some((start, end)) = header
        .and_then(|text| text.trim().strip_prefix("bytes="))
        .filter(|text| !text.contains(','))
        .and_then(|text| text.trim().split_once('-'))
    else {
        return Requested::Whole;
    };
    match (start, end) {
        ("", suffix) => match number(suffix) {
            None => Requested::Whole,
            Some(0) => Requested::Unsatisfiable,
            Some(_) if length == 0 => Requested::Unsatisfiable,
            Some(suffix) => Requested::Part { start: length.saturating_sub(suffix), end: length - 1 },
        },
        (start, end) => {
            let (Some(start), Some(end)) =
                (number(start), if end.is_empty() { Some(u64::MAX) } else { number(end) })
            else {
                return Requested::Whole;
            };
            if end < start {
                Requested::Whole
            } else if start >= length {
                Requested::Unsatisfiable
            } else {
                Requested::Part { start, end: end.min(length - 1) }
            }
        }
    }
}

/// Decimal digits only: `u64::from_str` would also take `+1`.
fn number(text: &str) -> Option<u64> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_chunk_range_reads_back(start in 0..u64::MAX / 2, more in 0..u64::MAX / 2) {
            let range = ChunkRange::parse(&format!("{start}-{}", start + more)).unwrap();
            prop_assert_eq!((range.start, range.end, range.length()), (start, start + more, more + 1));
        }

        #[test]
        fn nothing_but_two_numbers_is_a_chunk_range(text in "[0-9a-z /=*+-]{0,12}") {
            if let Some(range) = ChunkRange::parse(&text) {
                let rest = text.trim_start_matches('0');
                prop_assert!(range.start == 0 || rest.starts_with(&range.start.to_string()));
                prop_assert!(range.start <= range.end);
                prop_assert!(text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-'));
            }
        }

        #[test]
        fn a_part_lies_inside_the_content(text in "bytes=[0-9]{0,3}-[0-9]{0,3}", length in 0_u64..500) {
            if let Requested::Part { start, end } = requested(Some(&text), length) {
                prop_assert!(start <= end && end < length);
            }
        }

        #[test]
        fn arbitrary_headers_never_panic(text in "\\PC{0,30}", length: u64) {
            let _ = requested(Some(&text), length);
            let _ = ChunkRange::parse(&text);
        }
    }

    #[test]
    fn forms_of_a_download_range() {
        for (header, expected) in [
            (None, Requested::Whole),
            (Some("bytes=0-0"), Requested::Part { start: 0, end: 0 }),
            (Some("bytes=2-"), Requested::Part { start: 2, end: 9 }),
            (Some("bytes=-3"), Requested::Part { start: 7, end: 9 }),
            (Some("bytes=-30"), Requested::Part { start: 0, end: 9 }),
            (Some("bytes=5-99"), Requested::Part { start: 5, end: 9 }),
            (Some("bytes=10-"), Requested::Unsatisfiable),
            (Some("bytes=-0"), Requested::Unsatisfiable),
            (Some("bytes=3-2"), Requested::Whole),
            (Some("bytes=0-1,3-4"), Requested::Whole),
            (Some("items=0-1"), Requested::Whole),
            (Some("bytes=a-b"), Requested::Whole),
        ] {
            assert_eq!(requested(header, 10), expected, "{header:?}");
        }
        for text in
            ["", "-", "0-", "-5", "5-4", "bytes 0-4", "0-4/5", "+0-4", "0 - 4", "99999999999999999999-1"]
        {
            assert_eq!(ChunkRange::parse(text), None, "{text}");
        }
    }
}
