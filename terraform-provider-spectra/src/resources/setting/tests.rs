//! The life of a setting, with a journal of its own.

use spectra_delivery::settings::Settings;
use spectra_journal::{Journal, Location, Query};
use spectra_rollout::{DeploymentPolicy, FreezeWindow};
use spectra_sign::{Algorithm, SigningKey, Threshold};
use tfplugin::testing::{Changed, Core};

use super::deployment_policy::{ApprovalModel, ApproverModel, DeploymentPolicyModel};
use super::freeze_window::{DayName, FreezeWindowModel, WeeklyModel};
use super::notification_channel::{NotificationChannelModel, SlackModel};
use super::*;
use crate::fake::Fake;
use crate::lists::SettingQuery;
use crate::provider::Spectra;
use crate::signatures::{SignaturePolicyModel, TrustedIdentityModel, TrustedKeyModel};

type Window = SettingResource<FreezeWindowModel>;
type Policy = SettingResource<DeploymentPolicyModel>;
type Channel = SettingResource<NotificationChannelModel>;
type Windows = crate::lists::SettingsOf<FreezeWindowModel>;

async fn start() -> (Fake, Core<Spectra>, Journal) {
    let fake = Fake::start().await;
    let journal = Journal::open(&fake.journal().parse::<Location>().unwrap()).await.unwrap();
    let core = fake.core().await;
    (fake, core, journal)
}

fn window(reason: &str) -> FreezeWindowModel {
    FreezeWindowModel {
        name: "nights".into(),
        reason: reason.into(),
        weekly: WeeklyModel {
            days: vec![DayName::Friday, DayName::Saturday].into(),
            from: Attr::Known("22:00".parse().unwrap()),
            to: Attr::Known("06:00".parse().unwrap()),
            time_zone: "Europe/Berlin".into(),
        }
        .into(),
        ..FreezeWindowModel::default()
    }
}

fn policy() -> DeploymentPolicyModel {
    let key = spectra_delivery::approval::Key::generate().unwrap().public_key();
    let approver = ApproverModel { name: "anna".into(), public_key: key.into() };
    DeploymentPolicyModel {
        name: "careful".into(),
        environment_id: Attr::Known("e-1".parse().unwrap()),
        approval: ApprovalModel {
            required: 1.into(),
            before_start: true.into(),
            approvers: vec![approver].into(),
            github_environment: Attr::Null,
        }
        .into(),
        minimum_bake: Attr::Known("90s".parse().unwrap()),
        signatures: signatures().into(),
        ..DeploymentPolicyModel::default()
    }
}

fn signatures() -> SignaturePolicyModel {
    let key = SigningKey::generate(Algorithm::EcdsaP256).unwrap().public().to_pem();
    SignaturePolicyModel {
        keys: vec![TrustedKeyModel { name: "ci".into(), public_key: key.into() }].into(),
        identities: Attr::Null,
        required: "all".into(),
        attestations: vec!["slsaprovenance1".to_owned()].into(),
        repositories: Attr::Null,
    }
}

fn identity() -> TrustedIdentityModel {
    TrustedIdentityModel {
        name: "release".into(),
        issuer: "https://token.actions.githubusercontent.com".into(),
        subject: "https://github.com/acme/flows/.github/workflows/release.yml@refs/heads/main".into(),
        source_repository: "https://github.com/acme/shop".into(),
    }
}

fn channel() -> NotificationChannelModel {
    NotificationChannelModel {
        name: "ops".into(),
        slack: SlackModel { url_env: "OPS_SLACK_URL".into() }.into(),
        ..NotificationChannelModel::default()
    }
}

#[tokio::test]
async fn a_setting_is_made_changed_and_removed_in_the_journal() {
    let (fake, mut core, journal) = start().await;
    core.apply::<Window>("w", &window("nobody is there")).await.unwrap();
    assert_eq!(core.plan::<Window>("w", &window("nobody is there")).await.unwrap().changed, Changed::Nothing);
    core.refresh::<Window>("w").await.unwrap();
    // `22:00` is `22:00:00`: what was written stays in state.
    assert_eq!(core.plan::<Window>("w", &window("nobody is there")).await.unwrap().changed, Changed::Nothing);
    let found = Settings::of(&journal).get::<FreezeWindow>("nights").await.unwrap().unwrap();
    assert_eq!(found.reason, "nobody is there");
    core.apply::<Window>("w", &window("holidays")).await.unwrap();
    let found = Settings::of(&journal).get::<FreezeWindow>("nights").await.unwrap().unwrap();
    assert_eq!(found.reason, "holidays");
    core.destroy::<Window>("w").await.unwrap();
    assert_eq!(Settings::of(&journal).get::<FreezeWindow>("nights").await.unwrap(), None);
    let records = journal.records(&Query::default()).await.unwrap();
    let kinds: Vec<_> = records.iter().map(|record| record.kind.as_str()).collect();
    assert_eq!(kinds, ["setting.put", "setting.put", "setting.removed"]);
    assert_eq!(fake.seen(), Vec::<String>::new(), "Railway has nothing to do with it");
}

#[tokio::test]
async fn another_name_is_another_setting() {
    let (_fake, mut core, _) = start().await;
    core.apply::<Window>("w", &window("nobody is there")).await.unwrap();
    let renamed = FreezeWindowModel { name: "evenings".into(), ..window("nobody is there") };
    assert_eq!(core.plan::<Window>("w", &renamed).await.unwrap().changed, Changed::Replaced);
}

#[tokio::test]
async fn what_somebody_else_changed_is_drift_and_what_was_lost_is_made_again() {
    let (_fake, mut core, journal) = start().await;
    core.apply::<Window>("w", &window("nobody is there")).await.unwrap();
    let (settings, me) = (Settings::of(&journal), Holder::of_this_process("test"));
    let mut found = settings.get::<FreezeWindow>("nights").await.unwrap().unwrap();
    found.reason = "changed".to_owned();
    settings.put("nights", &found, &me).await.unwrap();
    core.refresh::<Window>("w").await.unwrap();
    assert_eq!(core.plan::<Window>("w", &window("nobody is there")).await.unwrap().changed, Changed::Updated);
    settings.remove::<FreezeWindow>("nights", &me).await.unwrap();
    core.refresh::<Window>("w").await.unwrap();
    assert_eq!(core.plan::<Window>("w", &window("nobody is there")).await.unwrap().changed, Changed::Created);
}

#[tokio::test]
async fn a_creation_whose_state_was_lost_is_taken_up_and_another_of_the_name_is_not_overwritten() {
    let (_fake, mut core, journal) = start().await;
    core.apply::<Window>("w", &window("nobody is there")).await.unwrap();
    let before = journal.head().await.unwrap();
    core.apply::<Window>("again", &window("nobody is there")).await.unwrap();
    assert_eq!(journal.head().await.unwrap(), before, "nothing was written");
    let error = core.apply::<Window>("other", &window("something else")).await.unwrap_err().to_string();
    assert!(error.contains("terraform import spectra_freeze_window.NAME 'nights'"), "{error}");
    assert_eq!(journal.head().await.unwrap(), before);
}

#[tokio::test]
async fn every_type_is_imported_by_its_name_and_plans_nothing() {
    let (_fake, mut core, _) = start().await;
    let policy = policy();
    core.apply::<Window>("w", &window("nobody is there")).await.unwrap();
    core.apply::<Policy>("p", &policy).await.unwrap();
    core.apply::<Channel>("c", &channel()).await.unwrap();
    core.import::<Window>("w2", "nights").await.unwrap();
    core.import::<Policy>("p2", "careful").await.unwrap();
    core.import::<Channel>("c2", "ops").await.unwrap();
    assert_eq!(core.plan::<Policy>("p2", &policy).await.unwrap().changed, Changed::Nothing);
    assert_eq!(core.plan::<Channel>("c2", &channel()).await.unwrap().changed, Changed::Nothing);
    // The journal has `22:00:00` and `1m30s`, which mean the same.
    assert_eq!(
        core.plan::<Window>("w2", &window("nobody is there")).await.unwrap().changed,
        Changed::Nothing
    );
    let identity = Value::object([("name", "ops".into())]);
    core.import_identity::<Channel>("c3", identity).await.unwrap();
    assert_eq!(core.plan::<Channel>("c3", &channel()).await.unwrap().changed, Changed::Nothing);
}

#[tokio::test]
async fn settings_are_found_by_their_names() {
    let (_fake, mut core, _) = start().await;
    core.apply::<Window>("w", &window("nobody is there")).await.unwrap();
    let evenings = FreezeWindowModel { name: "evenings".into(), ..window("nobody is there") };
    core.apply::<Window>("e", &evenings).await.unwrap();
    let query = |prefix: Option<&str>| SettingQuery { name_prefix: prefix.map(str::to_owned).into() };
    let names = |found: Vec<tfplugin::testing::Listed>| {
        found.into_iter().map(|one| one.display_name).collect::<Vec<_>>()
    };
    let found = core.list::<Windows>(&query(None), 100, true).await.unwrap();
    assert_eq!(names(found), ["evenings", "nights"]);
    assert_eq!(names(core.list::<Windows>(&query(Some("ni")), 100, false).await.unwrap()), ["nights"]);
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_at_validation_with_the_attribute() {
    let (_fake, core, _) = start().await;
    let mut no_zone = window("nobody is there");
    no_zone.weekly.known_mut().unwrap().time_zone = "Mars/Olympus".into();
    let error = core.validate::<Window>(&no_zone).unwrap_err().to_string();
    assert!(error.contains("time_zone") && error.contains("Europe/Berlin"), "{error}");
    let mut no_key = policy();
    let approval = no_key.approval.known_mut().unwrap();
    approval.approvers.known_mut().unwrap()[0].public_key = "no key".into();
    let error = core.validate::<Policy>(&no_key).unwrap_err().to_string();
    assert!(error.contains("(`approval`)") && error.contains("Ed25519"), "{error}");
    let mut secret = channel();
    secret.slack = SlackModel { url_env: "https://hooks.slack.example/T0/secret".into() }.into();
    let error = core.validate::<Channel>(&secret).unwrap_err().to_string();
    assert!(error.contains("url_env") && !error.contains("hooks.slack"), "{error}");
    let two = FreezeWindowModel { weekly: Attr::Null, ..window("nobody is there") };
    assert!(core.validate::<Window>(&two).is_err(), "neither once nor weekly");
}

#[tokio::test]
async fn a_policy_reaches_the_journal_whole() {
    let (_fake, mut core, journal) = start().await;
    let signatures = SignaturePolicyModel { identities: vec![identity()].into(), ..signatures() };
    let policy = DeploymentPolicyModel { signatures: signatures.into(), ..policy() };
    core.apply::<Policy>("p", &policy).await.unwrap();
    let found = Settings::of(&journal).get::<DeploymentPolicy>("careful").await.unwrap().unwrap();
    assert_eq!(found.reach, Reach::Environment { environment: "e-1".parse().unwrap() });
    assert_eq!(found.minimum_bake, Some("90s".parse().unwrap()));
    assert_eq!(found.approval.unwrap().approvers[0].name, "anna");
    let signatures = found.signatures.unwrap();
    let repository = signatures.identities[0].source_repository.as_ref().unwrap();
    assert_eq!(repository.as_str(), "https://github.com/acme/shop");
    assert_eq!((signatures.keys[0].name.as_str(), signatures.required), ("ci", Threshold::All));
    assert_eq!(signatures.attestations[0].uri(), "https://slsa.dev/provenance/v1");
}

#[tokio::test]
async fn a_signature_policy_that_nobody_can_meet_is_refused_at_validation() {
    let (_fake, mut core, _) = start().await;
    let refused = async |core: &mut Core<Spectra>, signatures: SignaturePolicyModel| {
        let policy = DeploymentPolicyModel { signatures: signatures.into(), ..policy() };
        core.plan::<Policy>("p", &policy).await.unwrap_err().to_string()
    };
    let many = SignaturePolicyModel { required: "2".into(), ..signatures() };
    let error = refused(&mut core, many).await;
    assert!(error.contains("2 keys have to sign, and there are only 1"), "{error}");
    let no_key = vec![TrustedKeyModel { name: "ci".into(), public_key: "nonsense".into() }];
    let error = refused(&mut core, SignaturePolicyModel { keys: no_key.into(), ..signatures() }).await;
    assert!(error.contains("it is no public key"), "{error}");
    let of = |identity: TrustedIdentityModel| SignaturePolicyModel {
        identities: vec![identity].into(),
        ..signatures()
    };
    let error = refused(&mut core, of(TrustedIdentityModel { subject: "*".into(), ..identity() })).await;
    assert!(error.contains("would be anybody"), "{error}");
    let short = TrustedIdentityModel { source_repository: "acme/shop".into(), ..identity() };
    let error = refused(&mut core, of(short)).await;
    assert!(error.contains("`acme/shop` is no source repository"), "{error}");
    let nobody = SignaturePolicyModel { keys: Attr::Null, ..signatures() };
    let error = refused(&mut core, nobody).await;
    assert!(error.contains("without a key or an identity"), "{error}");
}
