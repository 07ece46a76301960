//! A database file of bbolt, as Trivy reads its advisories from. Small: each bucket is one leaf.

/// What stands under a key.
pub(crate) enum Entry {
    Value(String),
    Bucket(Vec<(&'static str, Entry)>),
}

const PAGE: usize = 4096;
const LEAF: u16 = 2;
const META: u16 = 4;
const FREE_LIST: u16 = 16;

/// The file with these buckets at its root.
pub(crate) fn database(root: Vec<(&'static str, Entry)>) -> Vec<u8> {
    // Two copies of the meta data, of which the one with the higher transaction counts, and a list of free pages that is empty.
    let mut file = vec![0; 2 * PAGE];
    file.extend(page(2, FREE_LIST, 0, &[]));
    let root = bucket(root, &mut file);
    let end = (file.len() / PAGE) as u64;
    for transaction in 0..2 {
        let mut meta = Vec::new();
        for word in [0xed0c_daed, 2, 4096, 0] {
            meta.extend(u32::to_le_bytes(word));
        }
        for word in [root, 0, 2, end, transaction] {
            meta.extend(word.to_le_bytes());
        }
        meta.extend(checksum(&meta).to_le_bytes());
        let start = if transaction == 0 { 0 } else { PAGE };
        file[start..start + PAGE].copy_from_slice(&page(transaction, META, 0, &meta));
    }
    file
}

/// Appends the pages of a bucket and returns the number of the first.
fn bucket(mut entries: Vec<(&'static str, Entry)>, file: &mut Vec<u8>) -> u64 {
    entries.sort_by_key(|(key, _)| *key);
    let entries: Vec<(u32, &str, Vec<u8>)> = entries
        .into_iter()
        .map(|(key, entry)| match entry {
            Entry::Value(text) => (0, key, text.into_bytes()),
            // Where it begins, and its sequence.
            Entry::Bucket(entries) => (1, key, [bucket(entries, file).to_le_bytes(), [0; 8]].concat()),
        })
        .collect();
    let (mut elements, mut data) = (Vec::new(), Vec::<u8>::new());
    for (number, (flags, key, value)) in entries.iter().enumerate() {
        // From the element itself to its key.
        let position = (entries.len() - number) * 16 + data.len();
        for word in [*flags as usize, position, key.len(), value.len()] {
            elements.extend(u32::try_from(word).unwrap().to_le_bytes());
        }
        data.extend(key.as_bytes());
        data.extend(value);
    }
    elements.extend(data);
    let number = (file.len() / PAGE) as u64;
    file.extend(page(number, LEAF, entries.len(), &elements));
    number
}

fn page(number: u64, flags: u16, count: usize, content: &[u8]) -> Vec<u8> {
    let mut page = number.to_le_bytes().to_vec();
    page.extend(flags.to_le_bytes());
    page.extend(u16::try_from(count).unwrap().to_le_bytes());
    page.extend([0; 4]);
    page.extend(content);
    assert!(page.len() <= PAGE, "a bucket has more than a page holds");
    page.resize(PAGE, 0);
    page
}

/// FNV-1a of 64 bits.
fn checksum(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
