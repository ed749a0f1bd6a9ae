//! Servers, where they are, and the profiles that are assigned to them.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

#[derive(Debug, Subcommand)]
pub(crate) enum HardwareTypeCommand {
    /// Makes a hardware type.
    Create {
        /// Name of the hardware type.
        name: String,
        /// The model, in words.
        #[arg(long)]
        model: Option<String>,
        /// What it is for, in words.
        #[arg(long)]
        description: Option<String>,
    },
    /// Lists hardware types.
    #[command(visible_alias = "ls")]
    List,
    /// Shows one hardware type.
    Show {
        /// Name or id.
        name: String,
    },
    /// Changes a hardware type's name or words.
    Edit {
        /// Name or id.
        name: String,
        /// The new name.
        #[arg(long, value_name = "NAME")]
        rename: Option<String>,
        /// The model, in words.
        #[arg(long)]
        model: Option<String>,
        /// What it is for, in words.
        #[arg(long)]
        description: Option<String>,
    },
    /// Removes a hardware type that no server and no profile is of.
    #[command(visible_alias = "rm")]
    Remove {
        /// Name or id.
        name: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum HardwareCommand {
    /// Adds a server.
    Add {
        /// Name of the server.
        name: String,
        /// Its hardware type, by name or id.
        #[arg(long = "type", value_name = "TYPE")]
        hardware_type: String,
        #[command(flatten)]
        facts: HardwareFacts,
        /// Whether it runs.
        #[arg(long, value_enum, default_value_t = Power::Unknown)]
        power: Power,
    },
    /// Lists servers.
    #[command(visible_alias = "ls")]
    List,
    /// Shows one server.
    Show {
        /// Name, id or UUID.
        name: String,
    },
    /// Changes a server. While a profile is assigned to it, its type, enclosure and initiator name stay.
    Edit {
        /// Name, id or UUID.
        name: String,
        /// The new name.
        #[arg(long, value_name = "NAME")]
        rename: Option<String>,
        /// Its hardware type, by name or id.
        #[arg(long = "type", value_name = "TYPE")]
        hardware_type: Option<String>,
        #[command(flatten)]
        facts: HardwareFacts,
    },
    /// Records whether a server runs. osvold does not switch it.
    Power {
        /// Name, id or UUID.
        name: String,
        /// What to record.
        #[arg(value_enum)]
        power: Power,
    },
    /// Removes a server that no profile is assigned to.
    #[command(visible_alias = "rm")]
    Remove {
        /// Name, id or UUID.
        name: String,
        #[command(flatten)]
        consent: Consent,
    },
}

/// What a server is. `none` takes a value away.
#[derive(Debug, Args)]
pub(crate) struct HardwareFacts {
    /// Its logical enclosure, by name or id, or `none` for a host outside any enclosure.
    #[arg(long, value_name = "ENCLOSURE|none")]
    pub(crate) enclosure: Option<String>,
    /// Its bay.
    #[arg(long, value_name = "NUMBER")]
    pub(crate) bay: Option<u32>,
    /// Address of a network card, such as 52:54:00:12:34:56; may be given several times. Those given are all it has.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) mac: Vec<String>,
    /// The UUID that its firmware gives.
    #[arg(long)]
    pub(crate) uuid: Option<String>,
    /// Its serial number.
    #[arg(long)]
    pub(crate) serial: Option<String>,
    /// The iSCSI name that it has and keeps whatever its profile is, or `none` to use its profile's.
    #[arg(long, value_name = "IQN|none")]
    pub(crate) initiator: Option<String>,
    /// What it is for, in words.
    #[arg(long)]
    pub(crate) description: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Power {
    On,
    Off,
    Unknown,
}

#[derive(Debug, Subcommand)]
pub(crate) enum EnclosureGroupCommand {
    /// Makes an enclosure group, whose profiles may have deployment plans.
    Create {
        /// Name of the enclosure group.
        name: String,
        /// Profiles of the group get no deployment plans.
        #[arg(long)]
        no_deployment: bool,
        /// What it is for, in words.
        #[arg(long)]
        description: Option<String>,
    },
    /// Lists enclosure groups.
    #[command(visible_alias = "ls")]
    List,
    /// Shows one enclosure group.
    Show {
        /// Name or id.
        name: String,
    },
    /// Changes an enclosure group.
    Edit {
        /// Name or id.
        name: String,
        /// The new name.
        #[arg(long, value_name = "NAME")]
        rename: Option<String>,
        /// Whether its profiles may have deployment plans.
        #[arg(long, value_name = "true|false")]
        deployment: Option<bool>,
        /// What it is for, in words.
        #[arg(long)]
        description: Option<String>,
    },
    /// Removes an enclosure group that no enclosure and no profile is of.
    #[command(visible_alias = "rm")]
    Remove {
        /// Name or id.
        name: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum EnclosureCommand {
    /// Makes a logical enclosure: its servers reach the same volumes, and no others do.
    Create {
        /// Name of the logical enclosure.
        name: String,
        /// Its enclosure group, by name or id.
        #[arg(long)]
        group: String,
        /// What it is for, in words.
        #[arg(long)]
        description: Option<String>,
    },
    /// Lists logical enclosures.
    #[command(visible_alias = "ls")]
    List,
    /// Shows one logical enclosure.
    Show {
        /// Name or id.
        name: String,
    },
    /// Changes a logical enclosure's name or words.
    Edit {
        /// Name or id.
        name: String,
        /// The new name.
        #[arg(long, value_name = "NAME")]
        rename: Option<String>,
        /// What it is for, in words.
        #[arg(long)]
        description: Option<String>,
    },
    /// Moves a logical enclosure to another enclosure group. Its volumes stay as they are.
    Move {
        /// Name or id.
        name: String,
        /// The enclosure group, by name or id.
        #[arg(long, value_name = "GROUP")]
        to: String,
        #[command(flatten)]
        consent: Consent,
    },
    /// Removes a logical enclosure, and the volumes of unassigned profiles that live in it.
    #[command(visible_alias = "rm")]
    Remove {
        /// Name or id.
        name: String,
        #[command(flatten)]
        consent: Consent,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ProfileCommand {
    /// Makes a profile. With a plan and a server it has its OS volume at once; without a server it waits for one.
    Create {
        /// Name of the profile.
        name: String,
        /// Server to assign it to, by name or id.
        #[arg(long)]
        hardware: Option<String>,
        /// Deployment plan, by name or id.
        #[arg(long)]
        plan: Option<String>,
        #[command(flatten)]
        settings: ProfileSettings,
        #[command(flatten)]
        consent: Consent,
    },
    /// Assigns a profile to a server, or moves it to another.
    Assign {
        /// Name or id.
        name: String,
        /// The server, by name or id.
        #[arg(long)]
        hardware: String,
        #[command(flatten)]
        consent: Consent,
    },
    /// Takes a profile from its server. Its volume stays, and nobody can log in to it.
    Unassign {
        /// Name or id.
        name: String,
        #[command(flatten)]
        consent: Consent,
    },
    /// Changes a profile. A new plan, hardware type or attribute value means a new volume.
    Edit {
        /// Name or id.
        name: String,
        /// The new name.
        #[arg(long, value_name = "NAME")]
        rename: Option<String>,
        /// Deployment plan, by name or id, or `none`.
        #[arg(long, value_name = "PLAN|none")]
        plan: Option<String>,
        /// Attribute whose value is the plan's again; may be given several times.
        #[arg(long, value_name = "NAME")]
        no_attribute: Vec<String>,
        #[command(flatten)]
        settings: ProfileSettings,
        #[command(flatten)]
        consent: Consent,
    },
    /// Lists profiles.
    #[command(visible_alias = "ls")]
    List,
    /// Shows one profile.
    Show {
        /// Name or id.
        name: String,
    },
    /// Lists the volumes that a profile has and had.
    Generations {
        /// Name or id.
        name: String,
    },
    /// Takes a profile back to a volume that it had before. The present one is kept in its place.
    Rollback {
        /// Name or id.
        name: String,
        /// The generation, as `osvol profile generations` numbers them.
        generation: u64,
        #[command(flatten)]
        consent: Consent,
    },
    /// Makes a profile's volume anew from its plan, with the same values.
    Redeploy {
        /// Name or id.
        name: String,
        #[command(flatten)]
        consent: Consent,
    },
    /// Removes a profile and its volumes.
    #[command(visible_alias = "rm")]
    Remove {
        /// Name or id.
        name: String,
        #[command(flatten)]
        consent: Consent,
    },
}

/// What a profile is, beside its name, its server and its plan.
#[derive(Debug, Args)]
pub(crate) struct ProfileSettings {
    /// Hardware type, by name or id, of a profile without a server.
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) hardware_type: Option<String>,
    /// Enclosure group, by name or id, of a profile without a server.
    #[arg(long, value_name = "GROUP")]
    pub(crate) enclosure_group: Option<String>,
    /// Value of one of the plan's attributes; may be given several times.
    #[arg(long, visible_alias = "set", value_name = "NAME=VALUE", value_parser = pair)]
    pub(crate) attribute: Vec<(String, String)>,
    /// The same from a file, so that a password is in no list of processes.
    #[arg(long, value_name = "NAME=FILE", value_parser = pair)]
    pub(crate) attribute_file: Vec<(String, String)>,
    /// iSCSI name that its server logs in with, or `auto` for one that is made up.
    #[arg(long, value_name = "IQN|auto")]
    pub(crate) initiator: Option<String>,
    /// CHAP name that its server logs in with, or `none` for no CHAP.
    #[arg(long, value_name = "NAME|none")]
    pub(crate) chap: Option<String>,
    /// File with the CHAP secret, of at least 12 characters.
    #[arg(long, value_name = "FILE")]
    pub(crate) chap_secret_file: Option<PathBuf>,
    /// CHAP name that the target answers with.
    #[arg(long, value_name = "NAME")]
    pub(crate) mutual_chap: Option<String>,
    /// File with the target's CHAP secret.
    #[arg(long, value_name = "FILE")]
    pub(crate) mutual_chap_secret_file: Option<PathBuf>,
    /// What it is for, in words.
    #[arg(long)]
    pub(crate) description: Option<String>,
}

/// How something is asked that may lose data. On a terminal its impact is shown, and it is asked: proceed or cancel.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Consent {
    /// Proceed without being asked.
    #[arg(long, short = 'y')]
    pub(crate) yes: bool,
    /// Show what would happen, and change nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Also while initiators are logged in, or the server is recorded as running: their disk vanishes under them.
    #[arg(long)]
    pub(crate) while_in_use: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TaskCommand {
    /// Lists tasks, the newest first.
    #[command(visible_alias = "ls")]
    List {
        /// Only those that are under way.
        #[arg(long)]
        running: bool,
    },
    /// Shows one task and its log.
    Show {
        /// Id, or the start of one.
        id: String,
    },
    /// Shows a task's log with what its plan scripts printed.
    Log {
        /// Id, or the start of one.
        id: String,
    },
    /// Waits until a task has ended. Exit code 1 if it failed.
    Follow {
        /// Id, or the start of one.
        id: String,
    },
}

/// `NAME=VALUE`
fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write it as NAME=VALUE".to_owned()),
    }
}
