//! Numbers of any size and precision.

use bigdecimal::BigDecimal;

/// A number, exact: Terraform's numbers have neither the range nor the rounding of `f64`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Number(BigDecimal);
