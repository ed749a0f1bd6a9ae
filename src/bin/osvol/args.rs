//! The command line as a type. Help, completions and man pages are made from it.

pub(crate) mod access;
pub(crate) mod artifacts;
pub(crate) mod placement;

use std::path::PathBuf;

use api::{ImageFormat, Name, Title};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Parser, Subcommand, ValueEnum};
use config::{Size, UnitError};

use access::{AccessChange, AccessOptions, DiskOptions, RedirectTo};
use artifacts::{BundleCommand, PlanCommand};
use placement::{
    EnclosureCommand, EnclosureGroupCommand, HardwareCommand, HardwareTypeCommand, ProfileCommand,
    TaskCommand,
};

use crate::user_args::UserCommand;

/// Manages golden images and OS volumes of osvold, an iSCSI target for machines that boot from the network.
#[derive(Debug, Parser)]
#[command(name = "osvol", version, max_term_width = 100, arg_required_else_help = true)]
pub(crate) struct Args {
    /// Control socket of the daemon.
    #[arg(long, global = true, value_name = "PATH", env = "OSVOL_CONTROL", default_value = config::CONTROL_SOCKET)]
    pub(crate) control: PathBuf,
    /// Print the API's own JSON instead of tables.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Golden images: the immutable disks that OS volumes are copies of.
    #[command(subcommand, visible_alias = "images")]
    Image(ImageCommand),
    /// OS volumes: the disks that machines boot from.
    #[command(subcommand, visible_alias = "volumes")]
    Volume(VolumeCommand),
    /// Snapshots: OS volumes as they were.
    #[command(subcommand, visible_alias = "snapshots")]
    Snapshot(SnapshotCommand),
    /// Sessions: initiators that are logged in to OS volumes.
    #[command(subcommand, visible_alias = "sessions")]
    Session(SessionCommand),
    /// Deployment plans, their build plans and scripts: what volumes are made from.
    #[command(visible_alias = "plans", args_conflicts_with_subcommands = true)]
    Plan {
        #[command(subcommand)]
        command: Option<PlanCommand>,
    },
    /// Artifact bundles: archives that carry plans and images from one server to another.
    #[command(subcommand, visible_alias = "bundles")]
    Bundle(BundleCommand),
    /// Users: who may log in to the control API over TLS, and what they may do.
    #[command(subcommand, visible_alias = "users")]
    User(UserCommand),
    /// Profiles: what a server is and boots, whichever machine it is at the moment.
    #[command(subcommand, visible_alias = "profiles")]
    Profile(ProfileCommand),
    /// Server hardware: the machines that profiles are assigned to.
    #[command(subcommand)]
    Hardware(HardwareCommand),
    /// Server hardware types: models of servers.
    #[command(subcommand, visible_alias = "hardware-types")]
    HardwareType(HardwareTypeCommand),
    /// Logical enclosures: servers that reach the same volumes.
    #[command(subcommand, visible_alias = "enclosures")]
    Enclosure(EnclosureCommand),
    /// Enclosure groups: what logical enclosures have in common.
    #[command(subcommand, visible_alias = "enclosure-groups")]
    EnclosureGroup(EnclosureGroupCommand),
    /// Tasks: work that takes its time.
    #[command(subcommand, visible_alias = "tasks")]
    Task(TaskCommand),
    /// Shows how the daemon and its store are.
    Status,
    /// Shows whether this machine has what osvold needs, above all to run plan scripts; exit status 1 where something is wrong.
    Doctor {
        /// Look anew, and try whether KVM runs a guest if that is not known: takes up to a minute.
        #[arg(long)]
        run: bool,
    },
    /// The appliance: the small system that guestfish boots to run plan scripts.
    #[command(subcommand)]
    Appliance(ApplianceCommand),
    /// The scrub, which reads everything in turn to find what has rotted.
    #[command(subcommand)]
    Scrub(ScrubCommand),
    /// A store whose daemon is stopped: checks it, reads it, repairs it, without the daemon and its catalogue.
    #[command(subcommand)]
    Store(StoreCommand),
    /// Writes shell completions to standard output.
    #[command(hide = true)]
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Writes man pages into a directory.
    #[command(hide = true)]
    Man {
        /// The directory.
        directory: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ApplianceCommand {
    /// Builds the appliance anew from this machine's packages, as root; jobs that run keep the old one.
    Build {
        /// Where it goes; plans.appliance of the configuration if not given.
        #[arg(long, value_name = "DIR")]
        directory: Option<PathBuf>,
        /// The daemon's configuration.
        #[arg(long, value_name = "FILE", default_value = CONFIGURATION)]
        config: PathBuf,
    },
    /// Shows whether the appliance is there and current.
    Status,
}

/// Where the daemon's configuration is.
pub(crate) const CONFIGURATION: &str = "/etc/osvol/osvold.toml";

#[derive(Debug, Subcommand)]
pub(crate) enum ImageCommand {
    /// Adds a disk image as a golden image. Holes in the file stay holes and are not sent.
    Add {
        /// Name of the golden image.
        #[arg(value_parser = Title::parse)]
        name: Title,
        /// The disk image: raw, qcow2, vmdk (in one file), vhdx or vhd, as it is or in gzip, xz, zstd or zip.
        file: PathBuf,
        /// Format of the file, the outer one where it is packed; by its content if not given.
        #[arg(long, value_name = "FORMAT", default_value = "auto", value_parser = format())]
        format: ImageFormat,
        /// What it is for, in words.
        #[arg(long)]
        description: Option<String>,
    },
    /// Makes a golden image of a volume as it is at this moment, or of a snapshot of it. The volume may be in use.
    Capture {
        /// Name of the golden image.
        #[arg(value_parser = Title::parse)]
        name: Title,
        /// The volume, by name or id.
        #[arg(long)]
        volume: String,
        /// A snapshot of it, by name or id, instead of the volume as it is now.
        #[arg(long)]
        snapshot: Option<String>,
        /// A build plan that captures, by name or id. Its scripts run on a copy; the volume is untouched.
        #[arg(long, value_name = "PLAN")]
        build_plan: Option<String>,
        /// What it is for, in words.
        #[arg(long)]
        description: Option<String>,
    },
    /// Changes the name or the words of a golden image that no profile uses. Its content never changes.
    Edit {
        /// Name or id.
        name: String,
        /// The new name.
        #[arg(long, value_name = "NAME", required_unless_present = "description")]
        rename: Option<String>,
        /// What it is for, in words.
        #[arg(long)]
        description: Option<String>,
    },
    /// Writes a golden image to a new file.
    Export {
        /// Name or id.
        name: String,
        #[command(flatten)]
        to: ExportTo,
    },
    /// Serves a golden image as a disk of its own: write-protected, to any number of initiators at a time. One that is
    /// served already is changed; what is not given stays.
    Serve {
        /// Name or id.
        name: String,
        #[command(flatten)]
        serve: ServeOptions,
    },
    /// Serves a golden image no more. Refused while an initiator is logged in.
    Unserve {
        /// Name or id.
        name: String,
        /// Do it even though initiators are logged in: their disk vanishes under them.
        #[arg(long)]
        force: bool,
    },
    /// Lists golden images and snapshots that are served as disks of their own.
    Served,
    /// Lists golden images.
    #[command(visible_alias = "ls")]
    List,
    /// Shows one golden image.
    Show {
        /// Name or id.
        name: String,
    },
    /// Removes a golden image that no volume uses.
    #[command(visible_alias = "rm")]
    Remove {
        /// Name or id.
        name: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum VolumeCommand {
    /// Creates an OS volume as a copy of a golden image, at once, whatever its size.
    Create {
        /// Name of the volume: letters, digits, '.', '_' and '-'.
        #[arg(value_parser = Name::parse)]
        name: Name,
        /// Golden image to copy, by name or id. Without it the volume is empty and needs --size.
        #[arg(long, required_unless_present_any = ["size", "snapshot"])]
        image: Option<String>,
        /// Snapshot to copy instead of a golden image, as VOLUME/SNAPSHOT.
        #[arg(long, value_name = "VOLUME/SNAPSHOT", conflicts_with_all = ["image", "size"])]
        snapshot: Option<String>,
        /// Size such as 40GiB or 512M; the golden image's if not given. What lies past the image reads zeros.
        #[arg(long)]
        size: Option<Size>,
        #[command(flatten)]
        access: AccessOptions,
        /// Let one initiator have the volume for itself while it is logged in; others are refused meanwhile.
        #[arg(long)]
        exclusive: bool,
        #[command(flatten)]
        disk: DiskOptions,
    },
    /// Changes who may log in to an OS volume, and what it must prove; what is not given stays. It holds for logins from
    /// then on.
    Access {
        /// Name or id.
        name: String,
        #[command(flatten)]
        change: AccessChange,
    },
    /// Sends initiators that log in to an OS volume on to another address.
    Redirect {
        /// Name or id.
        name: String,
        #[command(flatten)]
        to: RedirectTo,
    },
    /// Lists OS volumes.
    #[command(visible_alias = "ls")]
    List,
    /// Shows one OS volume, and how to connect to it.
    Show {
        /// Name or id.
        name: String,
    },
    /// Shows what happened when an OS volume was deployed, and what its plan scripts printed.
    Log {
        /// Name or id.
        name: String,
    },
    /// Writes an OS volume as it is at this moment, or a snapshot of it, to a new file. The volume may be in use.
    Export {
        /// Name or id.
        name: String,
        /// A snapshot of it, by name or id, instead of the volume as it is now.
        #[arg(long)]
        snapshot: Option<String>,
        #[command(flatten)]
        to: ExportTo,
    },
    /// Makes an OS volume larger, also while it is in use: initiators are told. What is added reads zeros.
    Grow {
        /// Name or id.
        name: String,
        /// The new size, such as 80GiB. A volume never shrinks.
        size: Size,
    },
    /// Changes the limits of an OS volume.
    Set {
        /// Name or id.
        name: String,
        /// Most that its own data may take in the store, such as 10GiB, or `none`.
        #[arg(long, value_name = "SIZE|none", required_unless_present = "reserve", value_parser = Limit::parse)]
        quota: Option<Limit>,
        /// What of the store is kept free for it, such as 2GiB, or `none`: so much it can write whatever others do.
        #[arg(long, value_name = "SIZE|none", value_parser = Limit::parse)]
        reserve: Option<Limit>,
    },
    /// Shows an OS volume to NBD clients of this machine, such as nbdinfo, nbdcopy, qemu-img and guestfish; read-only
    /// unless asked otherwise. Prints the URI for them, and stays until ^C detaches it.
    Attach {
        /// Name or id.
        name: String,
        #[command(flatten)]
        to: AttachTo,
    },
    /// Ends the attachments of an OS volume.
    Detach {
        /// Name or id.
        name: String,
    },
    /// Lists attachments of OS volumes.
    Attachments,
    /// Removes an OS volume and its data. Refused while an initiator is logged in.
    #[command(visible_alias = "rm")]
    Remove {
        /// Name or id.
        name: String,
        /// Remove it even though initiators are logged in: their disk vanishes under them.
        #[arg(long)]
        force: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum SessionCommand {
    /// Lists who is logged in.
    #[command(visible_alias = "ls")]
    List {
        /// Only to this volume.
        #[arg(long, value_name = "NAME")]
        volume: Option<String>,
    },
    /// Shows a session: where it comes from, what was proved and agreed.
    Show {
        /// Its TSIH, as the list has it.
        tsih: u16,
    },
    /// Asks an initiator to log out, and ends its session a second later. It may log in again, unless `osvol volume access`
    /// keeps it out.
    End {
        /// Its TSIH, as the list has it.
        tsih: u16,
    },
}

#[derive(Debug, Clone, Copy, Subcommand)]
pub(crate) enum ScrubCommand {
    /// Shows how far the pass is, what the last one found, and all places that are known to be damaged.
    Status,
    /// Begins a pass now.
    Start,
    /// Ends the pass that runs. The next one begins from the start.
    Stop,
}

/// Who may read a disk that is served, and in blocks of which length.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct ServeOptions {
    #[command(flatten)]
    pub(crate) access: AccessOptions,
    /// Bytes of a logical block, 512 or 4096: as the disk had them whose content it is.
    #[arg(long, value_name = "BYTES", value_parser = access::block_size)]
    pub(crate) block_size: Option<u64>,
}

/// A number of bytes, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limit(pub(crate) Option<Size>);

impl Limit {
    fn parse(text: &str) -> Result<Self, UnitError> {
        match text {
            "none" => Ok(Self(None)),
            size => size.parse().map(|size| Self(Some(size))),
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum StoreCommand {
    /// Checks everything and says what is lost, and whose it is. Changes nothing. Exit code 1 when there is damage,
    /// 3 when the store cannot be checked.
    Check {
        /// Directory of the store.
        path: PathBuf,
        /// Read all data as well, and compare its checksums.
        #[arg(long)]
        data: bool,
    },
    /// Lists what is in a store: images, volumes, snapshots, layers, checkpoints, segments.
    Dump {
        /// Directory of the store.
        path: PathBuf,
        /// Only this volume (a name or an id) or snapshot (VOLUME/SNAPSHOT or an id) and its layers.
        #[arg(long, value_name = "VOLUME")]
        volume: Option<String>,
        /// Also every record of the logs.
        #[arg(long)]
        records: bool,
    },
    /// Builds a new store of all that is sound. The damaged one is not changed; what is lost reads as errors.
    Repair {
        /// Directory of the damaged store.
        path: PathBuf,
        /// Directory of the new store. It must not be there yet.
        #[arg(long, value_name = "NEWPATH")]
        to: PathBuf,
    },
    /// Writes a volume or snapshot to a new file.
    Export {
        /// Directory of the store.
        path: PathBuf,
        /// Volume (a name or an id) or snapshot (VOLUME/SNAPSHOT or an id).
        volume: String,
        /// The file. It must not be there yet.
        file: PathBuf,
        /// Format of the file.
        #[arg(long, value_enum, default_value_t = DiskFormat::Raw)]
        format: DiskFormat,
        /// Go on where data is lost: zeros are written there, and the ranges are listed. Exit code 1 if there were any.
        #[arg(long, visible_alias = "zero-damage")]
        skip_damage: bool,
    },
}

/// How a volume is attached.
#[derive(Debug, clap::Args)]
pub(crate) struct AttachTo {
    /// By NBD on a Unix socket: so far the only way there is.
    #[arg(long, required = true)]
    pub(crate) nbd: bool,
    /// Path of the socket; one of its own beside the control socket if not given.
    #[arg(long, value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,
    /// Let clients write. Refused while an initiator is logged in; nobody can log in until it is detached.
    #[arg(long)]
    pub(crate) writable: bool,
    /// Show the volume as it is at this moment. Without it, what runs from it changes it under the reader.
    #[arg(long, conflicts_with = "writable")]
    pub(crate) snapshot: bool,
    /// Leave it attached and end; `osvol volume detach` detaches it, and so does the end of osvold.
    #[arg(long)]
    pub(crate) detach: bool,
}

/// The file that a disk is exported to.
#[derive(Debug, clap::Args)]
pub(crate) struct ExportTo {
    /// The file. It appears when it is whole.
    pub(crate) file: PathBuf,
    /// Format of the file.
    #[arg(long, value_enum, default_value_t = DiskFormat::Raw)]
    pub(crate) format: DiskFormat,
    /// Replace a file that is there.
    #[arg(long)]
    pub(crate) force: bool,
}

/// What an exported disk is written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum DiskFormat {
    /// Byte for byte the disk, with holes.
    Raw,
    /// QEMU's copy-on-write format.
    Qcow2,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SnapshotCommand {
    /// Takes a snapshot of a volume, which may be in use: all that was acknowledged before is in it.
    Create {
        /// The volume, by name or id.
        volume: String,
        /// Name of the snapshot: letters, digits, '.', '_' and '-'.
        #[arg(value_parser = Name::parse)]
        name: Name,
    },
    /// Serves a snapshot as a disk of its own: write-protected, to any number of initiators at a time. One that is
    /// served already is changed; what is not given stays.
    Serve {
        /// The volume, by name or id.
        volume: String,
        /// The snapshot, by name or id.
        name: String,
        #[command(flatten)]
        serve: ServeOptions,
    },
    /// Serves a snapshot no more. Refused while an initiator is logged in.
    Unserve {
        /// The volume, by name or id.
        volume: String,
        /// The snapshot, by name or id.
        name: String,
        /// Do it even though initiators are logged in: their disk vanishes under them.
        #[arg(long)]
        force: bool,
    },
    /// Lists golden images and snapshots that are served as disks of their own.
    Served,
    /// Lists snapshots.
    #[command(visible_alias = "ls")]
    List {
        /// Only those of this volume, by name or id.
        volume: Option<String>,
    },
    /// Removes a snapshot. Volumes that were made of it keep their data.
    #[command(visible_alias = "rm")]
    Remove {
        /// The volume, by name or id.
        volume: String,
        /// The snapshot, by name or id.
        name: String,
    },
    /// Takes a volume back to a snapshot; what was written since is lost. Refused while an initiator is logged in.
    Rollback {
        /// The volume, by name or id.
        volume: String,
        /// The snapshot, by name or id.
        name: String,
        /// Do it even though initiators are logged in: their disk vanishes under them and comes back changed.
        #[arg(long)]
        force: bool,
    },
}

/// The formats by their names.
fn format() -> impl TypedValueParser<Value = ImageFormat> {
    PossibleValuesParser::new(ImageFormat::NAMES).try_map(|name| name.parse::<ImageFormat>())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Args::command().debug_assert();
    }
}
