//! What somebody changes behind the journal's back is found.

#![allow(clippy::unwrap_used, reason = "a test stops at its first surprise")]

mod support;

use proptest::prelude::*;
use serde_json::json;
use spectra_journal::{Error, Fault, Hash, Journal, Query, Violation};
use support::*;

const RECORDS: u64 = 8;

/// A journal of some records, with and without the fields that may be missing.
async fn fill(journal: &Journal) -> Hash {
    let lease = journal.steal("s", stranger("a"), TTL, "test").await.unwrap();
    for number in 2..=RECORDS {
        if number % 2 == 0 {
            journal.append(note(number)).await.unwrap();
        } else {
            lease.append(spectra_journal::Draft { rollout: None, ..note(number) }).await.unwrap();
        }
    }
    let verification = journal.verify(None).await.unwrap();
    assert_eq!(verification.records, RECORDS);
    verification.head
}

async fn violations(journal: &Journal, anchor: Option<&Hash>) -> Vec<Violation> {
    match journal.verify(anchor).await {
        Ok(verification) => panic!("nothing was found: {verification:?}"),
        Err(Error::Violated { violations, .. }) => violations.list().to_vec(),
        Err(other) => panic!("{other}"),
    }
}

fn has(violations: &[Violation], seq: u64, fault: &Fault) -> bool {
    violations.iter().any(|violation| violation.seq == seq && violation.fault == *fault)
}

on_both_stores! {
    async fn an_edited_record_is_named(place: &Place) {
        let journal = place.open().await;
        fill(&journal).await;
        place.tamper("UPDATE records SET body = '{\"number\":99}' WHERE seq = 4");
        assert_eq!(violations(&journal, None).await, [Violation { seq: 4, fault: Fault::Edited }]);
    }

    async fn removed_records_are_named(place: &Place) {
        let journal = place.open().await;
        fill(&journal).await;
        place.tamper("DELETE FROM records WHERE seq IN (3, 4)");
        assert_eq!(violations(&journal, None).await, [Violation { seq: 3, fault: Fault::Removed { to: 4 } }]);
    }

    async fn exchanged_records_are_named(place: &Place) {
        let journal = place.open().await;
        fill(&journal).await;
        place.tamper(
            "UPDATE records SET seq = -3 WHERE seq = 3; UPDATE records SET seq = 3 WHERE seq = 5; \
             UPDATE records SET seq = 5 WHERE seq = -3",
        );
        let found = violations(&journal, None).await;
        assert!(has(&found, 3, &Fault::Edited) && has(&found, 5, &Fault::Edited), "{found:?}");
    }

    async fn a_cut_end_is_noticed_by_the_head(place: &Place) {
        let journal = place.open().await;
        fill(&journal).await;
        place.tamper("DELETE FROM records WHERE seq > 5");
        assert_eq!(violations(&journal, None).await, [Violation { seq: RECORDS, fault: Fault::CutOff }]);
        place.tamper("DELETE FROM records");
        assert_eq!(violations(&journal, None).await, [Violation { seq: RECORDS, fault: Fault::CutOff }]);
    }

    async fn a_cut_end_with_its_head_is_noticed_by_an_anchor(place: &Place) {
        let journal = place.open().await;
        let anchor = fill(&journal).await;
        place.tamper(
            "DELETE FROM records WHERE seq > 5; \
             UPDATE head SET seq = 5, hash = (SELECT hash FROM records WHERE seq = 5)",
        );
        assert_eq!(journal.verify(None).await.unwrap().records, 5);
        assert_eq!(violations(&journal, Some(&anchor)).await, [Violation { seq: 5, fault: Fault::AnchorNotFound }]);
    }

    async fn a_missing_head_is_noticed_and_nothing_is_appended(place: &Place) {
        let journal = place.open().await;
        fill(&journal).await;
        place.tamper("DELETE FROM head");
        assert_eq!(violations(&journal, None).await, [Violation { seq: RECORDS, fault: Fault::Headless }]);
        assert!(matches!(journal.head().await, Err(Error::Corrupt { .. })));
        assert!(matches!(journal.append(note(9)).await, Err(Error::Corrupt { .. })));
    }

    async fn records_that_were_not_appended_are_noticed(place: &Place) {
        let journal = place.open().await;
        fill(&journal).await;
        place.tamper(
            "INSERT INTO records (seq, version, at, key, subject, kind, body, previous, hash) \
             SELECT 9, version, at, 'k', subject, kind, body, hash, previous FROM records WHERE seq = 8",
        );
        assert_eq!(violations(&journal, None).await, [Violation { seq: 9, fault: Fault::Inserted }]);
    }

    /// Whoever can write to the tables can write a chain that holds; it is another one.
    async fn a_chain_that_was_written_anew_is_noticed_by_an_anchor(place: &Place) {
        let journal = place.open().await;
        let anchor = fill(&journal).await;
        let mut previous = Hash::ZERO.to_string();
        let mut statements = Vec::new();
        for record in journal.records(&Query::default()).await.unwrap() {
            let body = if record.seq == 4 { json!({ "number": 99 }) } else { record.body.clone() };
            let hash = hash_of(&record, &body.to_string(), &previous);
            let quoted = body.to_string().replace('\'', "''");
            statements.push(format!(
                "UPDATE records SET body = '{quoted}', previous = '{previous}', hash = '{hash}' WHERE seq = {}",
                record.seq
            ));
            previous = hash;
        }
        statements.push(format!("UPDATE head SET hash = '{previous}'"));
        place.tamper(&statements.join(";"));
        assert_eq!(journal.verify(None).await.unwrap().head.to_string(), previous);
        assert_eq!(
            violations(&journal, Some(&anchor)).await,
            [Violation { seq: RECORDS, fault: Fault::AnchorNotFound }]
        );
    }

    async fn an_anchor_may_be_any_record(place: &Place) {
        let journal = place.open().await;
        fill(&journal).await;
        for record in journal.records(&Query::default()).await.unwrap() {
            journal.verify(Some(&record.hash)).await.unwrap();
        }
        journal.verify(Some(&Hash::ZERO)).await.unwrap();
    }
}

/// One change of the stored rows, as SQL.
fn change() -> impl Strategy<Value = String> {
    let seq = 1..=RECORDS;
    let text = prop::sample::select(vec!["at", "key", "subject", "kind", "body", "previous", "hash"]);
    let number = prop::sample::select(vec!["version", "seq"]);
    prop_oneof![
        (seq.clone(), text, "[a-z0-9 {}]{1,5}").prop_map(|(seq, column, more)| {
            format!("UPDATE records SET {column} = {column} || '{more}' WHERE seq = {seq}")
        }),
        (seq.clone(), prop::sample::select(vec!["body", "subject", "kind", "previous", "hash"]))
            .prop_map(|(seq, column)| format!("UPDATE records SET {column} = '' WHERE seq = {seq}")),
        (seq.clone(), number, 20_i64..)
            .prop_map(|(seq, column, to)| format!("UPDATE records SET {column} = {to} WHERE seq = {seq}")),
        (seq.clone(), 1_i64..).prop_map(|(seq, less)| {
            format!("UPDATE records SET seq = {} WHERE seq = {seq}", i64::try_from(seq).unwrap() - less.max(9))
        }),
        (seq.clone(), any::<i64>()).prop_map(|(seq, fence)| {
            format!("UPDATE records SET fence = CASE WHEN fence IS NULL THEN {fence} ELSE NULL END WHERE seq = {seq}")
        }),
        seq.clone().prop_map(|seq| format!(
            "UPDATE records SET rollout = CASE WHEN rollout IS NULL THEN '' ELSE NULL END WHERE seq = {seq}"
        )),
        seq.clone().prop_map(|seq| format!("DELETE FROM records WHERE seq = {seq}")),
        seq.clone().prop_map(|seq| format!("DELETE FROM records WHERE seq >= {seq}")),
        (seq.clone(), seq.clone()).prop_filter("two records", |(one, other)| one != other).prop_map(
            |(one, other)| format!(
                "UPDATE records SET seq = -{one} WHERE seq = {one}; \
                 UPDATE records SET seq = {one} WHERE seq = {other}; \
                 UPDATE records SET seq = {other} WHERE seq = -{one}"
            )
        ),
        (0..20_u64).prop_filter("another end", |seq| *seq != RECORDS)
            .prop_map(|seq| format!("UPDATE head SET seq = {seq}")),
        "[0-9a-f]{1,5}".prop_map(|end| format!("UPDATE head SET hash = hash || '{end}'")),
        seq.prop_map(|seq| format!(
            "INSERT INTO records SELECT seq + 20, version, at, 'k', subject, rollout, kind, fence, body, \
             previous, hash FROM records WHERE seq = {seq}"
        )),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn any_change_is_found(change in change()) {
        // The same journal is copied for each case.
        thread_local! {
            static RUNTIME: tokio::runtime::Runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        }
        static TEMPLATE: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
        RUNTIME.with(|runtime| runtime.block_on(async {
            if TEMPLATE.get().is_none() {
                let place = Place::file();
                fill(&place.open().await).await;
                // Everything from the log into the file.
                let path = place.location().path().unwrap().to_owned();
                let copy = path.with_extension("copy");
                place.tamper(&format!("VACUUM INTO '{}'", copy.display()));
                TEMPLATE.get_or_init(|| std::fs::read(copy).unwrap());
            }
            let place = Place::file();
            let path = place.location().path().unwrap().to_owned();
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, TEMPLATE.get().unwrap()).unwrap();
            let journal = place.open().await;
            journal.verify(None).await.unwrap();
            place.tamper(&change);
            let found = journal.verify(None).await;
            assert!(matches!(found, Err(Error::Violated { .. })), "{change}: {found:?}");
        }));
    }

    #[test]
    fn any_changed_line_of_an_export_is_found(line in 0..8_usize, at in any::<prop::sample::Index>(), to in "[a-z0-9\"{}:, ]") {
        static EXPORT: std::sync::OnceLock<(String, Hash)> = std::sync::OnceLock::new();
        let (export, head) = EXPORT.get_or_init(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let place = Place::file();
                let journal = place.open().await;
                let head = fill(&journal).await;
                let mut export = Vec::new();
                journal.export(&mut export, &Query::default()).await.unwrap();
                (String::from_utf8(export).unwrap(), head)
            })
        });
        let mut lines: Vec<String> = export.lines().map(str::to_owned).collect();
        let at = at.index(lines[line].len());
        prop_assume!(lines[line].is_char_boundary(at) && lines[line].is_char_boundary(at + 1));
        prop_assume!(lines[line][at..=at] != to);
        lines[line].replace_range(at..=at, &to);
        let changed = lines.join("\n");
        let found = spectra_journal::verify_lines(changed.as_bytes(), spectra_journal::Extent::Whole, Some(head));
        prop_assert!(found.is_err(), "{}", lines[line]);
    }
}
