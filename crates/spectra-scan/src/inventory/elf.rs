//! One section of an ELF file, found without trusting a word of it.
//!
//! Everything is read by offset with a limit: a file from an image may say that it has four billion sections.

use std::io::{self, Read, Seek, SeekFrom};

/// First bytes of an ELF file.
pub(super) const MAGIC: [u8; 4] = *b"\x7fELF";

/// How many sections are looked at. Real programs have some dozens.
const MAX_SECTIONS: u64 = 4096;

/// The content of the section `wanted`, of at most `limit` bytes; `None` if there is none, or the file is no ELF file.
pub(super) fn section(
    file: &mut (impl Read + Seek),
    wanted: &[u8],
    limit: u64,
) -> io::Result<Option<Vec<u8>>> {
    let mut header = [0; 64];
    let count = read_at(file, 0, &mut header)?;
    if count < 52 || header[..4] != MAGIC {
        return Ok(None);
    }
    let (wide, little) = (header[4] == 2, header[5] == 1);
    let number = |bytes: &[u8]| {
        let fold = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
        if little { bytes.iter().rev().fold(0, fold) } else { bytes.iter().fold(0, fold) }
    };
    let (table, size, count, names) = if wide {
        (number(&header[40..48]), number(&header[58..60]), number(&header[60..62]), number(&header[62..64]))
    } else {
        (number(&header[32..36]), number(&header[46..48]), number(&header[48..50]), number(&header[50..52]))
    };
    let least = if wide { 64 } else { 40 };
    if size < least || count > MAX_SECTIONS {
        return Ok(None);
    }
    // Name, offset and size of a section.
    let entry = |file: &mut _, index: u64| -> io::Result<Option<(u64, u64, u64)>> {
        let mut bytes = [0; 64];
        let Some(at) = index.checked_mul(size).and_then(|offset| table.checked_add(offset)) else {
            return Ok(None);
        };
        let bytes = &mut bytes[..if wide { 64 } else { 40 }];
        if read_at(file, at, bytes)? < bytes.len() {
            return Ok(None);
        }
        let name = number(&bytes[..4]);
        Ok(Some(if wide {
            (name, number(&bytes[24..32]), number(&bytes[32..40]))
        } else {
            (name, number(&bytes[16..20]), number(&bytes[20..24]))
        }))
    };
    let Some((_, strings, _)) = entry(file, names)? else { return Ok(None) };
    for index in 0..count {
        let Some((name, offset, size)) = entry(file, index)? else { return Ok(None) };
        let mut found = vec![0; wanted.len() + 1];
        let Some(at) = strings.checked_add(name) else { continue };
        let read = read_at(file, at, &mut found)?;
        if read < found.len() || &found[..wanted.len()] != wanted || found[wanted.len()] != 0 {
            continue;
        }
        if size > limit {
            return Err(io::Error::other(format!("the section has {size} bytes")));
        }
        let mut content = Vec::new();
        file.seek(SeekFrom::Start(offset))?;
        file.take(size).read_to_end(&mut content)?;
        if content.len() as u64 != size {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
        }
        return Ok(Some(content));
    }
    Ok(None)
}

/// Fills the buffer from an offset; fewer bytes at the end of the file.
fn read_at(file: &mut (impl Read + Seek), at: u64, buffer: &mut [u8]) -> io::Result<usize> {
    // An offset that no file can have is behind the end of this one.
    if i64::try_from(at).is_err() {
        return Ok(0);
    }
    file.seek(SeekFrom::Start(at))?;
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..])? {
            0 => break,
            count => filled += count,
        }
    }
    Ok(filled)
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A file with nothing but a table of sections: an empty one, the names, and `name`.
    pub(in super::super) fn file(wide: bool, little: bool, name: &str, content: &[u8]) -> Vec<u8> {
        let bytes = |value: usize, width: usize| {
            let mut bytes = value.to_le_bytes()[..width].to_vec();
            if !little {
                bytes.reverse();
            }
            bytes
        };
        let (header, size, word) = if wide { (64, 64, 8) } else { (52, 40, 4) };
        let strings = [b"\0.shstrtab\0", name.as_bytes(), b"\0"].concat();
        let table = header + strings.len() + content.len();
        let mut file = MAGIC.to_vec();
        file.extend([if wide { 2 } else { 1 }, if little { 1 } else { 2 }, 1]);
        file.resize(16 + 8, 0);
        file.extend(bytes(0, word));
        file.extend(bytes(0, word));
        file.extend(bytes(table, word));
        file.resize(header - 6, 0);
        file.extend([bytes(size, 2), bytes(3, 2), bytes(1, 2)].concat());
        file.extend(&strings);
        file.extend(content);
        for (name, offset, length) in
            [(0, 0, 0), (1, header, strings.len()), (11, header + strings.len(), content.len())]
        {
            let start = file.len();
            file.extend([bytes(name, 4), bytes(0, 4), bytes(0, word), bytes(0, word)].concat());
            file.extend([bytes(offset, word), bytes(length, word)].concat());
            file.resize(start + size, 0);
        }
        file
    }

    #[test]
    fn either_width_and_order() {
        for (wide, little) in [(true, true), (true, false), (false, true), (false, false)] {
            let bytes = file(wide, little, ".dep-v0", b"content");
            let find = |name: &[u8], limit| section(&mut io::Cursor::new(&bytes), name, limit);
            assert_eq!(find(b".dep-v0", 7).unwrap().as_deref(), Some(b"content".as_slice()));
            assert_eq!(find(b".dep-v", 7).unwrap(), None);
            assert!(find(b".dep-v0", 6).is_err());
            let cut = &bytes[..bytes.len() - 1];
            assert_eq!(section(&mut io::Cursor::new(cut), b".dep-v0", 7).unwrap(), None);
        }
    }

    #[test]
    fn finds_the_names_of_a_real_program() {
        let mut program = std::fs::File::open(std::env::current_exe().unwrap()).unwrap();
        let names = section(&mut program, b".shstrtab", 1 << 20).unwrap().unwrap();
        assert!(names.windows(6).any(|window| window == b".text\0"));
    }

    proptest! {
        #[test]
        fn garbage_never_panics(rest in prop::collection::vec(any::<u8>(), 0..300), at in 0..300_usize, byte: u8) {
            let mut bytes = file(true, true, ".dep-v0", &rest);
            let at = at % bytes.len();
            bytes[at] = byte;
            let _ = section(&mut io::Cursor::new(&bytes), b".dep-v0", 100);
            let _ = section(&mut io::Cursor::new([MAGIC.as_slice(), &rest].concat()), b".dep-v0", 100);
        }
    }
}
