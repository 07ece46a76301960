//! Which path is meant by a name.

/// The path below the root of what is unpacked that a name leads to, without `.`, `..`, superfluous slashes and one at either end.
///
/// `..` takes back the name before it, and leads nowhere from the root: so do those that unpack images, unless they refuse the latter.
/// Links on the way are not looked at.
#[must_use]
pub fn clean(name: &[u8]) -> Vec<u8> {
    let mut path: Vec<u8> = Vec::with_capacity(name.len());
    for part in name.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => path.truncate(path.iter().rposition(|byte| *byte == b'/').unwrap_or(0)),
            part => {
                if !path.is_empty() {
                    path.push(b'/');
                }
                path.extend_from_slice(part);
            }
        }
    }
    path
}
