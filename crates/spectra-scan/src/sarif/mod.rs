//! SARIF 2.1.0, the format that scanners and code hosts exchange findings in.

mod read;
mod write;

pub use read::{Log, read};
pub use write::{Kind, Suppressed, Writer};

#[cfg(test)]
mod tests;
