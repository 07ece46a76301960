//! Migrations of a real PostgreSQL, with the variables of the service.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use spectra_delivery::Heard;
use spectra_rollout::spec::{Migration, Step};
use spectra_rollout::{Entry, Outcome, Place, Report, RolloutRequest};
use spectra_test_postgres::Database;
use spectra_types::PinnedImage;
use tokio_util::sync::CancellationToken;

use crate::world::{Lines, World, code};

const PASSWORD: &str = "w0nt-be-seen-4711";

struct Shop<'s> {
    world: World,
    place: Place,
    stable: PinnedImage,
    database: Database<'s>,
    url: String,
}

/// A service with a database of one table, and its variables as a template of Railway sets them. `None` where this machine
/// has no PostgreSQL.
async fn shop() -> Option<Shop<'static>> {
    let server = spectra_test_postgres::shared()?;
    let database = server.database();
    database.run("create table orders (id int primary key, note text)");
    let world = World::start().await;
    let stable = world.push("v1", &[]).await;
    let place = world.web(&stable).await;
    let (port, name) = (server.port().to_string(), database.name().to_owned());
    let url = format!("postgres://postgres:{PASSWORD}@127.0.0.1:{port}/{name}");
    let set = [
        ("DATABASE_URL", url.as_str()),
        ("PGHOST", "127.0.0.1"),
        ("PGPORT", &port),
        ("PGUSER", "postgres"),
        ("PGPASSWORD", PASSWORD),
        ("PGDATABASE", &name),
        // Words of the record itself: they must not be taken for secrets.
        ("LOG_LEVEL", "rollout"),
    ];
    world.variables(&place, &set, &[("SIGNING_KEY", "s3aled-v4lue")]).await;
    Some(Shop { world, place, stable, database, url })
}

impl Shop<'_> {
    /// psql, as one transaction, with everything that stands on any command line of the machine written down.
    fn psql(&self, name: &str, sql: &str) -> Value {
        let (file, seen) = (self.file(&format!("{name}.sql")), self.file("command-lines"));
        let look = format!("\\! cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' ' >> {}", seen.display());
        std::fs::write(&file, format!("{look}\n{sql}\n")).unwrap();
        json!({ "command": ["psql", "-X", "-q", "-1", "-v", "ON_ERROR_STOP=1", "-f", file], "timeout": "30s" })
    }

    fn file(&self, name: &str) -> PathBuf {
        self.world.dir.path().join(name)
    }

    fn migration(&self, name: &str, part: &str, up: &str, down: Option<&str>) -> Step {
        let mut text = json!({
            "name": name, "part": part, "up": self.psql(&format!("{name}-up"), up), "irreversible": down.is_none()
        });
        if let Some(down) = down {
            text["down"] = self.psql(&format!("{name}-down"), down);
        }
        Step::Migrate(serde_json::from_value::<Migration>(text).unwrap())
    }

    fn expand(&self) -> Step {
        let up = "alter table orders add column if not exists total int";
        self.migration("add-total", "expand", up, Some("alter table orders drop column if exists total"))
    }

    fn contract(&self, down: Option<&str>) -> Step {
        self.migration("drop-note", "contract", "alter table orders drop column if exists note", down)
    }

    fn columns(&self) -> String {
        self.database.query(
            "select string_agg(column_name, ' ' order by column_name) from information_schema.columns \
             where table_name = 'orders'",
        )
    }

    async fn deliver(&self, candidate: &PinnedImage, steps: Vec<Step>) -> Report {
        let request = RolloutRequest {
            steps,
            bake: Duration::from_millis(200),
            ..RolloutRequest::new(self.place.clone(), candidate.clone())
        };
        let lines = Lines::default();
        let listener = |heard: &Heard<'_>| lines.add(heard.line);
        let delivery = self.world.delivery(&listener);
        let never = CancellationToken::new();
        let delivering = delivery.deliver(request, &never);
        let report = tokio::time::timeout(Duration::from_mins(1), delivering).await.unwrap().unwrap().report;
        self.nothing_leaked(&lines.all(), &report);
        self.world.is_in_order().await;
        report
    }

    /// Neither the connection string nor its password is anywhere but in an environment.
    fn nothing_leaked(&self, lines: &[String], report: &Report) {
        let seen = std::fs::read_to_string(self.file("command-lines")).unwrap_or_default();
        let mut written = format!("{}\n{report:?}\n{seen}", lines.join("\n"));
        for entry in std::fs::read_dir(self.world.dir.path()).unwrap() {
            let entry = entry.unwrap();
            if entry.file_name().to_string_lossy().starts_with("journal.db") {
                written.push_str(&String::from_utf8_lossy(&std::fs::read(entry.path()).unwrap()));
            }
        }
        assert!(written.contains("rollout.begun"), "the journal was looked at");
        assert!(!written.contains(&self.url) && !written.contains(PASSWORD));
        assert!(!written.contains("s3aled-v4lue"));
    }

    async fn order(&self, rollout: &str) -> Vec<String> {
        let entries = self.world.entries(rollout).await;
        let done = entries.iter().filter_map(|entry| match entry {
            Entry::Done { action, .. } => Some(action.words()),
            _ => None,
        });
        done.map(|words| words.split(" to service").next().unwrap().to_owned()).collect()
    }
}

#[tokio::test]
async fn expand_runs_before_the_swap_and_contract_after_the_bake() {
    let Some(shop) = shop().await else { return };
    let candidate = shop.world.push("v2", &[]).await;
    let back = "alter table orders add column if not exists note text";
    let report = shop.deliver(&candidate, vec![shop.expand(), Step::Swap, shop.contract(Some(back))]).await;
    assert!(matches!(report.outcome, Outcome::Complete { .. }), "{}", report.outcome);
    assert_eq!(shop.columns(), "id total");
    assert_eq!(
        shop.order(&report.rollout).await,
        ["apply migration `add-total`", "deploy the candidate", "apply migration `drop-note`"]
    );
    let seen = std::fs::read_to_string(shop.file("command-lines")).unwrap();
    assert!(seen.contains("add-total-up.sql"), "its own command line was among those looked at: {seen}");
    let entries = shop.world.entries(&report.rollout).await;
    let text = serde_json::to_string(&entries).unwrap();
    assert!(text.contains("`SIGNING_KEY`"), "what it had to do without is written down: {text}");
    assert!(!text.contains("[redacted]"), "words of the record were taken for secrets: {text}");
}

#[tokio::test]
async fn a_bad_image_takes_the_schema_back_with_it() {
    let Some(shop) = shop().await else { return };
    let candidate = shop.world.push("v2", &[("exit", "1")]).await;
    let report = shop.deliver(&candidate, vec![shop.expand(), Step::Swap, shop.contract(None)]).await;
    assert!(matches!(report.outcome, Outcome::RolledBack { .. }), "{}", report.outcome);
    assert_eq!(shop.columns(), "id note", "expand was taken back and contract never ran");
    assert_eq!(shop.world.runs(&shop.place).await, shop.stable.digest().to_string());
}

#[tokio::test]
async fn an_irreversible_contract_is_the_point_of_no_return() {
    let Some(shop) = shop().await else { return };
    let candidate = shop.world.push("v2", &[]).await;
    let report = shop.deliver(&candidate, vec![shop.expand(), Step::Swap, shop.contract(None)]).await;
    assert!(matches!(report.outcome, Outcome::Complete { .. }), "{}", report.outcome);
    assert_eq!(shop.columns(), "id total");
    let entries = shop.world.entries(&report.rollout).await;
    let no_return = entries.iter().position(|entry| matches!(entry, Entry::PointOfNoReturn { .. })).unwrap();
    let deployed = entries.iter().position(
        |entry| matches!(entry, Entry::Done { action, .. } if action.words().starts_with("deploy")),
    );
    assert!(deployed.unwrap() < no_return, "{entries:?}");
}

#[tokio::test]
async fn an_expand_that_fails_leaves_nothing_and_says_what_the_database_said() {
    let Some(shop) = shop().await else { return };
    let candidate = shop.world.push("v2", &[]).await;
    let before = shop.world.row(&shop.place).await;
    let up = "alter table orders add column total int; select nonsense from nowhere";
    let down = "alter table orders drop column if exists total";
    let expand = shop.migration("add-total", "expand", up, Some(down));
    let report = shop.deliver(&candidate, vec![expand, Step::Swap]).await;
    assert_eq!(code(&report.outcome), "SPX-416", "{}", report.outcome);
    let why = report.outcome.to_string();
    assert!(why.contains("relation \"nowhere\" does not exist"), "{why}");
    assert!(why.contains("`SIGNING_KEY`"), "{why}");
    assert_eq!(shop.columns(), "id note");
    let after = shop.world.row(&shop.place).await;
    assert_eq!(
        (&after["active_deployment"], &after["deployments"]),
        (&before["active_deployment"], &before["deployments"])
    );
}

#[tokio::test]
async fn what_a_program_prints_of_the_connection_string_is_not_kept() {
    let Some(shop) = shop().await else { return };
    let candidate = shop.world.push("v2", &[]).await;
    let chatty = "echo \"url $DATABASE_URL\"; echo \"password $PGPASSWORD\" >&2; exit 1";
    let text = json!({
        "name": "chatty", "part": "expand", "up": { "command": ["sh", "-c", chatty] }, "irreversible": true
    });
    let report = shop.deliver(&candidate, vec![Step::Migrate(serde_json::from_value(text).unwrap())]).await;
    assert_eq!(code(&report.outcome), "SPX-416", "{}", report.outcome);
    assert!(report.outcome.to_string().contains("url [redacted]"), "{}", report.outcome);
}
