//! Equality, order and hash of values. Sets are multisets: every comparison takes O(n log n).

use std::cmp::Ordering;
use std::collections::HashSet;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::mem::discriminant;

use super::Value;

/// A hash that is the same in every process and for every order of set elements.
pub(crate) fn stable_hash(value: &Value) -> u64 {
    // `DefaultHasher::new` is SipHash with fixed keys.
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// The elements in canonical order.
pub(crate) fn sorted(elements: &[Value]) -> Vec<&Value> {
    let mut sorted: Vec<&Value> = elements.iter().collect();
    sorted.sort();
    sorted
}

/// Drops every element that is equal to an earlier one. Elements that are not wholly known stay: whether they
/// are equal is not known either.
pub(crate) fn dedup_set(elements: Vec<Value>) -> Vec<Value> {
    let mut seen = HashSet::with_capacity(elements.len());
    let keep: Vec<bool> =
        elements.iter().map(|element| !element.is_wholly_known() || seen.insert(element)).collect();
    if keep.iter().all(|keep| *keep) {
        return elements;
    }
    elements.into_iter().zip(keep).filter_map(|(element, keep)| keep.then_some(element)).collect()
}

/// Whether two sets hold the same elements, each equally often.
fn same_elements(a: &[Value], b: &[Value]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    // Most sets that are compared come from one another, in the same order.
    if a == b {
        return true;
    }
    // Ordering by hash first looks into each element once, however deep sets are nested in sets.
    let by_hash = |elements: &[Value]| -> Vec<(u64, usize)> {
        let mut hashes: Vec<(u64, usize)> =
            elements.iter().enumerate().map(|(index, element)| (stable_hash(element), index)).collect();
        hashes.sort_unstable_by(|x, y| x.0.cmp(&y.0).then_with(|| elements[x.1].cmp(&elements[y.1])));
        hashes
    };
    by_hash(a).iter().zip(by_hash(b)).all(|(x, y)| x.0 == y.0 && a[x.1] == b[y.1])
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Unknown(a), Self::Unknown(b)) => a == b,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::Number(a), Self::Number(b)) => a == b,
            (Self::String(a), Self::String(b)) => a == b,
            (Self::List(a), Self::List(b)) | (Self::Tuple(a), Self::Tuple(b)) => a == b,
            (Self::Set(a), Self::Set(b)) => same_elements(a, b),
            (Self::Map(a), Self::Map(b)) | (Self::Object(a), Self::Object(b)) => a == b,
            (Self::Dynamic(a), Self::Dynamic(b)) => a == b,
            _ => false,
        }
    }
}

impl Eq for Value {}

impl Hash for Value {
    fn hash<H: Hasher>(&self, state: &mut H) {
        discriminant(self).hash(state);
        match self {
            Self::Null => {}
            Self::Unknown(unknown) => unknown.hash(state),
            Self::Bool(truth) => truth.hash(state),
            Self::Number(number) => number.hash(state),
            Self::String(text) => text.hash(state),
            Self::List(elements) | Self::Tuple(elements) => elements.hash(state),
            Self::Set(elements) => {
                elements.len().hash(state);
                elements.iter().map(stable_hash).fold(0_u64, u64::wrapping_add).hash(state);
            }
            Self::Map(entries) | Self::Object(entries) => entries.hash(state),
            Self::Dynamic(inner) => inner.hash(state),
        }
    }
}

impl PartialOrd for Value {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// A total order: by kind, then strings by bytes, numbers by value, false before true, collections by element.
impl Ord for Value {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Unknown(a), Self::Unknown(b)) => a.cmp(b),
            (Self::Bool(a), Self::Bool(b)) => a.cmp(b),
            (Self::Number(a), Self::Number(b)) => a.cmp(b),
            (Self::String(a), Self::String(b)) => a.cmp(b),
            (Self::List(a), Self::List(b)) | (Self::Tuple(a), Self::Tuple(b)) => a.cmp(b),
            (Self::Set(a), Self::Set(b)) => sorted(a).cmp(&sorted(b)),
            (Self::Map(a), Self::Map(b)) | (Self::Object(a), Self::Object(b)) => a.cmp(b),
            (Self::Dynamic(a), Self::Dynamic(b)) => a.cmp(b),
            _ => rank(self).cmp(&rank(other)),
        }
    }
}

const fn rank(value: &Value) -> u8 {
    match value {
        Value::Null => 0,
        Value::Unknown(_) => 1,
        Value::Bool(_) => 2,
        Value::Number(_) => 3,
        Value::String(_) => 4,
        Value::List(_) => 5,
        Value::Set(_) => 6,
        Value::Map(_) => 7,
        Value::Tuple(_) => 8,
        Value::Object(_) => 9,
        Value::Dynamic(_) => 10,
    }
}
