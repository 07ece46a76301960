//! Annotations that a signature has to carry in order to count.

use crate::{
    Accepted, Examination, Rejected, Rejection,
    examine::{TOLD, cut},
};

impl Examination {
    /// Counts signatures of the image only if all annotations, by name and value, were signed with them. Attestations stay.
    pub(crate) fn carrying(mut self, wanted: &[(String, String)]) -> Self {
        let rejected = &mut self.rejected;
        self.accepted.retain(|one| {
            let lack = if one.predicate_type.is_some() { None } else { lack(one, wanted) };
            let counts = lack.is_none();
            rejected.extend(lack.map(|reason| Rejected { origin: cut(one.origin.clone(), TOLD), reason }));
            counts
        });
        self
    }
}

/// The first annotation that a signature does not carry.
fn lack(one: &Accepted, wanted: &[(String, String)]) -> Option<Rejection> {
    wanted.iter().find_map(|(name, wanted)| {
        let found = one.annotations.get(name);
        (found != Some(wanted)).then(|| Rejection::OtherAnnotation {
            signer: one.key.clone(),
            name: name.clone(),
            wanted: wanted.clone(),
            found: found.map(|found| cut(found.clone(), TOLD)),
        })
    })
}

/// The annotations for a message, between commas: `, with the annotation a=1,`. One comma if there are none.
pub(crate) fn with_annotations(wanted: &[(String, String)]) -> String {
    let all: Vec<_> = wanted.iter().map(|(name, value)| format!("`{name}={value}`")).collect();
    match all.len() {
        0 => ",".to_owned(),
        1 => format!(", with the annotation {},", all[0]),
        _ => format!(", with the annotations {},", all.join(", ")),
    }
}
