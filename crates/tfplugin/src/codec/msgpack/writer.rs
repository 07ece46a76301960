//! Writing msgpack items, each in its shortest form.

/// Appends items to bytes.
pub(super) struct Writer(Vec<u8>);

impl Writer {
    pub(super) const fn new() -> Self {
        Self(Vec::new())
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    fn put(&mut self, marker: u8, payload: &[u8]) {
        self.0.push(marker);
        self.0.extend_from_slice(payload);
    }

    pub(super) fn raw(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    pub(super) fn nil(&mut self) {
        self.0.push(0xc0);
    }

    pub(super) fn bool(&mut self, truth: bool) {
        self.0.push(if truth { 0xc3 } else { 0xc2 });
    }

    pub(super) fn int(&mut self, int: i64) {
        if let Ok(small) = i8::try_from(int)
            && small >= -32
        {
            self.0.push(small.cast_unsigned());
        } else if let Ok(int) = u8::try_from(int) {
            self.put(0xcc, &[int]);
        } else if let Ok(int) = u16::try_from(int) {
            self.put(0xcd, &int.to_be_bytes());
        } else if let Ok(int) = u32::try_from(int) {
            self.put(0xce, &int.to_be_bytes());
        } else if let Ok(int) = u64::try_from(int) {
            self.put(0xcf, &int.to_be_bytes());
        } else if let Ok(int) = i8::try_from(int) {
            self.put(0xd0, &int.to_be_bytes());
        } else if let Ok(int) = i16::try_from(int) {
            self.put(0xd1, &int.to_be_bytes());
        } else if let Ok(int) = i32::try_from(int) {
            self.put(0xd2, &int.to_be_bytes());
        } else {
            self.put(0xd3, &int.to_be_bytes());
        }
    }

    pub(super) fn float(&mut self, float: f64) {
        self.put(0xcb, &float.to_be_bytes());
    }

    /// A head with a length of 8, 16 or 32 bits. Beyond 4 GiB nothing fits into a message anyway.
    fn length(&mut self, narrow: Option<u8>, medium: u8, wide: u8, length: usize) {
        match (narrow, u8::try_from(length), u16::try_from(length)) {
            (Some(narrow), Ok(length), _) => self.put(narrow, &[length]),
            (_, _, Ok(length)) => self.put(medium, &length.to_be_bytes()),
            _ => self.put(wide, &u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes()),
        }
    }

    pub(super) fn str(&mut self, text: &str) {
        match u8::try_from(text.len()) {
            Ok(length @ 0..=31) => self.0.push(0xa0 | length),
            _ => self.length(Some(0xd9), 0xda, 0xdb, text.len()),
        }
        self.raw(text.as_bytes());
    }

    pub(super) fn bin(&mut self, bytes: &[u8]) {
        self.length(Some(0xc4), 0xc5, 0xc6, bytes.len());
        self.raw(bytes);
    }

    pub(super) fn array(&mut self, count: usize) {
        match u8::try_from(count) {
            Ok(count @ 0..=15) => self.0.push(0x90 | count),
            _ => self.length(None, 0xdc, 0xdd, count),
        }
    }

    pub(super) fn map(&mut self, count: usize) {
        match u8::try_from(count) {
            Ok(count @ 0..=15) => self.0.push(0x80 | count),
            _ => self.length(None, 0xde, 0xdf, count),
        }
    }

    pub(super) fn ext(&mut self, code: i8, payload: &[u8]) {
        match payload.len() {
            1 => self.0.push(0xd4),
            2 => self.0.push(0xd5),
            4 => self.0.push(0xd6),
            8 => self.0.push(0xd7),
            16 => self.0.push(0xd8),
            length => self.length(Some(0xc7), 0xc8, 0xc9, length),
        }
        self.0.push(code.cast_unsigned());
        self.raw(payload);
    }
}
