//! `Bucket`: there is none, and none can be made.

use async_graphql::{ID, SimpleObject};

use super::connection;
use super::scalars::DateTime;

#[derive(SimpleObject)]
pub(crate) struct Bucket {
    created_at: DateTime,
    group_id: Option<String>,
    id: ID,
    name: String,
    project_id: String,
    updated_at: DateTime,
}

connection!(ProjectBucketsConnection, ProjectBucketsConnectionEdge, Bucket);
