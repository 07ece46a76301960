//! DER, as much as certificates need.

/// A value with its tag and its length.
pub(crate) fn value(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![tag];
    match u16::try_from(content.len()).unwrap() {
        short @ 0..=0x7f => bytes.push(u8::try_from(short).unwrap()),
        long @ 0x80..=0xff => bytes.extend([0x81, u8::try_from(long).unwrap()]),
        long => bytes.extend([&[0x82], long.to_be_bytes().as_slice()].concat()),
    }
    bytes.extend_from_slice(content);
    bytes
}

pub(crate) fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    value(0x30, &parts.concat())
}

/// An object identifier, written with dots.
pub(crate) fn oid(dotted: &str) -> Vec<u8> {
    let arcs: Vec<u64> = dotted.split('.').map(|arc| arc.parse().unwrap()).collect();
    let mut content = vec![u8::try_from(arcs[0] * 40 + arcs[1]).unwrap()];
    for arc in &arcs[2..] {
        let mut groups = vec![u8::try_from(arc & 0x7f).unwrap()];
        let mut rest = arc >> 7;
        while rest > 0 {
            groups.push(u8::try_from(rest & 0x7f).unwrap() | 0x80);
            rest >>= 7;
        }
        content.extend(groups.iter().rev());
    }
    value(0x06, &content)
}

pub(crate) fn utf8(text: &str) -> Vec<u8> {
    value(0x0c, text.as_bytes())
}

/// A time before 2050.
pub(crate) fn time(at: jiff::Timestamp) -> Vec<u8> {
    value(0x17, at.strftime("%y%m%d%H%M%SZ").to_string().as_bytes())
}

/// An extension of a certificate.
pub(crate) fn extension(id: &str, critical: bool, content: &[u8]) -> Vec<u8> {
    let critical: &[u8] = if critical { &[0x01, 0x01, 0xff] } else { &[] };
    sequence(&[&oid(id), critical, &value(0x04, content)])
}

/// A text in lines between two lines that say what it is.
#[must_use]
pub fn pem(label: &str, bytes: &[u8]) -> String {
    let body = crate::base64(bytes);
    let lines: Vec<_> = body.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}
