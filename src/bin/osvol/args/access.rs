//! What a volume is exported with, on the command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use config::AddressRange;

/// Who may log in to a volume, and what it must prove.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct AccessOptions {
    /// iSCSI name of an initiator that may log in; may be given several times. Others do not even discover the volume.
    #[arg(long = "initiator", value_name = "IQN")]
    pub(crate) initiators: Vec<String>,
    /// Address or range of addresses that may log in, such as 10.0.0.0/8 or fd00::1; may be given several times.
    #[arg(long = "address", value_name = "ADDRESS")]
    pub(crate) addresses: Vec<AddressRange>,
    /// CHAP name that initiators must prove to be.
    #[arg(long, value_name = "NAME")]
    pub(crate) chap_user: Option<String>,
    /// File with its secret, of 12 to 255 characters; `-` reads standard input.
    #[arg(long, value_name = "FILE")]
    pub(crate) chap_secret_file: Option<PathBuf>,
    /// CHAP name that osvold proves to be when initiators ask (mutual CHAP).
    #[arg(long, value_name = "NAME")]
    pub(crate) mutual_user: Option<String>,
    /// File with osvold's secret, which must be another one; `-` reads standard input.
    #[arg(long, value_name = "FILE")]
    pub(crate) mutual_secret_file: Option<PathBuf>,
}

/// What kind of disk a volume is.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct DiskOptions {
    /// Bytes of a logical block, 512 or 4096. It is fixed: what is on a disk is not found with another one.
    #[arg(long, value_name = "BYTES", value_parser = block_size)]
    pub(crate) block_size: Option<u64>,
    /// Whether the disk says that it has a write cache. Without one, every write is durable when it is acknowledged.
    #[arg(long, value_name = "on|off")]
    pub(crate) write_cache: Option<Switch>,
}

/// What is changed of who may log in.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct AccessChange {
    #[command(flatten)]
    pub(crate) access: AccessOptions,
    /// Let everybody log in: any initiator, from anywhere, without CHAP.
    #[arg(long, conflicts_with_all = ["initiators", "addresses", "chap_user", "chap_secret_file", "mutual_user",
        "mutual_secret_file", "any_initiator", "any_address", "no_chap", "no_mutual"])]
    pub(crate) everybody: bool,
    /// Let initiators of any name log in.
    #[arg(long, conflicts_with = "initiators")]
    pub(crate) any_initiator: bool,
    /// Let initiators log in from anywhere.
    #[arg(long, conflicts_with = "addresses")]
    pub(crate) any_address: bool,
    /// Ask for no CHAP.
    #[arg(long, conflicts_with_all = ["chap_user", "chap_secret_file", "mutual_user", "mutual_secret_file"])]
    pub(crate) no_chap: bool,
    /// Prove nothing to initiators.
    #[arg(long, conflicts_with_all = ["mutual_user", "mutual_secret_file"])]
    pub(crate) no_mutual: bool,
    /// Let one initiator have the volume for itself while it is logged in. Others are refused meanwhile; whoever is logged
    /// in stays.
    #[arg(long)]
    pub(crate) exclusive: bool,
    /// Let any number of initiators be logged in at a time; they need a cluster file system, or only read.
    #[arg(long, conflicts_with = "exclusive")]
    pub(crate) shared: bool,
    /// Whether the disk says that it has a write cache; initiators are told.
    #[arg(long, value_name = "on|off")]
    pub(crate) write_cache: Option<Switch>,
    /// End the sessions that could not log in so any more: their disk vanishes under them.
    #[arg(long)]
    pub(crate) end_sessions: bool,
}

/// Where logins are sent on to.
#[derive(Debug, Clone, Args)]
pub(crate) struct RedirectTo {
    /// Address and port that initiators are sent to, such as 10.0.0.2:3260 or [fd00::2]:3260. Whoever comes in there is
    /// let in.
    #[arg(long, value_name = "ADDRESS:PORT", required_unless_present = "off")]
    pub(crate) to: Option<SocketAddr>,
    /// Initiators are to remember it.
    #[arg(long, requires = "to")]
    pub(crate) permanent: bool,
    /// Send initiators nowhere any more.
    #[arg(long, conflicts_with = "to")]
    pub(crate) off: bool,
    /// End the sessions that there are: who comes back by itself is sent on.
    #[arg(long)]
    pub(crate) end_sessions: bool,
}

/// On or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Switch {
    /// On.
    On,
    /// Off.
    Off,
}

pub(crate) fn block_size(text: &str) -> Result<u64, String> {
    match text {
        "512" => Ok(512),
        "4096" | "4k" | "4K" | "4KiB" => Ok(4096),
        _ => Err("a disk has blocks of 512 or 4096 bytes".to_owned()),
    }
}
