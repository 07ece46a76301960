//! The state of the sandbox: an in-memory model whose every commit is one SQLite transaction.
//!
//! `objects` holds what may be shown; `secrets` holds variable values, credentials, tokens and patches. The
//! journal has its own table and never receives a value (see `journal`).

pub(crate) mod rows;
pub(crate) mod table;
pub(crate) mod telemetry;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, params};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::config::Error;
use crate::settings::Settings;
use rows::{
    Audit, BackupSchedule, ChangeSet, Channel, Credentials, CustomDomain, Delivery, Deployment, Domain,
    EgressGateway, Environment, Instance, Keys, Meta, NotificationRule, Patch, PrivateEndpoint,
    PrivateNetwork, Project, ProjectToken, Service, Snapshot, TcpProxy, Trigger, VariableSet, Volume,
    VolumeBackup, VolumeInstance, WebhookTarget, Workflow,
};
use table::Table;

/// Everything there is. Cloning is cheap; readers keep the copy they started with.
#[derive(Debug, Clone, Default)]
pub(crate) struct World {
    pub(crate) projects: Table<Project>,
    pub(crate) environments: Table<Environment>,
    pub(crate) services: Table<Service>,
    pub(crate) instances: Table<Instance>,
    pub(crate) deployments: Table<Deployment>,
    pub(crate) domains: Table<Domain>,
    pub(crate) custom_domains: Table<CustomDomain>,
    pub(crate) proxies: Table<TcpProxy>,
    pub(crate) private_networks: Table<PrivateNetwork>,
    pub(crate) private_endpoints: Table<PrivateEndpoint>,
    pub(crate) egress_gateways: Table<EgressGateway>,
    pub(crate) volumes: Table<Volume>,
    pub(crate) volume_instances: Table<VolumeInstance>,
    pub(crate) backups: Table<VolumeBackup>,
    pub(crate) backup_schedules: Table<BackupSchedule>,
    pub(crate) workflows: Table<Workflow>,
    pub(crate) triggers: Table<Trigger>,
    pub(crate) change_sets: Table<ChangeSet>,
    pub(crate) rules: Table<NotificationRule>,
    pub(crate) channels: Table<Channel>,
    pub(crate) deliveries: Table<Delivery>,
    pub(crate) targets: Table<WebhookTarget>,
    pub(crate) tokens: Table<ProjectToken>,
    pub(crate) audits: Table<Audit>,
    pub(crate) meta: Table<Meta>,
    pub(crate) variables: Table<VariableSet>,
    pub(crate) credentials: Table<Credentials>,
    pub(crate) snapshots: Table<Snapshot>,
    pub(crate) patches: Table<Patch>,
    pub(crate) keys: Table<Keys>,
    /// Environments whose content is nobody's: the setting, here because whoever asks for a place sees no other
    /// state than this one. Not a part of what is written.
    pub(crate) restricted: Arc<BTreeSet<String>>,
}

impl World {
    /// Takes over which environments `settings` restrict.
    pub(crate) fn restrict(&mut self, settings: &Settings) {
        self.restricted = Arc::new(settings.restricted_environments.iter().cloned().collect());
    }
}

/// Key of the singletons.
pub(crate) const ONLY: &str = "only";

macro_rules! tables {
    ($each:ident) => {
        $each!(projects, "objects", "project");
        $each!(environments, "objects", "environment");
        $each!(services, "objects", "service");
        $each!(instances, "objects", "service_instance");
        $each!(deployments, "objects", "deployment");
        $each!(domains, "objects", "domain");
        $each!(custom_domains, "objects", "custom_domain");
        $each!(proxies, "objects", "tcp_proxy");
        $each!(private_networks, "objects", "private_network");
        $each!(private_endpoints, "objects", "private_endpoint");
        $each!(egress_gateways, "objects", "egress_gateway");
        $each!(volumes, "objects", "volume");
        $each!(volume_instances, "objects", "volume_instance");
        $each!(backups, "objects", "volume_backup");
        $each!(backup_schedules, "objects", "backup_schedule");
        $each!(workflows, "objects", "workflow");
        $each!(triggers, "objects", "deployment_trigger");
        $each!(change_sets, "objects", "change_set");
        $each!(rules, "objects", "notification_rule");
        $each!(channels, "secrets", "notification_channel");
        $each!(deliveries, "objects", "delivery");
        $each!(targets, "objects", "webhook_target");
        $each!(tokens, "objects", "project_token");
        $each!(audits, "objects", "audit");
        $each!(meta, "objects", "meta");
        $each!(variables, "secrets", "variables");
        $each!(credentials, "secrets", "credentials");
        $each!(snapshots, "secrets", "snapshot");
        $each!(patches, "secrets", "patch");
        $each!(keys, "secrets", "keys");
    };
}

/// The database of one state directory, opened for this process alone.
#[derive(Debug)]
pub(crate) struct Store {
    path: PathBuf,
    connection: Connection,
}

/// Name of the database inside the state directory.
pub(crate) const FILE: &str = "sandbox.db";

const VERSION: i64 = 1;

/// Most rows of the journal that are kept, give or take a step; the oldest go first.
const JOURNAL: i64 = 100_000;
const JOURNAL_STEP: i64 = 256;

/// How long a sandbox that is just stopping may still hold the lock.
const BUSY: std::time::Duration = std::time::Duration::from_millis(500);

impl Store {
    /// Opens or makes the database; the lock on it is what keeps two sandboxes apart.
    pub(crate) fn open(state_dir: &Path) -> Result<Self, Error> {
        let path = state_dir.join(FILE);
        let fail = |action: &'static str| {
            let path = path.clone();
            move |source: rusqlite::Error| match source.sqlite_error_code() {
                Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked) => {
                    Error::InUse { path }
                }
                _ => Error::Store { action, path, source },
            }
        };
        let connection = Connection::open(&path).map_err(fail("open"))?;
        connection.busy_timeout(BUSY).map_err(fail("prepare"))?;
        connection
            .execute_batch(
                "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;
                 CREATE TABLE IF NOT EXISTS objects (kind TEXT NOT NULL, id TEXT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (kind, id)) WITHOUT ROWID;
                 CREATE TABLE IF NOT EXISTS secrets (kind TEXT NOT NULL, id TEXT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (kind, id)) WITHOUT ROWID;
                 CREATE TABLE IF NOT EXISTS documents (name TEXT PRIMARY KEY, body TEXT NOT NULL);
                 CREATE TABLE IF NOT EXISTS journal (seq INTEGER PRIMARY KEY AUTOINCREMENT, body TEXT NOT NULL);",
            )
            .map_err(fail("prepare"))?;
        connection.execute_batch(telemetry::TABLES).map_err(fail("prepare"))?;
        let version: i64 =
            connection.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(fail("read"))?;
        if version > VERSION {
            return Err(Error::Corrupt {
                path,
                kind: "format".to_owned(),
                id: version.to_string(),
                reason: format!("this program knows formats up to {VERSION}"),
            });
        }
        // Writing takes the lock at once; without a write a second process would find out only later.
        connection.pragma_update(None, "user_version", VERSION).map_err(fail("mark"))?;
        Ok(Self { path, connection })
    }

    /// Reads the whole model.
    pub(crate) fn load(&self) -> Result<World, Error> {
        let mut world = World::default();
        macro_rules! read {
            ($field:ident, $table:literal, $kind:literal) => {
                for (id, row) in self.rows($table, $kind)? {
                    world.$field.load(id, row);
                }
            };
        }
        tables!(read);
        Ok(world)
    }

    /// Writes what changed in `world`, all or nothing.
    pub(crate) fn commit(&mut self, world: &mut World) -> Result<(), Error> {
        let path = self.path.clone();
        let fail = |source| Error::Store { action: "write to", path: path.clone(), source };
        let transaction = self.connection.transaction().map_err(fail)?;
        macro_rules! write {
            ($field:ident, $table:literal, $kind:literal) => {
                for id in world.$field.take_dirty() {
                    match world.$field.get(&id) {
                        Some(row) => {
                            let body = encode(&path, $kind, &id, &**row)?;
                            transaction
                                .prepare_cached(concat!(
                                    "REPLACE INTO ",
                                    $table,
                                    " (kind, id, body) VALUES (?, ?, ?)"
                                ))
                                .and_then(|mut statement| statement.execute(params![$kind, id, body]))
                                .map_err(fail)?;
                        }
                        None => {
                            transaction
                                .prepare_cached(concat!("DELETE FROM ", $table, " WHERE kind = ? AND id = ?"))
                                .and_then(|mut statement| statement.execute(params![$kind, id]))
                                .map_err(fail)?;
                        }
                    }
                }
            };
        }
        tables!(write);
        transaction.commit().map_err(fail)
    }

    /// A whole document (settings, fault rules), or `None`.
    pub(crate) fn document<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, Error> {
        let body: Option<String> = self
            .connection
            .query_row("SELECT body FROM documents WHERE name = ?", [name], |row| row.get(0))
            .optional()
            .map_err(|source| self.read_error(source))?;
        body.map(|body| decode(&self.path, "document", name, &body)).transpose()
    }

    /// Replaces a document.
    pub(crate) fn put_document<T: Serialize>(&self, name: &str, document: &T) -> Result<(), Error> {
        let body = encode(&self.path, "document", name, document)?;
        self.connection
            .execute("REPLACE INTO documents (name, body) VALUES (?, ?)", params![name, body])
            .map(drop)
            .map_err(|source| Error::Store { action: "write to", path: self.path.clone(), source })
    }

    /// Appends a journal row and returns its number.
    pub(crate) fn append_journal(&self, body: &str) -> Result<i64, Error> {
        let fail = |source| Error::Store { action: "write to", path: self.path.clone(), source };
        let number = self
            .connection
            .prepare_cached("INSERT INTO journal (body) VALUES (?)")
            .and_then(|mut statement| statement.insert([body]))
            .map_err(fail)?;
        if number % JOURNAL_STEP == 0 {
            self.connection
                .execute("DELETE FROM journal WHERE seq <= ?", [number - JOURNAL])
                .map_err(fail)?;
        }
        Ok(number)
    }

    /// Journal rows after `since`, oldest first, as `(seq, JSON)`.
    pub(crate) fn journal(&self, since: i64, limit: usize) -> Result<Vec<(i64, String)>, Error> {
        let read = |source| self.read_error(source);
        let mut statement = self
            .connection
            .prepare_cached("SELECT seq, body FROM journal WHERE seq > ? ORDER BY seq LIMIT ?")
            .map_err(read)?;
        let rows = statement
            .query_map(params![since, i64::try_from(limit).unwrap_or(i64::MAX)], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .map_err(read)?;
        rows.collect::<Result<_, _>>().map_err(read)
    }

    /// Empties the journal; numbers go on from where they were.
    pub(crate) fn clear_journal(&self) -> Result<usize, Error> {
        self.connection.execute("DELETE FROM journal", []).map_err(|source| Error::Store {
            action: "write to",
            path: self.path.clone(),
            source,
        })
    }

    /// The state directory.
    pub(crate) fn directory(&self) -> &Path {
        self.path.parent().unwrap_or(&self.path)
    }

    /// Shows every text of the database but those of the table of secrets: its place, its key, itself.
    pub(crate) fn each_text(&self, mut show: impl FnMut(&str, &str, &str)) -> Result<(), Error> {
        let read = |source| self.read_error(source);
        for query in [
            "SELECT 'journal', seq, body FROM journal",
            "SELECT 'objects/' || kind, id, body FROM objects",
            "SELECT 'documents', name, body FROM documents",
            "SELECT 'lines', deployment || '/' || number, body FROM lines",
            "SELECT 'requests', number, body FROM requests",
            "SELECT 'spans', number, body FROM spans",
        ] {
            let mut statement = self.connection.prepare(query).map_err(read)?;
            let mut rows = statement.query([]).map_err(read)?;
            while let Some(row) = rows.next().map_err(read)? {
                let place: String = row.get(0).map_err(read)?;
                let id = match row.get(1).map_err(read)? {
                    rusqlite::types::Value::Integer(number) => number.to_string(),
                    rusqlite::types::Value::Text(text) => text,
                    _ => String::new(),
                };
                let body: String = row.get(2).map_err(read)?;
                show(&place, &id, &body);
            }
        }
        Ok(())
    }

    fn rows<T: DeserializeOwned>(&self, table: &str, kind: &str) -> Result<Vec<(String, T)>, Error> {
        let read = |source| self.read_error(source);
        let mut statement = self
            .connection
            .prepare(&format!("SELECT id, body FROM {table} WHERE kind = ? ORDER BY id"))
            .map_err(read)?;
        let rows = statement
            .query_map([kind], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))
            .map_err(read)?;
        let mut out = Vec::new();
        for row in rows {
            let (id, body) = row.map_err(read)?;
            let decoded = decode(&self.path, kind, &id, &body)?;
            out.push((id, decoded));
        }
        Ok(out)
    }

    fn read_error(&self, source: rusqlite::Error) -> Error {
        Error::Store { action: "read", path: self.path.clone(), source }
    }
}

fn encode<T: Serialize>(path: &Path, kind: &str, id: &str, row: &T) -> Result<String, Error> {
    serde_json::to_string(row).map_err(|error| Error::Corrupt {
        path: path.to_owned(),
        kind: kind.to_owned(),
        id: id.to_owned(),
        reason: error.to_string(),
    })
}

fn decode<T: DeserializeOwned>(path: &Path, kind: &str, id: &str, body: &str) -> Result<T, Error> {
    serde_json::from_str(body).map_err(|error| Error::Corrupt {
        path: path.to_owned(),
        kind: kind.to_owned(),
        id: id.to_owned(),
        reason: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn the_journal_on_disk_is_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        store.append_journal("{}").unwrap();
        // As if that many rows had been written and deleted since.
        let far = JOURNAL + JOURNAL_STEP - JOURNAL % JOURNAL_STEP - 1;
        store.connection.execute("INSERT INTO journal (seq, body) VALUES (?, '{}')", [far]).unwrap();
        assert_eq!(store.journal(0, 10).unwrap().len(), 2);
        store.append_journal("{}").unwrap();
        let left: Vec<_> = store.journal(0, 10).unwrap().into_iter().map(|(number, _)| number).collect();
        assert_eq!(left, [far, far + 1]);
    }

    fn old<T: DeserializeOwned>(row: Value) -> T {
        serde_json::from_value(row).unwrap()
    }

    /// Fields that later sandboxes added are filled in, so that a state directory stays readable.
    #[test]
    fn rows_of_an_older_sandbox_are_read() {
        let times = json!({ "created_at": 1, "created_tick": 1, "updated_at": 1, "deleted_at": null });
        let audit: Audit = old(
            json!({ "id": "a", "event_type": "project.create", "project_id": "p", "environment_id": null,
            "object": "project", "action": "create", "object_id": "p", "actor": "account", "created_at": 1, "sequence": 1 }),
        );
        assert!(!audit.feed_only && audit.service_id.is_none());
        let project: Project = old(
            json!({ "id": "p", "name": "shop", "description": null, "workspace_id": "w", "is_public": false,
            "pr_deploys": false, "bot_pr_environments": false, "focused_pr_environments": false,
            "base_environment_id": null, "temporary": false, "times": times }),
        );
        assert!(project.deletion.is_none());
        let patch: Patch = old(
            json!({ "id": "x", "environment_id": "e", "status": "STAGED", "patch": {}, "message": null,
            "skip_deploys": false, "was_staged": true, "due_tick": null, "applied_at": null, "last_error": null,
            "creator": "account", "times": times }),
        );
        assert!(patch.committer.is_none());
    }
}
