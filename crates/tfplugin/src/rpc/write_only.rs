//! Write-only attributes: seen in configuration, and nowhere else.

use crate::Value;
use crate::schema::Block;

/// Makes every write-only attribute null, all the way down. A schema without any leaves the value as it is.
pub(super) fn strip(block: &Block, value: &mut Value) {
    if block.any_attribute(|attribute| attribute.write_only) {
        *value = block.without_write_only(std::mem::take(value));
    }
}
