//! Plans, their scripts, and the bundles that carry them.

use std::path::PathBuf;

use api::Title;
use clap::{Args, Subcommand, ValueEnum};

#[derive(Debug, Subcommand)]
pub(crate) enum PlanCommand {
    /// Makes a deployment plan.
    Create {
        /// Name of the plan.
        #[arg(value_parser = Title::parse)]
        name: Title,
        /// The build plan, by name or id.
        #[arg(long, value_name = "PLAN")]
        build_plan: String,
        /// The golden image, by name or id. Without it volumes begin empty, as large as the attribute VolumeSize says.
        #[arg(long)]
        image: Option<String>,
        #[command(flatten)]
        words: PlanWords,
    },
    /// Lists deployment plans.
    #[command(visible_alias = "ls")]
    List,
    /// Shows one deployment plan with its attributes.
    Show {
        /// Name or id.
        name: String,
    },
    /// Changes a deployment plan that no profile uses.
    Edit {
        /// Name or id.
        name: String,
        /// The new name.
        #[arg(long, value_name = "NAME")]
        rename: Option<String>,
        /// The build plan, by name or id.
        #[arg(long, value_name = "PLAN")]
        build_plan: Option<String>,
        /// The golden image, by name or id, or `none`.
        #[arg(long, value_name = "IMAGE|none")]
        image: Option<String>,
        #[command(flatten)]
        words: PlanWords,
    },
    /// Makes a plan that is like another one.
    Copy {
        /// Name or id.
        name: String,
        /// Name of the copy.
        #[arg(value_parser = Title::parse)]
        copy: Title,
    },
    /// Removes a deployment plan that no profile uses.
    #[command(visible_alias = "rm")]
    Remove {
        /// Name or id.
        name: String,
    },
    /// Runs a deployment plan on a volume of its own, which goes afterwards. Exit code 1 if it fails.
    Try {
        /// Name or id.
        name: String,
        /// Value of an attribute; may be given several times.
        #[arg(long, value_name = "NAME=VALUE")]
        set: Vec<String>,
        /// The server whose addresses the scripts are given, by name or id.
        #[arg(long, value_name = "SERVER")]
        hardware: Option<String>,
        /// Keep the volume under this name, whether the scripts succeed or not.
        #[arg(long, value_name = "VOLUME", value_parser = api::Name::parse)]
        keep: Option<api::Name>,
    },
    /// Looks for mistakes in scripts: in files, without osvold, or in a plan. Exit code 1 if there is an error.
    Lint(LintWords),
    /// Makes a successor of a deployment plan, which can be edited while profiles use the plan.
    Revise {
        /// Name or id.
        name: String,
    },
    /// Plan scripts: the steps of build plans.
    #[command(subcommand, visible_alias = "scripts")]
    Script(ScriptCommand),
    /// OS build plans: scripts in order, and the attributes that they leave open.
    #[command(subcommand)]
    Build(BuildCommand),
}

/// Which scripts are looked through.
#[derive(Debug, Args)]
pub(crate) struct LintWords {
    /// Files with scripts, the steps of a plan in their order; `-` for standard input.
    #[arg(required_unless_present_any = ["plan", "build_plan"])]
    pub(crate) files: Vec<PathBuf>,
    /// The scripts have no attributes, as those that capture and general ones.
    #[arg(long, conflicts_with_all = ["plan", "build_plan"])]
    pub(crate) plain: bool,
    /// Value of an attribute, for files; may be given several times.
    #[arg(long, value_name = "NAME=VALUE", conflicts_with_all = ["plan", "build_plan"])]
    pub(crate) set: Vec<String>,
    /// A deployment plan, by name or id.
    #[arg(long, conflicts_with_all = ["files", "build_plan"])]
    pub(crate) plan: Option<String>,
    /// A build plan, by name or id.
    #[arg(long, value_name = "PLAN", conflicts_with = "files")]
    pub(crate) build_plan: Option<String>,
}

/// What a deployment plan says.
#[derive(Debug, Args)]
pub(crate) struct PlanWords {
    /// Former generations of a volume that are kept when it is regenerated, 0 to 16.
    #[arg(long, value_name = "NUMBER")]
    pub(crate) keep: Option<u64>,
    /// Value of an attribute; may be given several times.
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) set: Vec<String>,
    /// An attribute that profiles do not see; may be given several times.
    #[arg(long, value_name = "ATTRIBUTE")]
    pub(crate) hide: Vec<String>,
    /// An attribute that profiles see and do not change; may be given several times.
    #[arg(long, value_name = "ATTRIBUTE")]
    pub(crate) lock: Vec<String>,
    /// An attribute that profiles see and change; may be given several times.
    #[arg(long, value_name = "ATTRIBUTE")]
    pub(crate) open: Vec<String>,
    /// What it is for, in words.
    #[arg(long)]
    pub(crate) description: Option<String>,
    #[command(flatten)]
    pub(crate) seed: SeedWords,
}

/// What a deployment plan gives cloud-init or Ignition. Files are templates, with placeholders as scripts have them.
#[derive(Debug, Args)]
#[command(next_help_heading = "Cloud images")]
pub(crate) struct SeedWords {
    /// Where cloud-init or Ignition finds its data: beside the volume, on its EFI system partition, or nowhere.
    #[arg(long, value_enum, value_name = "WHERE")]
    pub(crate) seed: Option<SeedPlace>,
    /// All of it, as JSON: {"datasource": "NoCloud", "attach": "lun", "userData": ...}.
    #[arg(long, value_name = "FILE")]
    pub(crate) cloud_init: Option<PathBuf>,
    /// cloud-init's user-data.
    #[arg(long, value_name = "FILE")]
    pub(crate) user_data: Option<PathBuf>,
    /// cloud-init's meta-data.
    #[arg(long, value_name = "FILE")]
    pub(crate) meta_data: Option<PathBuf>,
    /// cloud-init's network configuration.
    #[arg(long, value_name = "FILE")]
    pub(crate) network_config: Option<PathBuf>,
    /// cloud-init's vendor-data.
    #[arg(long, value_name = "FILE")]
    pub(crate) vendor_data: Option<PathBuf>,
    /// A configuration for Ignition, in JSON, instead of data for cloud-init; `-` makes one of the attributes.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["user_data", "meta_data", "network_config", "vendor_data"])]
    pub(crate) ignition: Option<PathBuf>,
    /// The directory on the EFI system partition.
    #[arg(long, value_name = "PATH")]
    pub(crate) esp_path: Option<String>,
}

/// Where a seed is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SeedPlace {
    /// LUN 1 of the volume's target, which is only read.
    Lun,
    /// Files on the volume's EFI system partition.
    Esp,
    /// There is none.
    None,
}

/// What scripts and build plans are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ScriptType {
    /// Personalizes fresh volumes.
    Deploy,
    /// Generalizes what becomes a golden image.
    Capture,
    /// Either.
    General,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum BuildType {
    /// Personalizes fresh volumes.
    Deploy,
    /// Generalizes what becomes a golden image.
    Capture,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ScriptCommand {
    /// Makes a plan script of a file.
    Create {
        /// Name of the script.
        #[arg(value_parser = Title::parse)]
        name: Title,
        /// The file, or `-` for standard input.
        file: PathBuf,
        /// What it is for.
        #[arg(long = "type", value_enum, default_value_t = ScriptType::Deploy)]
        kind: ScriptType,
        /// It can never be edited.
        #[arg(long)]
        read_only: bool,
        /// What it is for, in words.
        #[arg(long)]
        description: Option<String>,
    },
    /// Lists plan scripts.
    #[command(visible_alias = "ls")]
    List,
    /// Shows one plan script.
    Show {
        /// Name or id.
        name: String,
        /// Only the script itself.
        #[arg(long)]
        content: bool,
    },
    /// Changes a plan script that no profile uses.
    Edit {
        /// Name or id.
        name: String,
        /// The new name.
        #[arg(long, value_name = "NAME")]
        rename: Option<String>,
        /// The new script, or `-` for standard input.
        #[arg(long)]
        file: Option<PathBuf>,
        /// What it is for.
        #[arg(long = "type", value_enum)]
        kind: Option<ScriptType>,
        /// What it is for, in words.
        #[arg(long)]
        description: Option<String>,
    },
    /// Says what another content would change, and changes nothing.
    Diff {
        /// Name or id.
        name: String,
        /// The other content, or `-` for standard input.
        file: PathBuf,
    },
    /// Makes a successor of a script, which can be edited while profiles use the script.
    Revise {
        /// Name or id.
        name: String,
        /// Make successors of the plans that use it too, which use the new one.
        #[arg(long)]
        with_users: bool,
    },
    /// Makes a script that is like another one, and can be edited.
    Copy {
        /// Name or id.
        name: String,
        /// Name of the copy.
        #[arg(value_parser = Title::parse)]
        copy: Title,
    },
    /// Removes a plan script that no build plan uses.
    #[command(visible_alias = "rm")]
    Remove {
        /// Name or id.
        name: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum BuildCommand {
    /// Makes an OS build plan. Without scripts the image is deployed, or captured, as it is.
    Create {
        /// Name of the plan.
        #[arg(value_parser = Title::parse)]
        name: Title,
        /// What it is for. It never changes.
        #[arg(long = "type", value_enum, default_value_t = BuildType::Deploy)]
        kind: BuildType,
        #[command(flatten)]
        words: BuildWords,
    },
    /// Lists OS build plans.
    #[command(visible_alias = "ls")]
    List,
    /// Shows one OS build plan with its steps and attributes.
    Show {
        /// Name or id.
        name: String,
    },
    /// Changes an OS build plan that no profile uses. Deployment plans follow.
    Edit {
        /// Name or id.
        name: String,
        /// The new name.
        #[arg(long, value_name = "NAME")]
        rename: Option<String>,
        #[command(flatten)]
        words: BuildWords,
    },
    /// Makes a successor of a build plan, which can be edited while profiles use the plan.
    Revise {
        /// Name or id.
        name: String,
        /// Make successors of the deployment plans that use it too, which use the new one.
        #[arg(long)]
        with_users: bool,
    },
    /// Makes a build plan that is like another one, and can be edited.
    Copy {
        /// Name or id.
        name: String,
        /// Name of the copy.
        #[arg(value_parser = Title::parse)]
        copy: Title,
    },
    /// Removes an OS build plan that no deployment plan uses.
    #[command(visible_alias = "rm")]
    Remove {
        /// Name or id.
        name: String,
    },
}

/// What a build plan says.
#[derive(Debug, Args)]
pub(crate) struct BuildWords {
    /// A step: a script, by name or id; several in their order. Those given are all it has.
    #[arg(long, value_name = "SCRIPT")]
    pub(crate) script: Vec<String>,
    /// An attribute, such as HostName:hostname=web; types are string, number, option, password, fqdn, hostname, ipv4
    /// and nic. May be given several times.
    #[arg(long, value_name = "NAME:TYPE[=VALUE]")]
    pub(crate) attribute: Vec<String>,
    /// Constraints of an attribute, in JSON, such as VolumeSize={"minimum":"1"}. May be given several times.
    #[arg(long, value_name = "NAME=JSON")]
    pub(crate) constraints: Vec<String>,
    /// What it is for, in words.
    #[arg(long)]
    pub(crate) description: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum BundleCommand {
    /// Makes a bundle of artifacts and of all that they need.
    Create {
        /// Name of the bundle.
        #[arg(value_parser = Title::parse)]
        name: Title,
        /// A deployment plan, by name or id; may be given several times.
        #[arg(long, required_unless_present_any = ["build_plan", "script", "image"])]
        plan: Vec<String>,
        /// A build plan.
        #[arg(long, value_name = "PLAN")]
        build_plan: Vec<String>,
        /// A plan script.
        #[arg(long)]
        script: Vec<String>,
        /// A golden image.
        #[arg(long)]
        image: Vec<String>,
        /// What it is for, in words.
        #[arg(long)]
        description: Option<String>,
    },
    /// Lists bundles.
    #[command(visible_alias = "ls")]
    List,
    /// Shows what is in a bundle.
    Show {
        /// Name or id.
        name: String,
    },
    /// Uploads a bundle, HPE's own too. It is checked; nothing is extracted yet.
    Upload {
        /// The archive.
        file: PathBuf,
    },
    /// Makes the artifacts of a bundle: all of them, or none.
    Extract {
        /// Name or id.
        name: String,
        /// Give artifacts whose names are taken other names.
        #[arg(long)]
        rename: bool,
    },
    /// Writes the archive of a bundle to a new file.
    Download {
        /// Name or id.
        name: String,
        /// The file. It appears when it is whole.
        file: PathBuf,
        /// Replace a file that is there.
        #[arg(long)]
        force: bool,
    },
    /// Gives a bundle another name.
    Rename {
        /// Name or id.
        name: String,
        /// The new name.
        #[arg(value_parser = Title::parse)]
        to: Title,
    },
    /// Removes a bundle. What was extracted of it stays.
    #[command(visible_alias = "rm")]
    Remove {
        /// Name or id.
        name: String,
    },
    /// Makes a backup of all artifacts. It takes the place of the one before.
    Backup,
    /// Restores the backup: all artifacts are removed, and those of the backup made.
    Restore {
        /// Do it without being asked.
        #[arg(long)]
        yes: bool,
    },
}
