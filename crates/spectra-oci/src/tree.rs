//! What paths an image has, as its layers leave them, and where its links lead.

use std::{
    collections::{BTreeMap, VecDeque},
    path::Path,
};

use crate::{
    Error, Image,
    layer::Owner,
    tar_stream::{Header, Kind, Stream},
};

/// Most paths of an image. The largest that are in use have a third of it.
const MAX_PATHS: usize = 1_000_000;
/// Most bytes of all paths and link targets together.
const MAX_NAMES: usize = 64 << 20;
/// Most links on the way to a file, as in Linux.
const MAX_LINKS: usize = 40;

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

/// The paths of an image, without a leading slash.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    nodes: BTreeMap<Vec<u8>, Node>,
    /// Bytes of all paths and targets that were put in.
    names: usize,
}

impl Tree {
    /// Reads the headers of all layers. Blocking.
    ///
    /// What a layer states is not trusted: names, their number and what is decompressed have limits ([`Error::Limit`]).
    pub(crate) fn read(image: &Image) -> Result<Self, Error> {
        let mut tree = Self::default();
        for layer in image.layers() {
            let digest = layer.digest();
            let mut stream = Stream::new(layer.reader()?, &image.origin);
            let listed = tree.add_layer(&mut stream, &image.origin);
            listed.and_then(|()| stream.finish()).map_err(|error| match error {
                Error::Input { path, reason } => {
                    Error::Input { path, reason: format!("layer `{digest}` cannot be listed: {reason}") }
                }
                error => error,
            })?;
        }
        Ok(tree)
    }

    fn add_layer<R: std::io::Read>(&mut self, layer: &mut Stream<'_, R>, origin: &Path) -> Result<(), Error> {
        let mut added: BTreeMap<Vec<u8>, Node> = BTreeMap::new();
        while let Some(Header { name, kind, target, mode, user, group }) = layer.next()? {
            let path = clean(&name);
            let (parent, name) = match path.iter().rposition(|byte| *byte == b'/') {
                Some(at) => (&path[..at], &path[at + 1..]),
                None => (&path[..0], &path[..]),
            };
            if name == b".wh..wh..opq" {
                self.remove_below(parent);
            } else if let Some(hidden) = name.strip_prefix(b".wh.") {
                let hidden = join(parent, hidden);
                self.nodes.remove(&hidden);
                self.remove_below(&hidden);
            } else if !path.is_empty() {
                let node = match kind {
                    Kind::Directory => Node::Directory(Attributes { mode, owner: Owner { user, group } }),
                    Kind::Link => Node::Link(target),
                    Kind::Other => Node::File,
                };
                self.count(&path, &node, added.len(), origin)?;
                added.insert(path, node);
            }
        }
        // What a layer adds is not touched by what it hides, in whichever order they stand.
        for (path, node) in added {
            self.put(path, node);
        }
        Ok(())
    }

    fn count(&mut self, path: &[u8], node: &Node, added: usize, origin: &Path) -> Result<(), Error> {
        let limit = |what: &str, limit: String| Error::Limit {
            path: origin.to_owned(),
            what: what.to_owned(),
            limit,
            flag: None,
        };
        self.names += path.len() + if let Node::Link(target) = node { target.len() } else { 0 };
        if self.names > MAX_NAMES {
            return Err(limit("the length of all paths in its layers", format!("{MAX_NAMES} bytes")));
        }
        if self.nodes.len() + added > MAX_PATHS {
            return Err(limit("the number of paths in its layers", MAX_PATHS.to_string()));
        }
        Ok(())
    }

    /// Puts something into the tree, in place of what is there. Directories above it that nothing was said of are plain ones.
    pub(crate) fn put(&mut self, path: Vec<u8>, node: Node) {
        if !matches!(node, Node::Directory(_)) && matches!(self.nodes.get(&path), Some(Node::Directory(_))) {
            self.remove_below(&path);
        }
        for parent in parents(&path) {
            if !self.nodes.contains_key(parent) {
                self.nodes.insert(parent.to_vec(), Node::Directory(Attributes::PLAIN));
            }
        }
        self.nodes.insert(path, node);
    }

    fn remove_below(&mut self, directory: &[u8]) {
        if directory.is_empty() {
            self.nodes.clear();
            return;
        }
        // All that begins with `directory/`: no other path sorts between that and `directory0`.
        let (first, end) = ([directory, b"/"].concat(), [directory, b"0"].concat());
        let below: Vec<Vec<u8>> = self.nodes.range(first..end).map(|(path, _)| path.clone()).collect();
        for path in below {
            self.nodes.remove(&path);
        }
    }

    /// What a path is, its own last name not followed.
    pub(crate) fn get(&self, path: &[u8]) -> Option<&Node> {
        self.nodes.get(path)
    }

    /// The path that is meant by `path`, with no link on the way. Links are followed as in the running image, where nothing leads out
    /// of the root.
    pub(crate) fn resolve(&self, path: &[u8], last: Last) -> Result<Vec<u8>, Error> {
        let mut found: Vec<u8> = Vec::new();
        let mut rest: VecDeque<&[u8]> = path.split(|byte| *byte == b'/').collect();
        let mut links = 0;
        while let Some(name) = rest.pop_front() {
            match name {
                b"" | b"." => continue,
                b".." => {
                    found.truncate(found.iter().rposition(|byte| *byte == b'/').unwrap_or(0));
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
            let Some(Node::Link(target)) = self.nodes.get(&found) else { continue };
            links += 1;
            if links > MAX_LINKS {
                let path = String::from_utf8_lossy(path);
                let reason = format!("the way to `/{path}` leads through more than {MAX_LINKS} links");
                return Err(Error::Build { reason });
            }
            found.truncate(if target.first() == Some(&b'/') { 0 } else { above });
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

fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    if directory.is_empty() { name.to_vec() } else { [directory, b"/", name].concat() }
}

/// A path without `.`, `..` and superfluous slashes.
fn clean(path: &[u8]) -> Vec<u8> {
    let names = path.split(|byte| *byte == b'/').filter(|name| !matches!(*name, b"" | b"." | b".."));
    names.collect::<Vec<_>>().join(&b'/')
}

#[cfg(test)]
mod tests {
    use tar::EntryType::{self, Directory, Regular, Symlink};

    use super::*;

    fn add(tree: &mut Tree, entries: &[(&str, EntryType)]) {
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
        tree.add_layer(&mut Stream::new(bytes.as_slice(), origin), origin).unwrap();
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
        assert_eq!(tree.nodes.len(), 1, "the directory");
    }
}
