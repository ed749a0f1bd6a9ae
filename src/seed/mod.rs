//! Seeds: what cloud-init and Ignition find beside a volume, made from the attributes that plan scripts are filled in
//! with. Pure: option and values in, files and the bytes of a small disk out.
//!
//! ```text
//!  option + values ──► Source ── check() when a deployment is prepared: what is missing is told before anything is done
//!                        │ seed(volume id), when the volume has been made
//!                        ▼
//!                      Seed ──► kept in the catalog's row of the volume ──► disk() whenever it is exported
//!                        └────► esp::step(): or written to the EFI system partition at once
//! ```
//! A seed is kept as it was made: whoever edits a plan, moves a server or rolls back finds each volume's own.

mod disk;
pub mod esp;
mod facts;
mod fill;
mod ignition;
mod nocloud;
mod yaml;

use api::{Attach, CloudInit, CustomAttribute, Datasource};
use script::Values;
use serde::{Deserialize, Serialize};

pub use disk::unit_id;
pub use facts::Facts;
pub use fill::{Fault, Language};

/// Name by which a template asks for the volume's id.
pub const VOLUME_ID: &str = "_Volume.id";
/// Most bytes of all files of a seed.
pub const BYTES_MAX: usize = 1 << 20;

/// What a seed is made from.
#[derive(Debug, Clone)]
pub struct Source {
    /// The plan's option.
    pub option: CloudInit,
    /// What is known of the machine.
    pub facts: Facts,
}

/// A seed as it is kept.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seed {
    /// Who reads it.
    pub datasource: Datasource,
    /// Where it is.
    pub attach: Attach,
    /// The directory on the EFI system partition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub esp_path: Option<String>,
    /// Its files.
    pub files: Vec<File>,
}

/// A file of a seed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    /// Its name.
    pub name: String,
    /// Its content.
    pub text: String,
}

/// There are passwords in it: it is not for logs.
impl std::fmt::Debug for Seed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<_> = self.files.iter().map(|file| &file.name).collect();
        f.debug_struct("Seed").field("attach", &self.attach).field("files", &names).finish_non_exhaustive()
    }
}

impl Source {
    /// What a plan's option, its attributes and their values make for a machine of this name, if a seed can be made of it.
    ///
    /// # Errors
    /// What is missing or wrong, and where.
    pub fn checked(
        option: CloudInit,
        attributes: &[CustomAttribute],
        values: Values,
        name: &str,
    ) -> Result<Self, Fault> {
        let source = Self { option, facts: Facts::gather(attributes, values, name)? };
        source.check()?;
        Ok(source)
    }

    /// Whether a seed can be made of it.
    ///
    /// # Errors
    /// What is missing or wrong, and where.
    pub fn check(&self) -> Result<(), Fault> {
        self.seed("00000000000000000000000000000000").map(drop)
    }

    /// The seed of a volume.
    ///
    /// # Errors
    /// What is missing or wrong, and where.
    pub fn seed(&self, volume: &str) -> Result<Seed, Fault> {
        let mut facts = self.facts.clone();
        facts.values.set(VOLUME_ID, volume, false);
        let files = match self.option.datasource {
            Datasource::NoCloud => nocloud::files(&self.option, &facts, volume)?,
            Datasource::Ignition => ignition::files(&self.option, &facts)?,
        };
        let bytes: usize = files.iter().map(|file| file.text.len()).sum();
        if bytes > BYTES_MAX {
            return Err(Fault::whole(
                "cloudInit",
                format!("the seed has {bytes} bytes; at most {BYTES_MAX} fit"),
            ));
        }
        let esp_path = self.option.esp_path.clone();
        Ok(Seed { datasource: self.option.datasource, attach: self.option.attach, esp_path, files })
    }
}

/// Checks what a plan says, as far as that can be done without values.
///
/// # Errors
/// The field at fault, and what is wrong, in words.
pub fn check_option(option: &CloudInit) -> Result<(), (&'static str, String)> {
    let is_nocloud = option.datasource == Datasource::NoCloud;
    for (name, text) in option.templates() {
        if text.len() > api::CLOUD_TEXT_BYTES_MAX {
            let most = api::CLOUD_TEXT_BYTES_MAX;
            return Err((name, format!("the text has {} bytes; at most {most} are allowed", text.len())));
        }
        if text.contains('\0') {
            return Err((name, "the text has a NUL byte".to_owned()));
        }
        if !is_nocloud && name != "userData" {
            return Err((name, "Ignition has one file: its configuration, in userData".to_owned()));
        }
    }
    if let Some(path) = &option.esp_path {
        if option.attach != Attach::Esp {
            return Err((
                "espPath",
                "it is for a seed on the EFI system partition: \"attach\": \"esp\"".to_owned(),
            ));
        }
        esp::check_path(path).map_err(|error| ("espPath", error))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
