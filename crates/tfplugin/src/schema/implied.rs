//! The type of the value that a schema describes. Stands in for `check::implied`: whoever lands that deletes this file.

use super::{Block, Nesting, Shape};
use crate::Type;

impl Shape {
    /// The type of the values.
    #[must_use]
    pub fn implied_type(&self) -> Type {
        match self {
            Self::Type(ty) => ty.clone(),
            Self::Nested(nested) => {
                let object = Type::object(nested.attributes.iter().map(|a| (a.name.clone(), a.shape.implied_type())));
                collect(nested.nesting, object)
            }
        }
    }
}

impl Block {
    /// The type of the value.
    #[must_use]
    pub fn implied_type(&self) -> Type {
        let attributes = self.attributes.iter().map(|a| (a.name.clone(), a.shape.implied_type()));
        let blocks = self.blocks.iter().map(|b| (b.name.clone(), collect(b.nesting, b.block.implied_type())));
        Type::object(attributes.chain(blocks))
    }

    pub(crate) fn complete(&self, v: crate::Value) -> crate::Value { v }
}

fn collect(nesting: Nesting, object: Type) -> Type {
    match nesting {
        Nesting::Single | Nesting::Group => object,
        Nesting::List => Type::list(object),
        Nesting::Set => Type::set(object),
        Nesting::Map => Type::map(object),
    }
}
