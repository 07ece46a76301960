//! The process dies at every point of its record, in the way back too; the next one makes the environment whole.

use proptest::prelude::*;
use spectra_rollout::spec::Step;
use spectra_rollout::{FailureReason, Ledger, Outcome, RolloutRequest};
use tokio_util::sync::CancellationToken;

use crate::support::requests::{
    Found, analysis, approval, canary, carried, contract, expand, final_contract, hook, metric, pause,
    request, roll, seconds, take_up, taken_up, wave,
};
use crate::support::world::{Fate, Fault, World, digest, good, image};
use crate::support::{Blow, Diary};
use crate::{is_new, is_old, schema_is_back};

const SERVICES: [&str; 3] = ["web", "worker", "mail"];

/// What a rollout meets.
#[derive(Clone, Debug)]
struct Luck {
    fate: Fate,
    wave_fate: Fate,
    faults: Vec<(&'static str, usize, Fault)>,
    stop_at: Option<usize>,
    unhealthy: Option<u64>,
    bad_metric: Option<u64>,
}

impl Luck {
    const GOOD: Self = Self {
        fate: Fate::Serves,
        wave_fate: Fate::Serves,
        faults: Vec::new(),
        stop_at: None,
        unhealthy: None,
        bad_metric: None,
    };

    fn world(&self) -> World {
        let mut world = World::running(&SERVICES).with(|inner| {
            inner.fates.insert("web".to_owned(), self.fate);
            inner.fates.insert("mail".to_owned(), self.wave_fate);
            inner.approved_after = Some(0);
            inner.faults =
                self.faults.iter().map(|(call, at, fault)| ((*call).to_owned(), *at, *fault)).collect();
            if let Some(after) = self.unhealthy {
                inner.unhealthy.insert(digest('b'), after);
            }
            if let Some(after) = self.bad_metric {
                inner.metrics.insert("errors".to_owned(), vec![(after, good(1.0))]);
            }
        });
        world.cancel_at = self.stop_at.map(|at| (at, CancellationToken::new()));
        world
    }
}

/// The services that a request reaches.
fn reached(request: &RolloutRequest) -> Vec<&'static str> {
    let places = request.places();
    SERVICES.into_iter().filter(|name| places.iter().any(|place| place.service.as_str() == *name)).collect()
}

fn applied(request: &RolloutRequest) -> usize {
    request.steps.iter().filter(|step| matches!(step, Step::Migrate(_))).count()
}

/// The environment is whole, and the record says so.
fn is_whole(world: &World, diary: &Diary, request: &RolloutRequest, context: &str) {
    let ledger = Ledger::of(&diary.entries());
    let outcome =
        ledger.outcome().unwrap_or_else(|| panic!("{context}: no outcome in {:#?}", diary.entries()));
    match outcome {
        Outcome::Complete { .. } => {
            is_new(world, &reached(request));
            assert_eq!(world.database().applied.len(), applied(request), "{context}");
        }
        Outcome::RolledBack { .. } | Outcome::Refused { .. } => {
            is_old(world, &reached(request));
            schema_is_back(world, request);
        }
        // A program that did not undo what it did leaves that, and nothing else.
        Outcome::RollbackFailed { rollback: FailureReason::Hook { .. }, .. } => {
            is_old(world, &reached(request));
        }
        Outcome::RollbackFailed { rollback: FailureReason::Migration { name, .. }, .. } if name == "m1" => {
            is_old(world, &reached(request));
        }
        // Beyond the point of no return, or of a contract that cannot be taken back, the candidate stays as it is.
        Outcome::RollbackFailed {
            rollback: FailureReason::Irreversible { .. } | FailureReason::Migration { .. },
            ..
        } => {
            assert_eq!(world.siblings(), Vec::<String>::new(), "{context}");
            for service in reached(request) {
                let seen = world.seen(service);
                assert_eq!((seen.setting, seen.rising), (Some(image('b').to_string()), 0), "{context}");
                assert!(seen.serving.is_none_or(|serving| serving == digest('b')), "{context}");
            }
        }
        other => panic!("{context}: {other:?} {:?}\n{:#?}", world.log(), diary.entries()),
    }
}

/// Runs a request to its end or to the blow, and takes it up until it is over. Gives the writes of the first process.
async fn survive(
    luck: &Luck,
    request: &RolloutRequest,
    first: Option<(usize, Blow)>,
    second: Option<(usize, Blow)>,
) -> usize {
    let context = format!("{first:?} {second:?} {luck:?} {:?}", request.steps);
    let world = luck.world();
    let diary = first.map_or_else(Diary::default, |(at, blow)| Diary::with(at, blow));
    let report = roll(&world, &diary, request.clone()).await;
    let writes = diary.writes();
    if report.is_some() {
        is_whole(&world, &diary, request, &context);
        assert!(matches!(take_up(&world, &diary.reopened()).await, Found::Nothing), "{context}");
        return writes;
    }
    if Ledger::of(&diary.entries()).outcome().is_some() {
        // It died with nothing left to do.
        is_whole(&world, &diary, request, &context);
        return writes;
    }
    // Somebody needs a while to come back.
    tokio::time::sleep(seconds(30)).await;
    let mut found = diary.reopened();
    if found.entries().is_empty() {
        is_old(&world, &reached(request));
        return writes;
    }
    if let Some(blow) = second {
        found.at.lock().unwrap().push(blow);
        if matches!(take_up(&world, &found).await, Found::Died)
            && Ledger::of(&found.entries()).outcome().is_none()
        {
            tokio::time::sleep(seconds(30)).await;
            found = found.reopened();
        }
    }
    if Ledger::of(&found.entries()).outcome().is_none() {
        taken_up(&world, &found).await;
    }
    is_whole(&world, &found, request, &context);
    assert!(matches!(take_up(&world, &found.reopened()).await, Found::Nothing), "{context}");
    writes
}

fn ledger_is_over(diary: &Diary) -> bool {
    Ledger::of(&diary.entries()).outcome().is_some()
}

/// Runs a request in a world until its process dies right after the entry with this line; gives the record.
async fn die_after(world: &World, request: &RolloutRequest, line: &str) -> Diary {
    let whole = Diary::default();
    roll(&Luck::GOOD.world(), &whole, request.clone()).await.unwrap();
    let at = whole.entries().iter().position(|entry| entry.line() == line);
    let at = at.unwrap_or_else(|| panic!("`{line}` is not in {:#?}", whole.entries()));
    let diary = Diary::with(at + 1, Blow::CrashAfter);
    assert!(roll(world, &diary, request.clone()).await.is_none());
    diary.reopened()
}

/// Dies at every write of a request, before and after it.
async fn die_everywhere(luck: &Luck, request: &RolloutRequest) {
    let writes = survive(luck, request, None, None).await;
    assert!(writes > 40, "only {writes} writes");
    for at in 1..=writes {
        survive(luck, request, Some((at, Blow::CrashBefore)), None).await;
        survive(luck, request, Some((at, Blow::CrashAfter)), None).await;
    }
}

fn everything() -> RolloutRequest {
    request(vec![
        expand("m1"),
        carried("m2"),
        hook("h1"),
        canary(10),
        Step::Swap,
        wave(&["worker", "mail"], 5),
        analysis(10, vec![metric("errors")]),
        contract("m3"),
        final_contract("m4"),
        contract("m5"),
    ])
}

#[tokio::test(start_paused = true)]
async fn a_rollout_of_all_steps_survives_its_death_at_every_write() {
    let world = Luck::GOOD.world();
    let report = roll(&world, &Diary::default(), everything()).await.unwrap();
    crate::is_complete(&report);
    assert_eq!(report.leftovers, Vec::<String>::new());
    die_everywhere(&Luck::GOOD, &everything()).await;
}

#[tokio::test(start_paused = true)]
async fn a_failing_rollout_of_all_steps_survives_its_death_at_every_write() {
    die_everywhere(&Luck { wave_fate: Fate::Fails, ..Luck::GOOD }, &everything()).await;
}

#[tokio::test(start_paused = true)]
async fn a_recovery_survives_its_own_death_at_every_write() {
    let request =
        request(vec![expand("m1"), carried("m2"), canary(0), Step::Swap, wave(&["mail"], 0), hook("h1")]);
    let luck = Luck { unhealthy: Some(12), ..Luck::GOOD };
    let writes = survive(&luck, &request, None, None).await;
    for first in (1..=writes).step_by(3) {
        for second in 1..=24 {
            let blow = if second % 2 == 0 { Blow::CrashBefore } else { Blow::CrashAfter };
            survive(&luck, &request, Some((first, Blow::CrashAfter)), Some((second, blow))).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn beyond_the_point_of_no_return_a_recovery_goes_forward() {
    let request = request(vec![Step::Swap, final_contract("m1"), contract("m2")]);
    let world = Luck::GOOD.world();
    let found = die_after(&world, &request, "going to apply migration `m1`").await;
    // A window that begins meanwhile cannot hold it in the middle.
    world.change(|inner| inner.frozen = Some("the week of the sale".to_owned()));
    let report = taken_up(&world, &found).await;
    crate::is_complete(&report);
    is_new(&world, &["web"]);
    assert_eq!(world.database().applied.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn announced_but_not_begun_the_point_of_no_return_binds_nobody() {
    let request = request(vec![Step::Swap, final_contract("m1")]);
    let world = Luck::GOOD.world();
    let found = die_after(&world, &request, "no way back from here: migration `m1`").await;
    let report = taken_up(&world, &found).await;
    crate::is_rolled_back(&report);
    is_old(&world, &["web"]);
}

#[tokio::test(start_paused = true)]
async fn a_candidate_that_died_with_the_process_beyond_the_point_of_no_return_is_not_reported_green() {
    let request = request(vec![Step::Swap, final_contract("m1")]);
    let world = Luck { fate: Fate::Crashes(60), ..Luck::GOOD }.world();
    let found = die_after(&world, &request, "done: apply migration `m1`: migrate up m1: ok").await;
    tokio::time::sleep(seconds(120)).await;
    let report = taken_up(&world, &found).await;
    assert!(matches!(report.outcome, Outcome::RollbackFailed { .. }), "{:?}", report.outcome);
}

#[tokio::test(start_paused = true)]
async fn beyond_the_point_of_no_return_every_service_is_looked_at_again() {
    let request = request(vec![Step::Swap, wave(&["mail"], 0), final_contract("m1")]);
    let world = Luck { wave_fate: Fate::Crashes(60), ..Luck::GOOD }.world();
    let found = die_after(&world, &request, "done: apply migration `m1`: migrate up m1: ok").await;
    tokio::time::sleep(seconds(120)).await;
    let report = taken_up(&world, &found).await;
    assert!(matches!(report.outcome, Outcome::RollbackFailed { .. }), "{:?}", report.outcome);
}

#[tokio::test(start_paused = true)]
async fn the_last_look_has_an_end_also_where_no_other_clock_runs() {
    let request = request(vec![Step::Swap, final_contract("m1")]);
    let world = Luck::GOOD.world();
    let found = die_after(&world, &request, "done: apply migration `m1`: migrate up m1: ok").await;
    world.change(|inner| inner.unreadable = usize::MAX);
    let begun = tokio::time::Instant::now();
    let report = taken_up(&world, &found).await;
    assert!(
        matches!(crate::reason(&report), FailureReason::ProgressDeadline { .. }),
        "what cannot be seen is not green: {:?}",
        report.outcome
    );
    assert!(begun.elapsed() < seconds(70), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn somebody_elses_repair_is_left_alone_also_when_the_first_looks_fail() {
    let request = request(vec![expand("m1"), Step::Swap]);
    let world = Luck::GOOD.world();
    let found =
        die_after(&world, &request, "done: deploy the candidate to service `web`, deployment `web-1`").await;
    let repair = tokio::time::Instant::now() + seconds(20);
    world.change(|inner| inner.foreign = Some((repair, "web".to_owned(), 'c')));
    tokio::time::sleep(seconds(30)).await;
    world.change(|inner| inner.unreadable = 3);
    let report = taken_up(&world, &found).await;
    assert!(matches!(report.outcome, Outcome::Superseded { .. }), "{:?}", report.outcome);
    assert_eq!(world.seen("web").serving, Some(digest('c')), "{:#?}", report.timeline);
    assert!(!world.log().iter().any(|line| line.starts_with("restore")), "{:?}", world.log());
}

#[tokio::test(start_paused = true)]
async fn a_death_between_letting_go_and_saying_why_takes_nothing_from_under_somebody_elses_version() {
    let request = RolloutRequest { bake: seconds(60), ..request(vec![expand("m1"), hook("h1"), Step::Swap]) };
    let world = || {
        let world = Luck::GOOD.world();
        let at = tokio::time::Instant::now() + seconds(30);
        world.change(|inner| inner.foreign = Some((at, "web".to_owned(), 'c')));
        world
    };
    let whole = Diary::default();
    let report = roll(&world(), &whole, request.clone()).await.unwrap();
    assert!(matches!(report.outcome, Outcome::Superseded { .. }), "{:?}", report.outcome);
    let entries = whole.entries();
    let turn = entries.iter().position(|entry| entry.kind() == "rollout.going_back").unwrap();
    let end = entries.iter().position(|entry| entry.kind() == "rollout.finished").unwrap();
    for (at, entry) in entries.iter().enumerate().take(end + 1).skip(turn) {
        let line = entry.line();
        let world = world();
        let diary = Diary::with(at + 1, Blow::CrashBefore);
        assert!(roll(&world, &diary, request.clone()).await.is_none(), "{line}");
        let mut found = diary.reopened();
        // The next process dies as well, after all that it lets go of or says; the one after that does not.
        for writes in 1..8 {
            if ledger_is_over(&found) {
                break;
            }
            found.at.lock().unwrap().push((writes, Blow::CrashBefore));
            let _ = take_up(&world, &found).await;
            found = found.reopened();
        }
        if !ledger_is_over(&found) {
            taken_up(&world, &found).await;
        }
        let ledger = Ledger::of(&found.entries());
        assert!(matches!(ledger.outcome(), Some(Outcome::Superseded { .. })), "before `{line}`: {ledger:#?}");
        assert_eq!(world.seen("web").serving, Some(digest('c')), "before `{line}`");
        let database = world.database();
        assert_eq!(database.applied.len(), 1, "before `{line}`: {database:?}");
        assert!(database.hooks.is_empty(), "before `{line}`: {database:?}");
    }
}

fn fates() -> impl Strategy<Value = Fate> {
    prop_oneof![
        4 => Just(Fate::Serves),
        1 => (0_u64..40).prop_map(Fate::Crashes),
        1 => Just(Fate::Fails),
        1 => Just(Fate::FailsBefore),
        1 => Just(Fate::Hangs),
        1 => Just(Fate::NeedsApproval),
        1 => Just(Fate::Skipped),
        1 => Just(Fate::Removed),
        1 => Just(Fate::WrongDigest),
    ]
}

/// Steps in an order that makes sense, each of them there or not.
fn steps() -> impl Strategy<Value = Vec<Step>> {
    let before = [expand("m1"), carried("m2"), hook("h1"), approval(60), canary(10)];
    let after = [
        pause(5),
        analysis(10, vec![metric("errors")]),
        hook("h2"),
        contract("m3"),
        final_contract("m4"),
        contract("m5"),
    ];
    let waves = prop_oneof![
        2 => Just(vec![Step::Swap]),
        1 => Just(vec![wave(&["worker", "web"], 5)]),
        1 => Just(vec![Step::Swap, wave(&["mail"], 0)]),
    ];
    (
        proptest::sample::subsequence(before.to_vec(), 0..=5),
        waves,
        proptest::sample::subsequence(after.to_vec(), 0..=6),
    )
        .prop_map(|(before, traffic, after)| [before, traffic, after].concat())
}

/// Calls that go wrong: what goes forward in any way, what is tried again on the way back as well.
fn faults() -> impl Strategy<Value = Vec<(&'static str, usize, Fault)>> {
    let calls = [
        "deploy web",
        "deploy mail",
        "deploy web-canary",
        "create_sibling",
        "remove_sibling",
        "restore web",
        "restore worker",
        "migrate up m1",
        "migrate up m3",
        "hook run h1",
        "hook run h2",
        "migrate down m1",
        "migrate down m3",
        "hook undo h1",
    ];
    let fault = prop_oneof![Just(Fault::Refused), Just(Fault::Unsure), Just(Fault::Lost), Just(Fault::Twice)];
    proptest::collection::vec((proptest::sample::select(calls.to_vec()), 1_usize..3, fault), 0..3)
}

fn lucks() -> impl Strategy<Value = Luck> {
    (
        fates(),
        fates(),
        faults(),
        proptest::option::weighted(0.2, 1_usize..8),
        proptest::option::of(0_u64..60),
        proptest::option::of(0_u64..90),
    )
        .prop_map(|(fate, wave_fate, faults, stop_at, unhealthy, bad_metric)| Luck {
            fate,
            wave_fate,
            faults,
            stop_at,
            unhealthy,
            bad_metric,
        })
}

fn blows() -> impl Strategy<Value = Blow> {
    prop_oneof![Just(Blow::CrashBefore), Just(Blow::CrashAfter)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 250, ..ProptestConfig::default() })]

    /// Whatever it meets and wherever it dies, twice: exactly one version serves everywhere, as the settings say.
    #[test]
    fn any_rollout_survives_two_deaths(
        steps in steps(),
        luck in lucks(),
        bake in 0_u64..30,
        probed in any::<bool>(),
        first in (0_usize..60, blows()),
        second in proptest::option::of((1_usize..20, blows())),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let mut request = RolloutRequest { bake: seconds(bake), ..request(steps) };
            if !probed {
                request.health = None;
            }
            let writes = survive(&luck, &request, None, None).await;
            let at = first.0 % writes + 1;
            survive(&luck, &request, Some((at, first.1)), second).await;
        });
    }
}
