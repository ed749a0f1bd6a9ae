//! Artifact bundles: archives that carry artifacts from one server to another, in HPE's own format.
//!
//! ```text
//!   zip, flat:  <uuid>_planscript.json  <uuid>_buildplan.json  <uuid>_deploymentplan.json  <uuid>_goldenimage.json
//!               <name of the golden image>      its disk: a zip with one file
//!               MANIFEST.MF                     name, description, read-only, time
//!               SHA256SUM.sha256sum             name<TAB>hex, of every other member  (older ones: SHA1SUM.sha1sum)
//! ```
//! Inside, artifacts refer to each other by name. An upload is checked as a whole ([`Archive::open`]) before anything is
//! kept; extracting makes all of its artifacts, or none. The archives lie in a directory beside the catalog.

mod archive;
mod create;
mod directory;
mod extract;
mod limits;
mod manifest;
mod members;
mod sums;
mod write;

pub(crate) use archive::{Archive, BundleError};
pub(crate) use create::{Chosen, choose, choose_all};
pub(crate) use directory::{Directory, Unkept};
pub(crate) use extract::{Incoming, Mode, extract};
pub(crate) use limits::archive_bytes_max;
pub(crate) use manifest::Manifest;
pub(crate) use write::write;

#[cfg(test)]
mod tests;
