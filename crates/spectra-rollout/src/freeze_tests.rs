use jiff::civil::time;
use proptest::prelude::*;

use super::*;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn window(schedule: FreezeSchedule) -> FreezeWindow {
    FreezeWindow {
        name: "quiet".to_owned(),
        reason: "nobody is there".to_owned(),
        schedule,
        reach: Reach::Everything,
    }
}

fn weekly(days: &[Day], from: Time, to: Time, zone: &str) -> FreezeWindow {
    window(FreezeSchedule::Weekly { days: days.to_vec(), from, to, time_zone: zone.to_owned() })
}

fn only(window: &FreezeWindow, from: &str, to: &str) -> (String, String) {
    let hits = window.hits(at(from), at(to)).unwrap();
    assert_eq!(hits.len(), 1, "{hits:?}");
    (hits[0].from.to_string(), hits[0].to.to_string())
}

fn text(from: &str, to: &str) -> (String, String) {
    (from.to_owned(), to.to_owned())
}

#[test]
fn a_window_holds_from_its_first_moment_and_not_at_its_end() {
    let once = FreezeSchedule::Once { from: at("2026-12-24T00:00:00Z"), to: at("2026-12-27T00:00:00Z") };
    let once = window(once);
    let holds = |text: &str| once.holds_at(at(text)).unwrap().is_some();
    assert!(!holds("2026-12-23T23:59:59.999999999Z"));
    assert!(holds("2026-12-24T00:00:00Z"));
    assert!(holds("2026-12-26T23:59:59.999999999Z"));
    assert!(!holds("2026-12-27T00:00:00Z"));
}

#[test]
fn a_window_that_passes_midnight_ends_on_the_next_day() {
    // 2026-08-07 is a Friday.
    let nights = weekly(&[Day::Friday], time(22, 0, 0, 0), time(6, 0, 0, 0), "UTC");
    assert_eq!(nights.holds_at(at("2026-08-07T21:59:59Z")).unwrap(), None);
    let held = Frozen { from: at("2026-08-07T22:00:00Z"), to: at("2026-08-08T06:00:00Z") };
    assert_eq!(nights.holds_at(at("2026-08-08T05:00:00Z")).unwrap(), Some(held));
    assert_eq!(nights.holds_at(at("2026-08-08T06:00:00Z")).unwrap(), None);
    // Friday begins it, not Saturday.
    assert_eq!(nights.holds_at(at("2026-08-08T23:00:00Z")).unwrap(), None);
}

#[test]
fn the_day_is_that_of_the_time_zone() {
    let window = weekly(&[Day::Monday], time(0, 0, 0, 0), time(2, 0, 0, 0), "Asia/Tokyo");
    // Monday 00:00 in Tokyo is Sunday 15:00 in UTC.
    let week = ("2026-08-09T00:00:00Z", "2026-08-12T00:00:00Z");
    assert_eq!(only(&window, week.0, week.1), text("2026-08-09T15:00:00Z", "2026-08-09T17:00:00Z"));
}

#[test]
fn days_that_touch_are_one_time() {
    let midnight = time(0, 0, 0, 0);
    let weekend = weekly(&[Day::Saturday, Day::Sunday], midnight, midnight, "UTC");
    let held = weekend.holds_at(at("2026-08-08T12:00:00Z")).unwrap().unwrap();
    assert_eq!(held, Frozen { from: at("2026-08-08T00:00:00Z"), to: at("2026-08-10T00:00:00Z") });
    // Also over the end of the list and of the week.
    let week: Vec<Day> = vec![Day::Monday, Day::Sunday, Day::Saturday];
    let longer = weekly(&week, midnight, midnight, "UTC");
    let held = longer.holds_at(at("2026-08-10T12:00:00Z")).unwrap().unwrap();
    assert_eq!(held.from, at("2026-08-08T00:00:00Z"));
}

/// Berlin, 29 March 2026: at 02:00 the clocks are set to 03:00, which is 01:00 in UTC.
#[test]
fn where_the_clock_is_set_forward_a_time_that_does_not_come_is_the_moment_of_the_change() {
    let day = ("2026-03-28T12:00:00Z", "2026-03-29T12:00:00Z");
    let begins = weekly(&[Day::Sunday], time(2, 30, 0, 0), time(6, 0, 0, 0), "Europe/Berlin");
    assert_eq!(only(&begins, day.0, day.1), text("2026-03-29T01:00:00Z", "2026-03-29T04:00:00Z"));
    let ends = weekly(&[Day::Sunday], time(0, 0, 0, 0), time(2, 30, 0, 0), "Europe/Berlin");
    assert_eq!(only(&ends, day.0, day.1), text("2026-03-28T23:00:00Z", "2026-03-29T01:00:00Z"));
    // One that would lie in between is not there at all.
    let inside = weekly(&[Day::Sunday], time(2, 10, 0, 0), time(2, 50, 0, 0), "Europe/Berlin");
    assert_eq!(inside.hits(at(day.0), at(day.1)).unwrap(), []);
    // The night around it is an hour shorter.
    let night = weekly(&[Day::Saturday], time(22, 0, 0, 0), time(6, 0, 0, 0), "Europe/Berlin");
    assert_eq!(only(&night, day.0, day.1), text("2026-03-28T21:00:00Z", "2026-03-29T04:00:00Z"));
}

/// Berlin, 25 October 2026: at 03:00, 01:00 in UTC, the clocks are set back to 02:00.
#[test]
fn where_the_clock_is_set_back_a_window_covers_both_of_two_like_times() {
    let day = ("2026-10-24T12:00:00Z", "2026-10-25T12:00:00Z");
    let begins = weekly(&[Day::Sunday], time(2, 30, 0, 0), time(6, 0, 0, 0), "Europe/Berlin");
    assert_eq!(only(&begins, day.0, day.1), text("2026-10-25T00:30:00Z", "2026-10-25T05:00:00Z"));
    let ends = weekly(&[Day::Sunday], time(0, 0, 0, 0), time(2, 30, 0, 0), "Europe/Berlin");
    assert_eq!(only(&ends, day.0, day.1), text("2026-10-24T22:00:00Z", "2026-10-25T01:30:00Z"));
    let inside = weekly(&[Day::Sunday], time(2, 10, 0, 0), time(2, 50, 0, 0), "Europe/Berlin");
    assert_eq!(only(&inside, day.0, day.1), text("2026-10-25T00:10:00Z", "2026-10-25T01:50:00Z"));
}

/// Samoa had no 30 December 2011, a Friday.
#[test]
fn a_day_that_a_place_did_not_have_has_no_window() {
    let fridays = weekly(&[Day::Friday], time(9, 0, 0, 0), time(17, 0, 0, 0), "Pacific/Apia");
    let hits = fridays.hits(at("2011-12-28T00:00:00Z"), at("2012-01-03T00:00:00Z")).unwrap();
    assert_eq!(hits, []);
}

#[test]
fn a_plan_is_told_of_every_time_in_its_span() {
    let lunch = weekly(&[Day::Monday, Day::Wednesday], time(12, 0, 0, 0), time(13, 0, 0, 0), "UTC");
    // From within Monday's to the beginning of next Monday's.
    let hits = lunch.hits(at("2026-08-03T12:30:00Z"), at("2026-08-10T12:00:00Z")).unwrap();
    let begins: Vec<_> = hits.iter().map(|hit| hit.from.to_string()).collect();
    assert_eq!(begins, ["2026-08-03T12:00:00Z", "2026-08-05T12:00:00Z", "2026-08-10T12:00:00Z"]);
}

#[test]
fn what_makes_no_sense_is_refused_by_name() {
    let paths = |window: &FreezeWindow| -> Vec<String> {
        window.problems().into_iter().map(|problem| problem.path).collect()
    };
    let (nine, five) = (time(9, 0, 0, 0), time(17, 0, 0, 0));
    let good = weekly(&[Day::Monday], nine, five, "America/New_York");
    assert_eq!(paths(&good), [""; 0]);
    assert_eq!(paths(&FreezeWindow { name: " ".to_owned(), ..good.clone() }), ["name"]);
    assert_eq!(paths(&FreezeWindow { reason: String::new(), ..good }), ["reason"]);
    assert_eq!(paths(&weekly(&[], nine, five, "UTC")), ["days"]);
    assert_eq!(paths(&weekly(&[Day::Monday, Day::Monday], nine, five, "UTC")), ["days"]);
    let all =
        [Day::Monday, Day::Tuesday, Day::Wednesday, Day::Thursday, Day::Friday, Day::Saturday, Day::Sunday];
    assert_eq!(paths(&weekly(&all, nine, nine, "UTC")), ["days"]);
    assert_eq!(paths(&weekly(&[Day::Monday], nine, five, "Mars/Olympus")), ["time_zone"]);
    let moment = at("2026-08-01T00:00:00Z");
    assert_eq!(paths(&window(FreezeSchedule::Once { from: moment, to: moment })), ["to"]);
}

#[test]
fn a_time_zone_that_is_not_known_is_no_free_time() {
    let window = weekly(&[Day::Monday], time(9, 0, 0, 0), time(17, 0, 0, 0), "Mars/Olympus");
    assert!(window.holds_at(at("2026-08-01T00:00:00Z")).is_err());
}

#[test]
fn a_window_is_kept_as_plain_json() {
    let written = weekly(&[Day::Friday], time(22, 0, 0, 0), time(6, 30, 0, 0), "Europe/Berlin");
    let json = serde_json::to_value(&written).unwrap();
    assert_eq!(
        json.to_string(),
        r#"{"name":"quiet","reach":{"reach":"everything"},"reason":"nobody is there","schedule":{"days":["friday"],"from":"22:00:00","schedule":"weekly","time_zone":"Europe/Berlin","to":"06:30:00"}}"#
    );
    assert_eq!(serde_json::from_value::<FreezeWindow>(json).unwrap(), written);
}

proptest! {
    /// What a plan is told and what is enforced are the same: a moment is in a hit exactly if the window holds then.
    #[test]
    fn hits_and_holding_agree(
        second in 1_700_000_000_i64..1_900_000_000,
        from in 0_i8..24, to in 0_i8..24,
        days in proptest::sample::subsequence(
            vec![Day::Monday, Day::Tuesday, Day::Wednesday, Day::Thursday, Day::Friday, Day::Saturday], 1..5),
        zone in proptest::sample::select(vec!["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"]),
    ) {
        let window = weekly(&days, time(from, 30, 0, 0), time(to, 15, 0, 0), zone);
        let now = Timestamp::from_second(second).unwrap();
        let around = window.hits(now - jiff::SignedDuration::from_hours(200), now + jiff::SignedDuration::from_hours(200)).unwrap();
        prop_assert!(!around.is_empty());
        prop_assert!(around.windows(2).all(|pair| pair[0].to < pair[1].from));
        let hit = around.iter().find(|hit| hit.holds_at(now)).copied();
        prop_assert_eq!(window.holds_at(now).unwrap(), hit);
    }
}
