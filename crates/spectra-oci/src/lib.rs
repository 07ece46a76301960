//! Container images: building them from directories, reading archives and layouts, and pushing, resolving and
//! inspecting them in registries.
//!
//! Data goes one way. An input — a directory ([`ImageBuilder`]), an OCI layout or an archive ([`open`]) — becomes a
//! [`Artifact`], whose blobs are files with offset and length, so that every upload can be repeated from
//! the start. A [`Client`] takes it to a registry and answers with a `PinnedImage`. Nothing holds a layer in memory.

mod access_token;
mod archive;
mod auth;
mod authorize;
mod base;
mod body;
mod builder;
mod cache;
mod client;
mod companions;
mod compress;
mod content;
mod credentials;
mod document;
mod elsewhere;
mod engine;
mod error;
mod evidence;
mod gzip;
mod ignore;
mod inspect;
mod layer;
mod layers;
mod layout;
mod limits;
mod manifest;
mod model;
mod oci_archive;
mod opening;
mod pack;
mod progress;
mod pulse;
mod push;
mod referrers;
mod remote;
mod retry;
mod room;
mod saved;
mod select;
mod session;
mod source;
mod spool;
mod tar_index;
mod temporary;
mod text;
mod tree;
mod upload;
mod walk;

pub use access_token::{Access, AccessToken, Lifetime};
pub use base::Base;
pub use builder::{BuiltImage, BuiltIndex, ImageBuilder, LayerInput};
pub use cache::Cache;
pub use client::{Client, ClientOptions, Ping, Resolved};
pub use companions::{Companion, Companions};
pub use compress::{Codec, CodecError, Compression};
pub use credentials::{Credential, Environment, Keychain};
pub use engine::{Engine, Exported};
pub use error::Error;
pub use evidence::MAX_EVIDENCE;
pub use ignore::Patterns;
pub use inspect::{Inspection, LayerSummary};
pub use layer::{FileRule, Files, Owner};
pub use layers::Layer;
pub use layout::Layout;
pub use limits::OpenLimits;
pub use manifest::{Named, StoredOther};
pub use model::{
    Config, Descriptor, Healthcheck, ImageConfig, ImageIndex, ImageManifest, Platform, PlatformError,
    media_type,
};
pub use oci_archive::{Overwrite, archive_destination};
pub use opening::{Format, Opening, open, open_with, open_within};
pub use pack::{Packing, Trust};
pub use progress::{BlobOutcome, NoProgress, Progress};
pub use push::{PushOptions, Pushed};
pub use referrers::{Attached, Attachment};
pub use retry::RetryPolicy;
pub use source::{Artifact, Image, Index};
