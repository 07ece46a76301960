//! Finding the elements of a set that agree with another in all but some places, without comparing all pairs.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, HashMap};
use std::hash::{Hash, Hasher};

use crate::Value;

/// Which places of a value matter.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Mask {
    /// All of it.
    All,
    /// None of it.
    Any,
    /// By element of a list or tuple.
    Elements(Vec<Mask>),
    /// By attribute or key; of names that are not here, all of it.
    Entries(BTreeMap<String, Mask>),
}

impl Mask {
    /// A mask of entries; if all of every one matters, all of the whole does.
    pub(super) fn entries(entries: impl IntoIterator<Item = (String, Mask)>) -> Self {
        let entries: BTreeMap<String, Mask> =
            entries.into_iter().filter(|(_, mask)| *mask != Self::All).collect();
        if entries.is_empty() { Self::All } else { Self::Entries(entries) }
    }

    /// What of `value` is known. A set with unknowns inside does not matter: its elements have no identity.
    pub(super) fn known(value: &Value) -> Self {
        match value {
            Value::Unknown(_) => Self::Any,
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Self::All,
            Value::Set(_) => {
                if value.is_wholly_known() {
                    Self::All
                } else {
                    Self::Any
                }
            }
            Value::Dynamic(inner) => Self::known(&inner.1),
            Value::List(elements) | Value::Tuple(elements) => {
                let elements: Vec<Self> = elements.iter().map(Self::known).collect();
                if elements.iter().all(|mask| *mask == Self::All) {
                    Self::All
                } else {
                    Self::Elements(elements)
                }
            }
            Value::Map(entries) | Value::Object(entries) => {
                Self::entries(entries.iter().map(|(name, value)| (name.clone(), Self::known(value))))
            }
        }
    }

    /// Whether two values agree in the places that matter.
    pub(super) fn agree(&self, a: &Value, b: &Value) -> bool {
        match (self, a.unwrap_dynamic(), b.unwrap_dynamic()) {
            (Self::Any, _, _) => true,
            (Self::Elements(masks), Value::List(a), Value::List(b))
            | (Self::Elements(masks), Value::Tuple(a), Value::Tuple(b)) => {
                a.len() == b.len()
                    && a.iter()
                        .zip(b)
                        .enumerate()
                        .all(|(index, (a, b))| masks.get(index).unwrap_or(&Self::All).agree(a, b))
            }
            (Self::Entries(masks), Value::Map(a), Value::Map(b))
            | (Self::Entries(masks), Value::Object(a), Value::Object(b)) => {
                a.len() == b.len()
                    && a.iter().zip(b).all(|((name, a), (other, b))| {
                        name == other && masks.get(name).unwrap_or(&Self::All).agree(a, b)
                    })
            }
            (_, a, b) => a == b,
        }
    }

    /// A hash of the places of `value` that matter. Values that agree in those have the same.
    fn hash_of(&self, value: &Value) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.hash_into(value, &mut hasher);
        hasher.finish()
    }

    fn hash_into(&self, value: &Value, hasher: &mut DefaultHasher) {
        match (self, value.unwrap_dynamic()) {
            (Self::Any, _) => {}
            (Self::Elements(masks), Value::List(elements) | Value::Tuple(elements)) => {
                elements.len().hash(hasher);
                for (index, value) in elements.iter().enumerate() {
                    masks.get(index).unwrap_or(&Self::All).hash_into(value, hasher);
                }
            }
            (Self::Entries(masks), Value::Map(entries) | Value::Object(entries)) => {
                for (name, value) in entries {
                    name.hash(hasher);
                    masks.get(name).unwrap_or(&Self::All).hash_into(value, hasher);
                }
            }
            (_, value) => value.hash(hasher),
        }
    }
}

/// Elements of a set, found by what they agree in.
pub(super) struct Index<'a> {
    elements: &'a [Value],
    by_mask: HashMap<Mask, HashMap<u64, Vec<usize>>>,
}

impl<'a> Index<'a> {
    pub(super) fn new(elements: &'a [Value]) -> Self {
        Self { elements, by_mask: HashMap::new() }
    }

    /// The elements, by position, that may agree with `value` in all places that matter. Linear in the number of
    /// elements the first time a mask is seen; sets have few different ones.
    pub(super) fn candidates(&mut self, mask: &Mask, value: &Value) -> &[usize] {
        let elements = self.elements;
        let by_hash = self.by_mask.entry(mask.clone()).or_insert_with(|| {
            let mut by_hash: HashMap<u64, Vec<usize>> = HashMap::new();
            for (position, element) in elements.iter().enumerate() {
                by_hash.entry(mask.hash_of(element)).or_default().push(position);
            }
            by_hash
        });
        by_hash.get(&mask.hash_of(value)).map_or(&[], Vec::as_slice)
    }
}
