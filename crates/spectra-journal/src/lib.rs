//! An append-only, hash-chained journal, and leases that guard what is written to it.
//!
//! The journal knows records, subjects and holders; it does not know what a rollout is. It lives in a SQLite
//! file or in a PostgreSQL database, told apart by URL ([`Location`]).
//!
//! - Records have gapless numbers, and each one's hash covers all of it and the hash of the record before. A
//!   head row remembers the last one. [`Journal::verify`] finds what was edited, removed, reordered or cut
//!   off; with an anchor (a hash noted elsewhere) also a journal that was written anew as a whole.
//! - A [`Lease`] has a holder, a time to live and a fencing number, which only rises. An append under a lease
//!   checks the number in the transaction that appends, so that a holder who was slow, stopped or replaced
//!   cannot write any more.
//! - Nothing that the process knows as a secret is stored: bodies pass [`spectra_types::Redactor::global`].
//!
//! What was chosen and why: `docs/design/009-journal.md`.

mod clock;
mod error;
mod export;
mod holder;
mod journal;
mod lease;
mod location;
mod operation;
mod postgres;
mod record;
mod sqlite;
mod store;
mod tls;
mod verify;

pub use clock::{Clock, ManualClock, SystemClock};
pub use error::Error;
pub use export::verify_lines;
pub use holder::Holder;
pub use journal::Journal;
pub use lease::{Acquisition, Held, Lease, LeaseEnd, kinds};
pub use location::{DEFAULT_JOURNAL, JOURNAL_VARIABLE, Location, SslMode};
pub use record::{Draft, Hash, HashError, Query, RECORD_VERSION, Record};
pub use verify::{Extent, Fault, Verification, Violation, Violations};
