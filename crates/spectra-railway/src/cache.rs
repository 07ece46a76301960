//! Reads shared by everybody who asks within a moment.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::error::Result;

/// At most one fetch of a key at a time; its result answers everybody until it is old or invalidated.
///
/// A result whose fetch began before an invalidation is given to nobody who asks after it. One whose fetch began after
/// somebody asked answers that somebody, whatever was invalidated or grew old meanwhile: many who want the truth of now
/// at the same time share one look at it. Failures are not kept.
pub(crate) struct SingleFlight<K, V> {
    slots: Mutex<HashMap<K, Arc<Slot<V>>>>,
}

struct Slot<V> {
    generation: AtomicU64,
    /// How many fetches were begun.
    begun: AtomicU64,
    value: tokio::sync::Mutex<Option<Entry<V>>>,
}

struct Entry<V> {
    generation: u64,
    /// Which fetch it was, from 0.
    number: u64,
    fetched_at: Duration,
    value: Arc<V>,
}

/// What a result has to be at least, for somebody who asks now.
struct Asked {
    generation: u64,
    number: u64,
}

impl<V> Slot<V> {
    fn asked(&self) -> Asked {
        let number = self.begun.load(Ordering::Acquire);
        Asked { generation: self.generation.load(Ordering::Acquire), number }
    }
}

impl<K, V> fmt::Debug for SingleFlight<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SingleFlight")
    }
}

impl<K, V> Default for SingleFlight<K, V> {
    fn default() -> Self {
        Self { slots: Mutex::default() }
    }
}

impl<K: Eq + Hash + Clone, V> SingleFlight<K, V> {
    fn slot(&self, key: &K) -> Arc<Slot<V>> {
        // Every write below is one insertion, so a poisoned map is still whole.
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(slots.entry(key.clone()).or_insert_with(|| {
            Arc::new(Slot {
                generation: AtomicU64::new(0),
                begun: AtomicU64::new(0),
                value: tokio::sync::Mutex::new(None),
            })
        }))
    }

    /// The kept value, or a fetched one. `now` is asked when this is called, and again after the wait for somebody else's
    /// fetch.
    pub(crate) async fn get<F>(
        &self,
        key: &K,
        ttl: Duration,
        now: impl Fn() -> Duration,
        fetch: impl FnOnce() -> F,
    ) -> Result<Arc<V>>
    where
        F: Future<Output = Result<V>>,
    {
        self.get_after(key, ttl, now, |_| std::future::ready(()), fetch).await
    }

    /// The same with a pause before a fetch, which is told when the last one began. Everybody who asks during the pause
    /// shares the fetch behind it.
    pub(crate) async fn get_after<P, F>(
        &self,
        key: &K,
        ttl: Duration,
        now: impl Fn() -> Duration,
        pause: impl FnOnce(Duration) -> P,
        fetch: impl FnOnce() -> F,
    ) -> Result<Arc<V>>
    where
        P: Future<Output = ()>,
        F: Future<Output = Result<V>>,
    {
        let slot = self.slot(key);
        let asked = slot.asked();
        let mut value = slot.value.lock().await;
        if let Some(entry) = &*value
            && entry.generation >= asked.generation
            && (entry.number >= asked.number || now().saturating_sub(entry.fetched_at) < ttl)
        {
            return Ok(Arc::clone(&entry.value));
        }
        if let Some(entry) = &*value {
            pause(entry.fetched_at).await;
        }
        let fetched_at = now();
        let number = slot.begun.fetch_add(1, Ordering::AcqRel);
        // After the number: whoever asks from here on sees the next number and, if something changed, the next generation.
        let generation = slot.generation.load(Ordering::Acquire);
        let fresh = Arc::new(fetch().await?);
        *value = Some(Entry { generation, number, fetched_at, value: Arc::clone(&fresh) });
        Ok(fresh)
    }

    pub(crate) fn invalidate(&self, key: &K) {
        self.slot(key).generation.fetch_add(1, Ordering::AcqRel);
    }

    pub(crate) fn invalidate_all(&self) {
        let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        for slot in slots.values() {
            slot.generation.fetch_add(1, Ordering::AcqRel);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;
    use crate::error::{Error, ErrorKind};

    const TTL: Duration = Duration::from_secs(5);

    #[tokio::test]
    async fn many_readers_one_fetch() {
        let cache = Arc::new(SingleFlight::<u8, usize>::default());
        let fetches = Arc::new(AtomicUsize::new(0));
        let readers = (0..50).map(|_| {
            let (cache, fetches) = (Arc::clone(&cache), Arc::clone(&fetches));
            tokio::spawn(async move {
                let fetch = || async {
                    tokio::task::yield_now().await;
                    Ok(fetches.fetch_add(1, Ordering::SeqCst))
                };
                *cache.get(&1, TTL, Duration::default, fetch).await.unwrap()
            })
        });
        for reader in futures::future::join_all(readers).await {
            assert_eq!(reader.unwrap(), 0);
        }
        assert_eq!(fetches.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn age_and_invalidation_end_a_value_and_failures_are_not_kept() {
        let cache = SingleFlight::<u8, u32>::default();
        let get = |at: u64, value: Result<u32>| {
            let cache = &cache;
            async move { cache.get(&1, TTL, || Duration::from_secs(at), || async { value }).await.map(|v| *v) }
        };
        let failure = Error::new(ErrorKind::Transport, "Test", "no");
        assert!(get(0, Err(failure)).await.is_err());
        assert_eq!(get(0, Ok(1)).await.unwrap(), 1);
        assert_eq!(get(4, Ok(2)).await.unwrap(), 1);
        assert_eq!(get(5, Ok(3)).await.unwrap(), 3);
        cache.invalidate(&1);
        assert_eq!(get(5, Ok(4)).await.unwrap(), 4);
        cache.invalidate_all();
        assert_eq!(get(5, Ok(5)).await.unwrap(), 5);
    }

    #[tokio::test]
    async fn what_was_fetched_before_an_invalidation_serves_nobody_after_it() {
        let cache = SingleFlight::<u8, u32>::default();
        let fetch = || async {
            cache.invalidate(&1);
            Ok(1)
        };
        assert_eq!(*cache.get(&1, TTL, Duration::default, fetch).await.unwrap(), 1);
        assert_eq!(*cache.get(&1, TTL, Duration::default, || async { Ok(2) }).await.unwrap(), 2);
    }

    #[tokio::test]
    async fn many_who_want_the_truth_of_now_share_the_fetch_that_begins_after_they_asked() {
        let cache = Arc::new(SingleFlight::<u8, usize>::default());
        let fetches = Arc::new(AtomicUsize::new(0));
        // One fetch is on its way, and takes so long that whatever is kept is old by then.
        let (open, gate) = tokio::sync::oneshot::channel::<()>();
        let now = Arc::new(AtomicU64::new(0));
        let read = |gate: Option<tokio::sync::oneshot::Receiver<()>>| {
            let (cache, fetches, now) = (Arc::clone(&cache), Arc::clone(&fetches), Arc::clone(&now));
            async move {
                cache.invalidate(&1);
                let clock = || Duration::from_secs(now.fetch_add(60, Ordering::SeqCst));
                let fetch = || async {
                    let number = fetches.fetch_add(1, Ordering::SeqCst);
                    if let Some(gate) = gate {
                        gate.await.unwrap();
                    }
                    tokio::task::yield_now().await;
                    Ok(number)
                };
                *cache.get(&1, TTL, clock, fetch).await.unwrap()
            }
        };
        let first = tokio::spawn(read(Some(gate)));
        tokio::task::yield_now().await;
        let others: Vec<_> = (0..50).map(|_| tokio::spawn(read(None))).collect();
        tokio::task::yield_now().await;
        open.send(()).unwrap();
        assert_eq!(first.await.unwrap(), 0);
        for other in others {
            assert_eq!(other.await.unwrap(), 1, "the fetch that was on its way began before they asked");
        }
        assert_eq!(fetches.load(Ordering::SeqCst), 2);
    }
}
