//! Appending, reading, exporting.

#![allow(clippy::unwrap_used, reason = "a test stops at its first surprise")]

mod support;

use serde_json::json;
use spectra_journal::{Draft, Error, Extent, Hash, Journal, Query, RECORD_VERSION, verify_lines};
use spectra_types::Secret;
use support::*;

on_both_stores! {
    async fn records_are_chained_and_read_back(place: &Place) {
        let journal = place.open().await;
        assert_eq!(journal.head().await.unwrap(), (0, Hash::ZERO));
        let first = journal.append(draft("rollout.begun", json!({"image": "a", "weights": [1, 2.50]}))).await.unwrap();
        let second = journal.append(note(2)).await.unwrap();
        assert_eq!((first.seq, first.version, first.previous), (1, RECORD_VERSION, Hash::ZERO));
        assert_eq!((second.seq, second.previous), (2, first.hash));
        assert_ne!(first.key, second.key);
        assert_eq!(journal.head().await.unwrap(), (2, second.hash));
        assert_eq!(journal.records(&Query::default()).await.unwrap(), [first, second.clone()]);
        let verified = journal.verify(None).await.unwrap();
        assert_eq!((verified.records, verified.head), (2, second.hash));

        // Another handle, and the same after all handles are gone.
        let other = Journal::open_existing(&place.location()).await.unwrap();
        assert_eq!(other.append(note(3)).await.unwrap().previous, second.hash);
        drop((journal, other));
        assert_eq!(place.open().await.verify(Some(&second.hash)).await.unwrap().records, 3);
    }

    async fn queries_select(place: &Place) {
        let journal = place.open().await;
        for number in 1..=6 {
            let mut draft = Draft { kind: format!("test.{}", number % 3), ..note(number) };
            if number % 2 == 0 {
                draft = Draft { subject: "even".to_owned(), rollout: None, ..draft };
            }
            journal.append(draft).await.unwrap();
        }
        let seqs = async |query: Query| -> Vec<u64> {
            journal.records(&query).await.unwrap().iter().map(|record| record.seq).collect()
        };
        let all = Query::default;
        assert_eq!(seqs(Query { subject: Some("even".to_owned()), ..all() }).await, [2, 4, 6]);
        assert_eq!(seqs(Query { rollout: Some("r1".to_owned()), ..all() }).await, [1, 3, 5]);
        let kinds = vec!["test.0".to_owned(), "test.1".to_owned()];
        assert_eq!(seqs(Query { kinds, ..all() }).await, [1, 3, 4, 6]);
        assert_eq!(seqs(Query { kinds: vec!["test.9".to_owned()], ..all() }).await, [0_u64; 0]);
        assert_eq!(seqs(Query { after_seq: Some(4), ..all() }).await, [5, 6]);
        assert_eq!(seqs(Query { limit: Some(2), newest_first: true, ..all() }).await, [6, 5]);
        let query = Query {
            subject: Some("even".to_owned()),
            after_seq: Some(2),
            limit: Some(1),
            newest_first: true,
            ..all()
        };
        assert_eq!(seqs(query).await, [6]);
    }

    async fn exports_verify(place: &Place) {
        let journal = place.open().await;
        for number in 0..2500 {
            // Not awaited one by one: they share transactions.
            let journal = journal.clone();
            tokio::spawn(async move { journal.append(note(number)).await.unwrap() });
        }
        while journal.head().await.unwrap().0 < 2500 {
            tokio::task::yield_now().await;
        }
        journal.append(draft("test.text", json!("line\nbreak \u{2028} \"quoted\" é"))).await.unwrap();
        let (_, head) = journal.head().await.unwrap();
        let mut whole = Vec::new();
        assert_eq!(journal.export(&mut whole, &Query::default()).await.unwrap(), 2501);
        let verified = verify_lines(whole.as_slice(), Extent::Whole, Some(&head)).unwrap();
        assert_eq!((verified.records, verified.head), (2501, head));

        // What programs make of a line and write again is the same line.
        let lines = String::from_utf8(whole).unwrap();
        let again: Vec<_> = lines
            .lines()
            .map(|line| serde_json::to_string(&serde_json::from_str::<spectra_journal::Record>(line).unwrap()).unwrap())
            .collect();
        assert_eq!(again.join("\n") + "\n", lines);

        // A selection: from one page into the next, and the last ones.
        let mut some = Vec::new();
        let query = Query { after_seq: Some(400), limit: Some(1500), ..Query::default() };
        assert_eq!(journal.export(&mut some, &query).await.unwrap(), 1500);
        assert!(verify_lines(some.as_slice(), Extent::Excerpt, None).is_ok());
        assert!(verify_lines(some.as_slice(), Extent::Whole, None).is_err());
        let mut last = Vec::new();
        let query = Query { limit: Some(2), newest_first: true, ..Query::default() };
        journal.export(&mut last, &query).await.unwrap();
        assert_eq!(lines.lines().skip(2499).collect::<Vec<_>>(), String::from_utf8(last).unwrap().lines().collect::<Vec<_>>());

        // A cut end shows by the anchor alone.
        let cut: String = lines.lines().take(2000).flat_map(|line| [line, "\n"]).collect();
        assert!(verify_lines(cut.as_bytes(), Extent::Whole, None).is_ok());
        let error = verify_lines(cut.as_bytes(), Extent::Whole, Some(&head)).unwrap_err();
        assert!(error.to_string().contains("noted elsewhere"), "{error}");
        // A field that nothing protects is not accepted.
        let more = lines.replacen(r#"{"version""#, r#"{"approved":true,"version""#, 1);
        assert!(verify_lines(more.as_bytes(), Extent::Whole, None).is_err());
    }

    async fn secrets_are_not_stored(place: &Place) {
        let secret: Secret<String> = "c4nary-in-the-journal".into();
        let journal = place.open().await;
        let body = json!({"deep": [{"text": format!("token={} end", secret.expose())}], "c4nary-in-the-journal": 1});
        let record = journal.append(draft("test.secret", body)).await.unwrap();
        assert_eq!(record.body["deep"][0]["text"], "token=[redacted] end");
        let mut holder = stranger("h");
        holder.run_url = Some("https://ci/?t=c4nary-in-the-journal".to_owned());
        journal.steal("s", holder, TTL, "because c4nary-in-the-journal").await.unwrap();
        let mut everything = Vec::new();
        journal.export(&mut everything, &Query::default()).await.unwrap();
        let everything = String::from_utf8(everything).unwrap() + &format!("{:?}", journal.leases().await.unwrap());
        assert!(!everything.contains("c4nary"), "{everything}");
        journal.verify(None).await.unwrap();
    }

    async fn a_journal_that_is_not_there_is_not_made(place: &Place) {
        let error = Journal::open_existing(&place.location()).await.unwrap_err();
        assert!(matches!(error, Error::Missing { .. }), "{error}");
        assert!(matches!(Journal::open_existing(&place.location()).await, Err(Error::Missing { .. })));
    }
}
