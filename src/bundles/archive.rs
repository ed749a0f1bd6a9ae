//! A bundle's archive, read and checked as a whole: a stranger's file.
//!
//! Nothing of it is unpacked to disk. Names never become paths; sizes are known before anything is read, and what is
//! read is compared with them; every member must have a sum, and match it.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use super::limits::{JSON_BYTES_MAX, JSON_TOTAL_BYTES_MAX, MEMBERS_MAX, NAME_BYTES_MAX, TEXT_BYTES_MAX};
use super::manifest::{MANIFEST, Manifest};
use super::members::{self, Bundled, Members};
use super::sums::{self, Algorithm};
use crate::catalog::bundles::Contents;
use crate::images::unpack::zip::{Checked, Entry, ZipError, entries};

/// Why an archive is not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BundleError {
    /// It is no zip archive that can be read.
    #[error(transparent)]
    Zip(#[from] ZipError),
    /// A member's name could be a path, or is none.
    #[error("the bundle has a member with the name {0:?}, which no member may have")]
    Name(String),
    /// Two members of one name.
    #[error("the bundle has two members with the name {0:?}")]
    Twice(String),
    /// Two members share their bytes: a bomb.
    #[error("members of the bundle overlap")]
    Overlap,
    /// Something is too large.
    #[error("{what} of the bundle is too large: {bytes} bytes; at most {most} are allowed")]
    TooLarge {
        /// What is.
        what: String,
        /// How large it is.
        bytes: u64,
        /// How large it may be.
        most: u64,
    },
    /// A member that must be there is not.
    #[error("the bundle has no {0}")]
    Missing(String),
    /// A member has no sum, or another one.
    #[error("the member {0:?} of the bundle does not match its check sum")]
    Sum(String),
    /// A member is not what it must be.
    #[error("the member {name:?} of the bundle is not understood: {error}")]
    Json {
        /// The member.
        name: String,
        /// What is wrong with it.
        error: String,
    },
    /// Two artifacts of one kind and one name.
    #[error("the bundle has two artifacts of one kind with the name {0:?}")]
    TwoArtifacts(String),
    /// The file cannot be read.
    #[error("the bundle cannot be read: {0}")]
    Io(#[from] io::Error),
}

/// A bundle that was checked.
pub(crate) struct Archive {
    path: PathBuf,
    entries: HashMap<String, Entry>,
    /// SHA-256 of members, where the bundle has those.
    sums: HashMap<String, String>,
    /// What it says of itself.
    pub(crate) manifest: Manifest,
    pub(super) members: Members,
}

impl Archive {
    /// Reads and checks all of an archive. Takes as long as reading it.
    pub(crate) fn open(path: &Path, image_bytes_max: u64) -> Result<Self, BundleError> {
        let archive = Self::look(path, image_bytes_max)?;
        archive.check_sums()?;
        Ok(archive)
    }

    /// The same without reading the disks: for an archive that was checked before.
    pub(crate) fn look(path: &Path, image_bytes_max: u64) -> Result<Self, BundleError> {
        let file = File::open(path)?;
        let bytes = file.metadata()?.len();
        let entries = by_name(entries(&file, bytes, MEMBERS_MAX)?)?;
        check_sizes(&entries, image_bytes_max)?;
        let mut archive = Self {
            path: path.to_owned(),
            entries,
            sums: HashMap::new(),
            manifest: Manifest::default(),
            members: Members::default(),
        };
        archive.manifest = Manifest::parse(&archive.text(MANIFEST)?);
        if archive.manifest.name.is_empty() {
            return Err(BundleError::Missing("Artifact Name in its MANIFEST.MF".to_owned()));
        }
        archive.members = archive.artifacts()?;
        if let Some(name) = archive.members.twice() {
            return Err(BundleError::TwoArtifacts(name.to_owned()));
        }
        for image in &archive.members.images {
            if !archive.entries.contains_key(image.body.name.as_str()) {
                return Err(BundleError::Missing(format!(
                    "disk of golden image {:?}",
                    image.body.name.as_str()
                )));
            }
        }
        if archive.entries.contains_key(Algorithm::Sha256.member()) {
            archive.sums = sums::parse(&archive.text(Algorithm::Sha256.member())?);
        }
        Ok(archive)
    }

    /// What is in it, in short.
    pub(crate) fn contents(&self) -> Contents {
        self.members.contents()
    }

    /// SHA-256 of a member, if the bundle tells it.
    pub(super) fn sum_of(&self, name: &str) -> Option<&str> {
        self.sums.get(name).map(String::as_str)
    }

    /// A member's content, which ends well only when it is whole.
    pub(super) fn member(&self, name: &str) -> Result<Checked<File>, BundleError> {
        let entry = self.entries.get(name).ok_or_else(|| BundleError::Missing(name.to_owned()))?;
        Ok(entry.open(File::open(&self.path)?)?)
    }

    fn text(&self, name: &str) -> Result<String, BundleError> {
        let mut text = Vec::new();
        self.member(name)?.take(JSON_BYTES_MAX + 1).read_to_end(&mut text)?;
        String::from_utf8(text)
            .map_err(|error| BundleError::Json { name: name.to_owned(), error: error.to_string() })
    }

    fn artifacts(&self) -> Result<Members, BundleError> {
        Ok(Members {
            scripts: self.parsed(members::SCRIPT)?,
            build_plans: self.parsed(members::BUILD_PLAN)?,
            plans: self.parsed(members::DEPLOYMENT_PLAN)?,
            images: self.parsed(members::GOLDEN_IMAGE)?,
        })
    }

    /// All artifacts of one kind, in the order of the names of their members.
    fn parsed<T: DeserializeOwned>(&self, suffix: &str) -> Result<Vec<Bundled<T>>, BundleError> {
        let mut names: Vec<&String> = self.entries.keys().filter(|name| name.ends_with(suffix)).collect();
        names.sort();
        let parse = |name: &&String| {
            serde_json::from_str(&self.text(name)?)
                .map_err(|error| BundleError::Json { name: (*name).clone(), error: error.to_string() })
        };
        names.iter().map(parse).collect()
    }

    /// Every member has a sum, and matches it.
    fn check_sums(&self) -> Result<(), BundleError> {
        let algorithm = Algorithm::ALL.into_iter().find(|one| self.entries.contains_key(one.member()));
        let algorithm =
            algorithm.ok_or_else(|| BundleError::Missing(Algorithm::Sha256.member().to_owned()))?;
        let sums = sums::parse(&self.text(algorithm.member())?);
        for name in self.entries.keys().filter(|name| Algorithm::ALL.iter().all(|one| one.member() != *name))
        {
            let mut content = BufReader::new(self.member(name)?);
            let (sum, _) = algorithm.digest(&mut content)?;
            if sums.get(name) != Some(&sum) {
                return Err(BundleError::Sum(name.clone()));
            }
        }
        match sums.keys().find(|name| !self.entries.contains_key(*name)) {
            Some(name) => Err(BundleError::Missing(format!("member {name:?}, which has a check sum"))),
            None => Ok(()),
        }
    }
}

/// Members by their names, which must be those of files in one directory.
fn by_name(entries: Vec<Entry>) -> Result<HashMap<String, Entry>, BundleError> {
    let mut places: Vec<_> = entries.iter().map(Entry::place).filter(|place| !place.is_empty()).collect();
    places.sort_by_key(|place| place.start);
    if places.windows(2).any(|pair| pair[0].end > pair[1].start) {
        return Err(BundleError::Overlap);
    }
    let mut found = HashMap::new();
    let mut seen = HashSet::new();
    for entry in entries {
        let name = entry.name().to_owned();
        let is_path =
            name.contains(['/', '\\', '\0', '\u{fffd}']) || matches!(name.as_str(), "" | "." | "..");
        if is_path || name.chars().any(char::is_control) || name.len() > NAME_BYTES_MAX {
            return Err(BundleError::Name(name.chars().take(NAME_BYTES_MAX).collect()));
        }
        // As the catalog compares names, or a backup could not be restored.
        if !seen.insert(name.to_ascii_lowercase()) {
            return Err(BundleError::Twice(name));
        }
        found.insert(name, entry);
    }
    Ok(found)
}

fn check_sizes(entries: &HashMap<String, Entry>, image_bytes_max: u64) -> Result<(), BundleError> {
    let mut json_bytes = 0_u64;
    for (name, entry) in entries {
        let is_json = name.ends_with(".json");
        let is_text = name == MANIFEST || Algorithm::ALL.iter().any(|one| one.member() == name);
        let most = match (is_text, is_json) {
            (true, _) => TEXT_BYTES_MAX,
            (_, true) => JSON_BYTES_MAX,
            (false, false) => image_bytes_max,
        };
        if entry.bytes() > most {
            return Err(BundleError::TooLarge {
                what: format!("the member {name:?}"),
                bytes: entry.bytes(),
                most,
            });
        }
        json_bytes = json_bytes.saturating_add(if is_json { entry.bytes() } else { 0 });
    }
    let total = entries.values().fold(0_u64, |sum, entry| sum.saturating_add(entry.bytes()));
    let total_max = super::archive_bytes_max(image_bytes_max);
    for (what, bytes, most) in
        [("the artifacts", json_bytes, JSON_TOTAL_BYTES_MAX), ("the content", total, total_max)]
    {
        if bytes > most {
            return Err(BundleError::TooLarge { what: what.to_owned(), bytes, most });
        }
    }
    Ok(())
}
