//! Where the server listens: a Unix socket in a folder of its own, or a loopback port.

use std::io;
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

use tokio::net::TcpListener;

use super::ServeError;
use super::connection::Io;
use super::launch::Launch;

#[cfg(unix)]
use self::unix::SocketFolder;

/// How the launcher reaches the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// A Unix socket; a port where the system has no such sockets, or where every path for one is too long.
    Unix,
    /// A port on 127.0.0.1, within `PLUGIN_MIN_PORT` and `PLUGIN_MAX_PORT` where they are set.
    Tcp,
}

impl Default for Transport {
    fn default() -> Self {
        if cfg!(unix) { Self::Unix } else { Self::Tcp }
    }
}

/// A bound listener.
pub(crate) struct Listener {
    /// `unix` or `tcp`.
    pub(crate) network: &'static str,
    /// The path, or `host:port`.
    pub(crate) address: String,
    kind: Kind,
}

enum Kind {
    Tcp(TcpListener),
    #[cfg(unix)]
    Unix(tokio::net::UnixListener),
}

/// Removes what a listener left in the file system, when dropped. Apart from the listener, so that no task that
/// still holds that one can delay it.
#[derive(Default)]
pub(crate) struct Cleanup {
    #[cfg(unix)]
    _folder: Option<SocketFolder>,
}

impl Listener {
    pub(crate) async fn bind(transport: Transport, launch: &Launch) -> Result<(Self, Cleanup), ServeError> {
        #[cfg(unix)]
        if transport == Transport::Unix {
            if let Some((listener, folder)) = unix::bind(launch)? {
                let address = folder.address();
                let listener = Self { network: "unix", address, kind: Kind::Unix(listener) };
                return Ok((listener, Cleanup { _folder: Some(folder) }));
            }
            tracing::debug!("no short enough path for a socket; listening on a port");
        }
        #[cfg(not(unix))]
        let _ = transport;
        let listener = bind_port(launch.ports.clone()).await?;
        let address = listener
            .local_addr()
            .map_err(|source| ServeError::Bind { place: "a port on 127.0.0.1".to_owned(), source })?;
        let listener = Self { network: "tcp", address: address.to_string(), kind: Kind::Tcp(listener) };
        Ok((listener, Cleanup::default()))
    }

    pub(crate) async fn accept(&self) -> io::Result<Box<dyn Io>> {
        match &self.kind {
            Kind::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok(Box::new(stream))
            }
            #[cfg(unix)]
            Kind::Unix(listener) => Ok(Box::new(listener.accept().await?.0)),
        }
    }
}

/// The first free port of the range.
async fn bind_port(ports: Option<RangeInclusive<u16>>) -> Result<TcpListener, ServeError> {
    let ports = ports.unwrap_or(0..=0);
    let place = match (ports.start(), ports.end()) {
        (0, 0) => "any port on 127.0.0.1".to_owned(),
        (start, end) => format!("a port on 127.0.0.1 between {start} and {end}"),
    };
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    for port in ports {
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await {
            Ok(listener) => return Ok(listener),
            Err(error) => last = error,
        }
    }
    Err(ServeError::Bind { place, source: last })
}

#[cfg(unix)]
mod unix {
    use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _, chown};
    use std::path::{Path, PathBuf};
    use std::{env, fs, io};

    use tokio::net::UnixListener;

    use super::super::ServeError;
    use super::super::launch::Launch;

    /// The kernel's room for a path, less the byte that ends it. The smallest of the systems we know.
    const PATH_LIMIT: usize = 103;
    /// Short, so that long temporary directories still fit.
    const SOCKET_NAME: &str = "s";

    /// A folder that only we can enter, with one socket in it. Removed when dropped.
    pub(super) struct SocketFolder {
        folder: PathBuf,
    }

    impl SocketFolder {
        fn socket(&self) -> PathBuf {
            self.folder.join(SOCKET_NAME)
        }

        pub(super) fn address(&self) -> String {
            self.socket().to_string_lossy().into_owned()
        }
    }

    impl Drop for SocketFolder {
        fn drop(&mut self) {
            // Nothing is left to do about a failure, and a missing folder is what is wanted.
            let _ = fs::remove_file(self.socket());
            let _ = fs::remove_dir(&self.folder);
        }
    }

    /// `None` when no folder is short enough for the kernel.
    pub(super) fn bind(launch: &Launch) -> Result<Option<(UnixListener, SocketFolder)>, ServeError> {
        let parents = match &launch.socket_folder {
            Some(folder) => vec![folder.clone()],
            None => vec![env::temp_dir(), PathBuf::from("/tmp")],
        };
        let Some(folder) = parents.iter().map(|parent| folder_in(parent)).find(|folder| fits(folder)) else {
            return Ok(None);
        };
        let failed = |source| ServeError::Bind { place: folder.display().to_string(), source };
        fs::DirBuilder::new().mode(0o700).create(&folder).map_err(failed)?;
        let guard = SocketFolder { folder: folder.clone() };
        let listener = UnixListener::bind(guard.socket()).map_err(failed)?;
        if let Some(group) = &launch.socket_group {
            share_with_group(&guard, group).map_err(failed)?;
        }
        Ok(Some((listener, guard)))
    }

    fn folder_in(parent: &Path) -> PathBuf {
        let name = uuid::Uuid::new_v4().simple().to_string();
        parent.join(format!("tfplugin-{}", &name[..12]))
    }

    /// The line must carry the path as text, between bars.
    fn fits(folder: &Path) -> bool {
        let socket = folder.join(SOCKET_NAME);
        socket.to_str().is_some_and(|path| path.len() <= PATH_LIMIT && !path.contains(['|', '\n']))
    }

    /// Members of the group may pass the folder and talk over the socket, no more.
    fn share_with_group(folder: &SocketFolder, group: &str) -> io::Result<()> {
        let id = group_id(group)?;
        chown(folder.socket(), None, Some(id))?;
        fs::set_permissions(folder.socket(), fs::Permissions::from_mode(0o660))?;
        chown(&folder.folder, None, Some(id))?;
        fs::set_permissions(&folder.folder, fs::Permissions::from_mode(0o710))
    }

    /// Numbers as they are; names from the local group file.
    fn group_id(group: &str) -> io::Result<u32> {
        if let Ok(id) = group.parse() {
            return Ok(id);
        }
        let groups = fs::read_to_string("/etc/group")?;
        groups
            .lines()
            .find_map(|line| {
                let mut fields = line.split(':');
                (fields.next() == Some(group)).then(|| fields.nth(1)?.parse().ok()).flatten()
            })
            .ok_or_else(|| {
                let text =
                    format!("`PLUGIN_UNIX_SOCKET_GROUP` names the group `{group}`, which does not exist");
                io::Error::new(io::ErrorKind::NotFound, text)
            })
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        fn launch(folder: &Path) -> Launch {
            Launch { socket_folder: Some(folder.to_owned()), ..Launch::default() }
        }

        #[tokio::test]
        async fn the_folder_is_private_and_goes_with_the_listener() {
            let parent = tempfile::tempdir().unwrap();
            let (listener, folder) = bind(&launch(parent.path())).unwrap().unwrap();
            let mode = fs::metadata(&folder.folder).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o700);
            assert!(folder.socket().exists());
            drop((listener, folder));
            assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
        }

        #[tokio::test]
        async fn a_group_may_use_the_socket() {
            let parent = tempfile::tempdir().unwrap();
            let own = std::os::unix::fs::MetadataExt::gid(&fs::metadata(parent.path()).unwrap());
            let launch = Launch { socket_group: Some(own.to_string()), ..launch(parent.path()) };
            let (_listener, folder) = bind(&launch).unwrap().unwrap();
            let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
            assert_eq!(mode(&folder.folder), 0o710);
            assert_eq!(mode(&folder.socket()), 0o660);
        }

        #[tokio::test]
        async fn an_unknown_group_is_named_and_nothing_is_left() {
            let parent = tempfile::tempdir().unwrap();
            let launch = Launch { socket_group: Some("no-such-group".to_owned()), ..launch(parent.path()) };
            let error = bind(&launch).err().unwrap();
            assert!(std::error::Error::source(&error).unwrap().to_string().contains("no-such-group"));
            assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
        }

        #[tokio::test]
        async fn a_long_path_falls_back_to_a_port() {
            let parent = tempfile::tempdir().unwrap();
            let long = parent.path().join("x".repeat(120));
            fs::create_dir(&long).unwrap();
            let launch = launch(&long);
            assert!(bind(&launch).unwrap().is_none());
            let (listener, _) =
                super::super::Listener::bind(super::super::Transport::Unix, &launch).await.unwrap();
            assert_eq!(listener.network, "tcp");
            assert!(listener.address.starts_with("127.0.0.1:"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_taken_port_is_passed_over() {
        // Two neighbouring ports: the first is ours, the second free a moment ago.
        let taken = bind_port(None).await.unwrap();
        let port = taken.local_addr().unwrap().port();
        assert!(matches!(bind_port(Some(port..=port)).await, Err(ServeError::Bind { .. })));
        let next =
            bind_port(Some(port..=port.saturating_add(50))).await.unwrap().local_addr().unwrap().port();
        assert!(next > port && next <= port.saturating_add(50), "{next}");
    }
}
