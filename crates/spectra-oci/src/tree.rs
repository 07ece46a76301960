//! What paths an image has, as its layers leave them, and where its links lead.

use std::{
    collections::{BTreeMap, VecDeque, btree_map},
    io::Read,
    path::Path,
};

use spectra_tar::{Entry as Listed, Kind, Stream, clean};

use crate::{Error, Image, layer::Owner, limits::MAX_LINKS};

/// Most bytes of memory for the paths of an image, each with the directories above it. The largest images that are in use have a
/// third of a million paths and need nine tenths of it.
const MAX_MEMORY: usize = 56 << 20;
/// What a path takes besides its last name and its target: its place in the map, as full as that is after paths came in order, and
/// what the allocator adds to the name.
const NODE: usize = 144;

/// Mode and owner of a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Attributes {
    pub(crate) mode: u32,
    pub(crate) owner: Owner,
}

impl Attributes {
    /// Those of a directory of which nobody says anything.
    pub(crate) const PLAIN: Self = Self { mode: 0o755, owner: Owner { user: 0, group: 0 } };
}

/// What a path is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Node {
    Directory(Attributes),
    /// A symbolic link, with its target as it stands there.
    Link(Vec<u8>),
    File,
}

/// The last name of a path that is a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Last {
    /// Is what is meant, as for a file that takes the link's place.
    Kept,
    /// Is followed, as for a directory.
    Followed,
}

/// What an entry of the tree is, and by which number those below it know it.
#[derive(Debug)]
struct Entry {
    number: u32,
    /// Nothing for a directory that nobody says anything of.
    node: Option<Node>,
}

/// The last name of a path, below the number of its directory.
type Key = (u32, Box<[u8]>);

/// The number of the root, which has no entry.
const ROOT: u32 = 0;

/// The paths of an image, without a leading slash.
///
/// Each directory is there once, however many paths lead through it: a path of two thousand names costs two thousand names, and not
/// all its beginnings.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    /// What is in a directory stands together; and a directory has a smaller number than what is below it.
    entries: BTreeMap<Key, Entry>,
    /// The last number that was given.
    last: u32,
    /// Bytes that it takes, about.
    memory: usize,
}

impl Tree {
    /// Reads the headers of all layers. Blocking.
    ///
    /// What a layer states is not trusted: names, their number and what is decompressed have limits ([`Error::Limit`]).
    pub(crate) fn read(image: &Image) -> Result<Self, Error> {
        let mut tree = Self::default();
        for layer in image.layers() {
            let digest = layer.digest();
            let listed = tree.add_layer(layer.reader()?, &image.origin);
            listed.map_err(|error| match error {
                Error::Input { path, reason } => {
                    Error::Input { path, reason: format!("layer `{digest}` cannot be listed: {reason}") }
                }
                error => error,
            })?;
        }
        Ok(tree)
    }

    fn add_layer(&mut self, layer: impl Read, origin: &Path) -> Result<(), Error> {
        let mut added = Self::default();
        let mut layer = Stream::new(layer);
        let failed = |error| failed(error, origin);
        while let Some(Listed { name, kind, target, mode, user, group, .. }) = layer.next().map_err(failed)? {
            let path = clean(&name);
            let (parent, name) = match path.iter().rposition(|byte| *byte == b'/') {
                Some(at) => (&path[..at], &path[at + 1..]),
                None => (&path[..0], &path[..]),
            };
            if name == b".wh..wh..opq" {
                if let Some(number) = self.number(parent) {
                    self.remove_below(number);
                }
            } else if let Some(hidden) = name.strip_prefix(b".wh.") {
                if let Some(parent) = self.number(parent) {
                    self.remove(&(parent, hidden.into()));
                }
            } else if !path.is_empty() {
                let node = match kind {
                    Kind::Directory => Node::Directory(Attributes { mode, owner: Owner { user, group } }),
                    Kind::Symlink => Node::Link(target),
                    _ => Node::File,
                };
                added.put(&path, node);
                if self.memory + added.memory > MAX_MEMORY {
                    return Err(Error::Limit {
                        path: origin.to_owned(),
                        what: "the memory for all paths in its layers".to_owned(),
                        limit: format!("{MAX_MEMORY} bytes"),
                        flag: None,
                    });
                }
            }
        }
        // What a layer adds is not touched by what it hides, in whichever order they stand.
        self.put_all(added);
        layer.finish().map_err(failed)
    }

    /// Puts everything of another tree into this one, in place of what is there.
    fn put_all(&mut self, added: Self) {
        // What the numbers there are here. A directory comes before what is in it.
        let mut numbers = vec![ROOT; added.last as usize + 1];
        for ((parent, name), Entry { number, node }) in added.entries {
            numbers[number as usize] = self.put_entry((numbers[parent as usize], name), node);
        }
    }

    /// Puts something into the tree, in place of what is there. Directories above it that nothing was said of are plain ones.
    pub(crate) fn put(&mut self, path: &[u8], node: Node) {
        let mut parent = ROOT;
        for directory in parents(path) {
            parent = self.put_entry((parent, last_name(directory).into()), None);
        }
        self.put_entry((parent, last_name(path).into()), Some(node));
    }

    /// Puts an entry in place of what is there, or if nothing is said of it, only where nothing is. Returns its number.
    fn put_entry(&mut self, key: Key, node: Option<Node>) -> u32 {
        let (name, target) = (key.1.len(), target(node.as_ref()));
        match self.entries.entry(key) {
            btree_map::Entry::Vacant(place) => {
                self.last += 1;
                self.memory += NODE + name + target;
                place.insert(Entry { number: self.last, node });
                self.last
            }
            btree_map::Entry::Occupied(mut place) => {
                let entry = place.get_mut();
                let number = entry.number;
                let Some(node) = node else { return number };
                let is_directory = |node: &Node| matches!(node, Node::Directory(_));
                let hides = !is_directory(&node) && entry.node.as_ref().is_none_or(is_directory);
                self.memory = self.memory + target - self::target(entry.node.as_ref());
                entry.node = Some(node);
                if hides {
                    self.remove_below(number);
                }
                number
            }
        }
    }

    /// Removes an entry and all below it.
    fn remove(&mut self, key: &Key) {
        if let Some(number) = self.take(key) {
            self.remove_below(number);
        }
    }

    /// Removes all below a directory, one entry at a time: what a list of them takes is counted nowhere.
    fn remove_below(&mut self, number: u32) {
        // The directories on the way to the entry, which goes before what is below it.
        let mut numbers = vec![number];
        while let Some(number) = numbers.last().copied() {
            let mut below = self.entries.range((number, Box::default())..(number + 1, Box::default()));
            let Some(key) = below.next().map(|(key, _)| key.clone()) else {
                numbers.pop();
                continue;
            };
            numbers.extend(self.take(&key));
        }
    }

    /// Removes one entry. Returns its number.
    fn take(&mut self, key: &Key) -> Option<u32> {
        let entry = self.entries.remove(key)?;
        self.memory -= NODE + key.1.len() + target(entry.node.as_ref());
        Some(entry.number)
    }

    fn child(&self, parent: u32, name: &[u8]) -> Option<&Entry> {
        self.entries.get(&(parent, name.into()))
    }

    /// The number of a path, the root's for an empty one.
    fn number(&self, path: &[u8]) -> Option<u32> {
        let mut number = ROOT;
        for name in path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
            number = self.child(number, name)?.number;
        }
        Some(number)
    }

    /// What a path is, its own last name not followed.
    pub(crate) fn get(&self, path: &[u8]) -> Option<&Node> {
        let (parent, name) = match path.iter().rposition(|byte| *byte == b'/') {
            Some(at) => (self.number(&path[..at])?, &path[at + 1..]),
            None => (ROOT, path),
        };
        Some(self.child(parent, name)?.node.as_ref().unwrap_or(&Node::Directory(Attributes::PLAIN)))
    }

    /// The path that is meant by `path`, with no link on the way. Links are followed as in the running image, where nothing leads out
    /// of the root.
    pub(crate) fn resolve(&self, path: &[u8], last: Last) -> Result<Vec<u8>, Error> {
        let mut found: Vec<u8> = Vec::new();
        // The numbers of the directories on the way to it, as far as there are any, and its own.
        let mut numbers: Vec<Option<u32>> = vec![Some(ROOT)];
        let mut rest: VecDeque<&[u8]> = path.split(|byte| *byte == b'/').collect();
        let mut links = 0;
        while let Some(name) = rest.pop_front() {
            match name {
                b"" | b"." => continue,
                b".." => {
                    found.truncate(found.iter().rposition(|byte| *byte == b'/').unwrap_or(0));
                    numbers.truncate((numbers.len() - 1).max(1));
                    continue;
                }
                _ => {}
            }
            let above = found.len();
            if !found.is_empty() {
                found.push(b'/');
            }
            found.extend_from_slice(name);
            if rest.is_empty() && last == Last::Kept {
                break;
            }
            let entry = numbers.last().copied().flatten().and_then(|parent| self.child(parent, name));
            let Some(Entry { node: Some(Node::Link(target)), .. }) = entry else {
                numbers.push(entry.map(|entry| entry.number));
                continue;
            };
            links += 1;
            if links > MAX_LINKS {
                let path = String::from_utf8_lossy(path);
                let reason = format!("the way to `/{path}` leads through more than {MAX_LINKS} links");
                return Err(Error::Build { reason });
            }
            if target.first() == Some(&b'/') {
                found.clear();
                numbers.truncate(1);
            } else {
                found.truncate(above);
            }
            for part in target.rsplit(|byte| *byte == b'/') {
                rest.push_front(part);
            }
        }
        Ok(found)
    }
}

/// The directories above a path, the highest first.
pub(crate) fn parents(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| &path[..at])
}

fn last_name(path: &[u8]) -> &[u8] {
    path.rsplit(|byte| *byte == b'/').next().unwrap_or(path)
}

/// Bytes of a link's target.
fn target(node: Option<&Node>) -> usize {
    if let Some(Node::Link(target)) = node { target.len() } else { 0 }
}

/// Why a layer is not read on, in the words of this crate. A limit of what is below comes through as it is.
fn failed(error: spectra_tar::Error, origin: &Path) -> Error {
    match error {
        spectra_tar::Error::TooLong { what, limit } => Error::Limit {
            path: origin.to_owned(),
            what: format!("the length of {what} in one of its layers"),
            limit: format!("{limit} bytes"),
            flag: None,
        },
        spectra_tar::Error::Read(error) => match error.downcast::<Error>() {
            Ok(error) => error,
            Err(error) => Error::input(origin, error.to_string()),
        },
        error => Error::input(origin, error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use tar::EntryType::{self, Directory, Regular, Symlink};

    use super::*;

    fn add(tree: &mut Tree, entries: &[(&str, EntryType)]) {
        try_add(tree, entries).unwrap();
    }

    fn try_add(tree: &mut Tree, entries: &[(&str, EntryType)]) -> Result<(), Error> {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, kind) in entries {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(*kind);
            header.set_size(0);
            header.set_mode(0o750);
            match name.split_once(" -> ") {
                Some((name, target)) => builder.append_link(&mut header, name, target).unwrap(),
                None => builder.append_data(&mut header, name, std::io::empty()).unwrap(),
            }
        }
        let bytes = builder.into_inner().unwrap();
        let origin = Path::new("x");
        tree.add_layer(bytes.as_slice(), origin)
    }

    fn is_file(tree: &Tree, path: &str) -> bool {
        tree.get(path.as_bytes()) == Some(&Node::File)
    }

    #[test]
    fn a_tree_is_what_all_layers_leave() {
        let mut tree = Tree::default();
        let first = [
            ("./bin -> usr/bin", Symlink),
            ("etc/", Directory),
            ("etc/a", Regular),
            ("etc/b", Regular),
            ("etc-x", Regular),
            ("opt/x/y", Regular),
        ];
        add(&mut tree, &first);
        assert_eq!(tree.get(b"bin"), Some(&Node::Link(b"usr/bin".to_vec())));
        assert!(is_file(&tree, "etc/a"));
        let Some(Node::Directory(etc)) = tree.get(b"etc") else { panic!("{tree:?}") };
        assert_eq!(etc.mode, 0o750);
        assert_eq!(
            tree.get(b"opt/x"),
            Some(&Node::Directory(Attributes::PLAIN)),
            "nobody says anything of it"
        );
        add(&mut tree, &[("etc/.wh.a", Regular), ("opt/.wh..wh..opq", Regular), ("opt/new/", Directory)]);
        assert!(!is_file(&tree, "etc/a") && is_file(&tree, "etc/b") && !is_file(&tree, "opt/x/y"));
        assert!(matches!(tree.get(b"opt/new"), Some(Node::Directory(_))));
        add(&mut tree, &[("etc", Regular)]);
        assert!(is_file(&tree, "etc") && !is_file(&tree, "etc/b") && is_file(&tree, "etc-x"));
    }

    /// A header that states this name, whatever it is.
    fn named(name: &[u8], kind: EntryType) -> Vec<u8> {
        let mut header = tar::Header::new_gnu();
        header.as_mut_bytes()[..name.len()].copy_from_slice(name);
        header.set_entry_type(kind);
        header.set_size(0);
        header.set_mode(0o755);
        header.set_cksum();
        header.as_bytes().to_vec()
    }

    #[test]
    fn names_are_those_of_the_running_image() {
        let mut tree = Tree::default();
        let names = [
            named(b"a/../bin/x", Regular),
            named(b"../../etc/y", Regular),
            named(b"opt/", Regular),
            named(b"n\xff", Regular),
            named(b"n\xfe", Symlink),
        ];
        tree.add_layer(names.concat().as_slice(), Path::new("x")).unwrap();
        assert!(is_file(&tree, "bin/x") && tree.get(b"a").is_none(), "`..` was left out, and `a` stayed");
        assert!(is_file(&tree, "etc/y") && is_file(&tree, "opt"));
        assert_eq!(tree.get(b"n\xff"), Some(&Node::File));
        assert_eq!(tree.get(b"n\xfe"), Some(&Node::Link(vec![])));
    }

    #[test]
    fn what_is_no_tar_is_said_in_terms_of_the_image() {
        let refused =
            |bytes: &[u8]| Tree::default().add_layer(bytes, Path::new("x")).unwrap_err().to_string();
        assert_eq!(refused(&named(b"a", Regular)[..100]), "cannot read `x` as an image: it is cut off");
        assert_eq!(
            refused(&[7; 512]),
            "cannot read `x` as an image: it is not a tar, or damaged: the sum of a header is wrong"
        );
        let mut long = tar::Header::from_byte_slice(&named(b"././@LongLink", EntryType::GNULongName)).clone();
        long.set_size(10 << 30);
        long.set_cksum();
        assert_eq!(
            refused(long.as_bytes()),
            "cannot read `x` as an image: the length of a name in one of its layers is more than 4096 bytes"
        );
    }

    #[test]
    fn links_are_followed_as_in_the_running_image() {
        let mut tree = Tree::default();
        let entries = [
            ("bin -> usr/bin", Symlink),
            ("usr/bin/", Directory),
            ("usr/lib64 -> /lib", Symlink),
            ("lib -> ./usr/lib/", Symlink),
            ("usr/up -> ../../../../etc", Symlink),
            ("var/run -> /run", Symlink),
            ("usr/bin/py -> py3", Symlink),
            ("round -> about/x", Symlink),
            ("about -> round", Symlink),
        ];
        add(&mut tree, &entries);
        let at = |path: &str, last| String::from_utf8(tree.resolve(path.as_bytes(), last).unwrap()).unwrap();
        for (path, expected) in [
            ("bin/serve", "usr/bin/serve"),
            ("usr/lib64/x/y", "usr/lib/x/y"),
            ("usr/up/passwd", "etc/passwd"),
            ("var/run/app.pid", "run/app.pid"),
            ("bin/py", "usr/bin/py"),
            ("none/x", "none/x"),
            ("bin", "bin"),
        ] {
            assert_eq!(at(path, Last::Kept), expected, "{path}");
        }
        assert_eq!(
            (at("bin", Last::Followed), at("bin/py", Last::Followed)),
            ("usr/bin".into(), "usr/bin/py3".into())
        );
        let error = tree.resolve(b"round/z", Last::Kept).unwrap_err().to_string();
        assert_eq!(error, "cannot build an image: the way to `/round/z` leads through more than 40 links");
    }

    #[test]
    fn hiding_costs_what_is_hidden_and_not_the_whole_tree() {
        let mut tree = Tree::default();
        let paths: Vec<String> = (0..60_000).map(|number| format!("d/{number}")).collect();
        add(&mut tree, &paths.iter().map(|path| (path.as_str(), Regular)).collect::<Vec<_>>());
        let hidden: Vec<String> = (0..60_000).map(|number| format!("d/.wh.{number}")).collect();
        add(&mut tree, &hidden.iter().map(|path| (path.as_str(), Regular)).collect::<Vec<_>>());
        assert_eq!(tree.entries.len(), 1, "the directory");
        assert_eq!(tree.memory, NODE + 1);
    }

    #[test]
    fn each_beginning_of_a_path_was_kept_whole_and_never_counted() {
        let mut tree = Tree::default();
        let deep = |number: usize| format!("{}{number}", "d/".repeat(2000));
        add(&mut tree, &[(&deep(0), Regular), (&deep(1), Regular)]);
        assert_eq!(tree.entries.len(), 2002);
        assert!(tree.memory < 2002 * (NODE + 2), "{}", tree.memory);
        let steps = tree.resolve(deep(1).as_bytes(), Last::Followed).unwrap();
        assert_eq!(steps, deep(1).into_bytes());
        assert!(is_file(&tree, &deep(1)) && tree.get(b"ddd").is_none());
        // A few hundred such paths, each with directories of its own.
        let paths: Vec<String> = (0..400).map(|number| format!("{number}/{}", deep(0))).collect();
        let entries: Vec<_> = paths.iter().map(|path| (path.as_str(), Regular)).collect();
        let error = try_add(&mut tree, &entries).unwrap_err();
        assert!(matches!(error, Error::Limit { .. }), "{error}");
        let text = error.to_string();
        assert_eq!(
            text,
            "cannot read `x` as an image: the memory for all paths in its layers is more than 58720256 bytes"
        );
        // The same in one layer each.
        let mut tree = Tree::default();
        let layers = entries.iter().take_while(|entry| try_add(&mut tree, &[**entry]).is_ok()).count();
        assert!((150..300).contains(&layers) && tree.memory <= MAX_MEMORY, "{layers}");
    }

    #[test]
    fn what_is_put_over_and_removed_is_no_longer_counted() {
        let mut tree = Tree::default();
        add(&mut tree, &[("a/b/c -> 12345", Symlink), ("a/d -> 1", Symlink), ("e/", Directory)]);
        assert_eq!(tree.memory, 5 * (NODE + 1) + 6);
        add(&mut tree, &[("a/d -> 123", Symlink), ("a/b/", Directory), ("e/f", Regular)]);
        assert_eq!(tree.memory, 6 * (NODE + 1) + 8);
        assert_eq!(tree.get(b"a"), Some(&Node::Directory(Attributes::PLAIN)));
        add(&mut tree, &[("a", Regular), (".wh.e", Regular)]);
        assert_eq!((tree.memory, tree.entries.len()), (NODE + 1, 1));
        add(&mut tree, &[(".wh..wh..opq", Regular)]);
        assert_eq!((tree.memory, tree.entries.len()), (0, 0));
    }
}
