//! Typed configuration of osvold: a TOML file in, a checked [`Config`] out.
//!
//! Every fault names the file, the line and what would be right. A key that is not known is an error, because a typing
//! slip that is silently ignored is found at three in the morning. This crate reads the file that it is given and
//! nothing else: no environment, no clock.

mod error;
mod keys;
mod ranges;
mod units;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

pub use error::{ConfigError, Fault};
pub use keys::{KEYS, Key};
pub use ranges::{AddressRange, RangeError};
use serde::Deserialize;
pub use units::{Duration, Size, UnitError};

/// Port that iSCSI has from IANA, and the only default that there may be (RFC 7143 §15).
pub const ISCSI_PORT: u16 = 3260;
/// Where the control socket is unless told otherwise.
pub const CONTROL_SOCKET: &str = "/run/osvol/control.sock";
/// Where the store is unless told otherwise.
pub const STATE_DIRECTORY: &str = "/var/lib/osvol";

/// The whole configuration.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct Config {
    /// Where the data lives.
    pub store: Store,
    /// How the daemon is told what to do.
    pub control: Control,
    /// How initiators reach it.
    pub iscsi: Iscsi,
    /// How machines find out what they boot.
    pub boot: Boot,
    /// Adding golden images.
    pub images: Images,
    /// Running plan scripts.
    pub plans: Plans,
    /// Reading everything now and then, to find what has rotted.
    pub scrub: Scrub,
    /// What is logged.
    pub log: Log,
}

/// `[store]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Store {
    /// Directory of golden images and volumes.
    pub path: PathBuf,
}

/// `[control]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Control {
    /// The Unix socket of the control API.
    pub socket: PathBuf,
    /// Group whose members administer; empty for none.
    pub group: String,
    /// What users may do whom nothing else lets do more.
    pub others: Others,
    /// The same API over TLS.
    pub tls: Tls,
}

/// What other users may do over the Unix socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Others {
    /// Nothing.
    #[default]
    None,
    /// See what there is.
    Read,
}

/// `[control.tls]`
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct Tls {
    /// Addresses to listen on; none is off.
    pub listen: Vec<SocketAddr>,
    /// PEM file of the certificate and its chain.
    pub certificate: PathBuf,
    /// PEM file of its private key.
    pub key: PathBuf,
    /// Names and addresses of a self-signed certificate.
    pub names: Vec<String>,
}

/// `[boot]`
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct Boot {
    /// Addresses to listen on; none is off.
    pub listen: Vec<SocketAddr>,
}

/// `[iscsi]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Iscsi {
    /// Addresses to listen on.
    pub portals: Vec<SocketAddr>,
    /// Addresses that initiators are told, when they are not the ones listened on.
    pub advertise: Vec<SocketAddr>,
    /// First part of every target name; `:<volume>-<id>` follows.
    pub name_prefix: String,
    /// Where connections may come from; none is everywhere.
    pub allowed_addresses: Vec<AddressRange>,
    /// Algorithms of CHAP that are allowed.
    pub chap_algorithms: Vec<ChapAlgorithm>,
    /// Discovery sessions.
    pub discovery: Discovery,
}

/// An algorithm of CHAP (RFC 7143 §12.1.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum ChapAlgorithm {
    /// SHA3-256.
    #[serde(rename = "SHA3-256")]
    Sha3_256,
    /// SHA-256.
    #[serde(rename = "SHA-256")]
    Sha256,
    /// SHA-1.
    #[serde(rename = "SHA-1")]
    Sha1,
    /// MD5, which iPXE and Windows know alone.
    #[serde(rename = "MD5")]
    Md5,
}

/// `[iscsi.discovery]`
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct Discovery {
    /// What an initiator must prove before it is told of targets.
    pub authentication: Authentication,
    /// Whom it must prove to be.
    pub user: String,
    /// File with that secret.
    pub secret_file: PathBuf,
    /// Whom osvold proves to be when it is asked.
    pub mutual_user: String,
    /// File with that secret.
    pub mutual_secret_file: PathBuf,
    /// Initiators that may discover; none is all.
    pub initiators: Vec<String>,
    /// Where they may come from; none is everywhere.
    pub addresses: Vec<AddressRange>,
}

/// What must be proved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Authentication {
    /// Nothing.
    #[default]
    None,
    /// Who the initiator is, by CHAP.
    Chap,
    /// The same, and who osvold is, to an initiator that asks.
    MutualChap,
}

/// `[images]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Images {
    /// The `qemu-img` program, by name or path.
    pub qemu_img: PathBuf,
    /// Longest time a check or a conversion may take.
    pub convert_time_max: Duration,
    /// Largest disk that may be added.
    pub size_max: Size,
    /// How many images may be added at a time.
    pub concurrent_max: usize,
}

/// `[plans]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Plans {
    /// The `guestfish` program, by name or path.
    pub guestfish: PathBuf,
    /// The `bwrap` program, by name or path.
    pub bwrap: PathBuf,
    /// Directory of the fixed appliance that guestfish boots; `osvol appliance build` makes it.
    pub appliance: PathBuf,
    /// Jobs at a time; 0 for as many as there are processors.
    pub concurrent_max: usize,
    /// Longest time of a job.
    pub time_max: Duration,
    /// How the appliance's virtual machine is run.
    pub acceleration: Acceleration,
}

/// How a virtual machine is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Acceleration {
    /// By KVM once it has been seen to run a guest on this machine, until then in software.
    #[default]
    Auto,
    /// In software.
    Tcg,
    /// By KVM, untested.
    Kvm,
}

/// `[scrub]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Scrub {
    /// Passes begin by themselves; otherwise only when somebody asks for one.
    pub automatic: bool,
    /// Most bytes that a pass reads in a second.
    pub pace: Size,
    /// From the end of a pass to the beginning of the next.
    pub interval: Duration,
}

/// `[log]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Log {
    /// `error`, `warn`, `info`, `debug`, `trace`, or a filter such as `info,osvold::portal=debug`.
    pub level: String,
}

impl Default for Store {
    fn default() -> Self {
        Self { path: STATE_DIRECTORY.into() }
    }
}

impl Default for Control {
    fn default() -> Self {
        Self {
            socket: CONTROL_SOCKET.into(),
            group: String::new(),
            others: Others::None,
            tls: Tls::default(),
        }
    }
}

impl Default for Iscsi {
    fn default() -> Self {
        Self {
            portals: vec![SocketAddr::from(([127, 0, 0, 1], ISCSI_PORT))],
            advertise: Vec::new(),
            name_prefix: "iqn.2026-01.io.osvol".to_owned(),
            allowed_addresses: Vec::new(),
            chap_algorithms: vec![
                ChapAlgorithm::Sha3_256,
                ChapAlgorithm::Sha256,
                ChapAlgorithm::Sha1,
                ChapAlgorithm::Md5,
            ],
            discovery: Discovery::default(),
        }
    }
}

impl Default for Images {
    fn default() -> Self {
        Self {
            qemu_img: "qemu-img".into(),
            convert_time_max: Duration::from_secs(3600),
            size_max: Size::from_bytes(16 << 40),
            concurrent_max: 4,
        }
    }
}

impl Default for Plans {
    fn default() -> Self {
        Self {
            guestfish: "guestfish".into(),
            bwrap: "bwrap".into(),
            appliance: "/var/lib/osvol-appliance".into(),
            concurrent_max: 0,
            time_max: Duration::from_secs(600),
            acceleration: Acceleration::Auto,
        }
    }
}

impl Default for Scrub {
    fn default() -> Self {
        Self {
            automatic: true,
            pace: Size::from_bytes(16 << 20),
            interval: Duration::from_secs(7 * 24 * 3600),
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { level: "info".to_owned() }
    }
}

impl Config {
    /// Reads and checks a file.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.into(), source })?;
        Self::parse(&text).map_err(|fault| ConfigError::Fault { path: path.into(), fault })
    }

    /// Checks a text.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        keys::check(text)?;
        let config: Self = toml::from_str(text).map_err(|error| Fault::from_toml(text, &error))?;
        config.validate().map_err(|(key, message)| Fault { line: keys::line_of(text, key), message })?;
        Ok(config)
    }

    /// Checks what a single value's type cannot say. The error names the key.
    pub fn validate(&self) -> Result<(), (&'static str, String)> {
        absolute("store.path", &self.store.path)?;
        absolute("control.socket", &self.control.socket)?;
        socket_path_fits("control.socket", &self.control.socket)?;
        group("control.group", &self.control.group)?;
        tls(&self.control.tls)?;
        listeners("boot.listen", &self.boot.listen)?;
        portals("iscsi.portals", &self.iscsi.portals)?;
        advertised("iscsi.advertise", &self.iscsi.advertise)?;
        name_prefix("iscsi.name_prefix", &self.iscsi.name_prefix)?;
        chap_algorithms("iscsi.chap_algorithms", &self.iscsi.chap_algorithms)?;
        discovery(&self.iscsi.discovery)?;
        program("images.qemu_img", &self.images.qemu_img)?;
        at_least_one("images.convert_time_max", self.images.convert_time_max.as_std().as_secs(), "1s")?;
        at_least_one("images.size_max", self.images.size_max.bytes(), "a size above zero")?;
        at_least_one("images.concurrent_max", self.images.concurrent_max as u64, "1 or more")?;
        program("plans.guestfish", &self.plans.guestfish)?;
        program("plans.bwrap", &self.plans.bwrap)?;
        absolute("plans.appliance", &self.plans.appliance)?;
        at_least_one("plans.time_max", self.plans.time_max.as_std().as_secs(), "1s or longer")?;
        at_least_one("scrub.pace", self.scrub.pace.bytes(), "a size above zero, read in a second")?;
        at_least_one("scrub.interval", self.scrub.interval.as_std().as_secs(), "1s or longer")
    }
}

type Checked = Result<(), (&'static str, String)>;

fn program(key: &'static str, program: &Path) -> Checked {
    match program.as_os_str().is_empty() {
        true => Err((key, "the program's name is empty".to_owned())),
        false => Ok(()),
    }
}

fn absolute(key: &'static str, path: &Path) -> Checked {
    match path.is_absolute() {
        true => Ok(()),
        false => Err((key, format!("the path {path:?} must be absolute (start with '/')"))),
    }
}

/// `sun_path` of unix(7) has 108 bytes with its closing zero.
fn socket_path_fits(key: &'static str, path: &Path) -> Checked {
    match path.as_os_str().len() {
        0..=107 => Ok(()),
        bytes => Err((key, format!("the path is {bytes} bytes long; a Unix socket's is at most 107"))),
    }
}

/// Most portals that one daemon listens on.
const PORTALS_MAX: usize = 64;

fn portals(key: &'static str, portals: &[SocketAddr]) -> Checked {
    if portals.is_empty() {
        return Err((key, "at least one address is needed, for instance \"0.0.0.0:3260\"".to_owned()));
    }
    listeners(key, portals)
}

fn listeners(key: &'static str, portals: &[SocketAddr]) -> Checked {
    if portals.len() > PORTALS_MAX {
        return Err((
            key,
            format!("{} addresses are given; at most {PORTALS_MAX} are allowed", portals.len()),
        ));
    }
    let twice = portals.iter().enumerate().find(|(i, p)| p.port() != 0 && portals[..*i].contains(p));
    match twice {
        Some((_, portal)) => Err((key, format!("the address {portal} is given twice"))),
        None => Ok(()),
    }
}

/// A name of useradd(8), or whatever else the system knows: it is looked up at start.
fn group(key: &'static str, group: &str) -> Checked {
    match group.len() > 255 || group.contains([':', '/', '\0', '\n', ' ']) {
        true => Err((key, format!("{group:?} cannot be the name of a group"))),
        false => Ok(()),
    }
}

/// Most names of a self-signed certificate.
const NAMES_MAX: usize = 64;

fn tls(tls: &Tls) -> Checked {
    listeners("control.tls.listen", &tls.listen)?;
    match (tls.certificate.as_os_str().is_empty(), tls.key.as_os_str().is_empty()) {
        (true, true) => {}
        (false, false) => {
            absolute("control.tls.certificate", &tls.certificate)?;
            absolute("control.tls.key", &tls.key)?;
        }
        (false, true) => {
            let message = "a certificate needs its private key: give control.tls.key as well".to_owned();
            return Err(("control.tls.certificate", message));
        }
        (true, false) => {
            let message =
                "a private key needs its certificate: give control.tls.certificate as well".to_owned();
            return Err(("control.tls.key", message));
        }
    }
    let key = "control.tls.names";
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '*');
    let good = |name: &String| (1..=253).contains(&name.len()) && name.chars().all(allowed);
    match tls.names.iter().find(|name| !good(name)) {
        Some(name) => Err((key, format!("{name:?} is neither a host name nor an address"))),
        None if tls.names.len() > NAMES_MAX => Err((key, format!("at most {NAMES_MAX} names are allowed"))),
        None => Ok(()),
    }
}

fn advertised(key: &'static str, portals: &[SocketAddr]) -> Checked {
    match portals.iter().find(|p| p.ip().is_unspecified() || p.port() == 0) {
        Some(portal) => {
            Err((key, format!("initiators cannot connect to {portal}; give a real address and port")))
        }
        None => Ok(()),
    }
}

/// `iqn.` + year-month + reversed domain (RFC 7143 §4.2.7.4), in the characters that RFC 3722 leaves.
fn name_prefix(key: &'static str, prefix: &str) -> Checked {
    const FORM: &str = "write it as iqn.2026-01.com.example: lower case, and a domain you own";
    const BYTES_MAX: usize = 128;
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-' | b':');
    let dated = |rest: &str| {
        let b = rest.as_bytes();
        b.len() > 8
            && b[..4].iter().all(u8::is_ascii_digit)
            && b[4] == b'-'
            && matches!(
                &rest[5..7],
                "01" | "02" | "03" | "04" | "05" | "06" | "07" | "08" | "09" | "10" | "11" | "12"
            )
            && b[7] == b'.'
    };
    let good = prefix.len() <= BYTES_MAX
        && prefix.bytes().all(allowed)
        && prefix.strip_prefix("iqn.").is_some_and(dated)
        && !prefix.ends_with([':', '.', '-']);
    match good {
        true => Ok(()),
        false => Err((key, format!("{prefix:?} is not the start of an iSCSI name; {FORM}"))),
    }
}

fn chap_algorithms(key: &'static str, algorithms: &[ChapAlgorithm]) -> Checked {
    match algorithms.is_empty() {
        true => Err((key, "without any, nobody could prove anything; leave the key out for all".to_owned())),
        false => Ok(()),
    }
}

/// A file that is named and not used is as much a slip as one that is missing.
fn discovery(discovery: &Discovery) -> Checked {
    let Discovery { user, secret_file, mutual_user, mutual_secret_file, .. } = discovery;
    let level = discovery.authentication;
    user_and_file(
        ["iscsi.discovery.user", "iscsi.discovery.secret_file"],
        user,
        secret_file,
        match level {
            Authentication::None => Err("authentication = \"chap\""),
            Authentication::Chap | Authentication::MutualChap => Ok(()),
        },
    )?;
    let keys = ["iscsi.discovery.mutual_user", "iscsi.discovery.mutual_secret_file"];
    user_and_file(
        keys,
        mutual_user,
        mutual_secret_file,
        match level {
            Authentication::None | Authentication::Chap => Err("authentication = \"mutual-chap\""),
            Authentication::MutualChap => Ok(()),
        },
    )?;
    let kinds = ["iqn.", "eui.", "naa."];
    let known = |name: &&String| kinds.iter().any(|kind| name.to_lowercase().starts_with(kind));
    match discovery.initiators.iter().find(|name| !known(name)) {
        Some(name) => Err((
            "iscsi.discovery.initiators",
            format!("{name:?} is no iSCSI name; write it as iqn.2026-01.com.example:host"),
        )),
        None => Ok(()),
    }
}

fn user_and_file(
    [user_key, file_key]: [&'static str; 2],
    user: &str,
    file: &Path,
    wanted: Result<(), &'static str>,
) -> Checked {
    const LEVEL: &str = "iscsi.discovery.authentication";
    match (wanted, user.is_empty(), file.as_os_str().is_empty()) {
        (Ok(()), true, _) => Err((LEVEL, format!("CHAP needs the name of a user: give {user_key} as well"))),
        (Ok(()), false, true) => {
            Err((LEVEL, format!("CHAP needs a file with the secret: give {file_key} as well")))
        }
        (Ok(()), false, false) => absolute(file_key, file),
        (Err(_), true, true) => Ok(()),
        (Err(with), false, _) => Err((user_key, format!("a CHAP user is of use only with {with}"))),
        (Err(with), true, false) => Err((file_key, format!("a CHAP secret is of use only with {with}"))),
    }
}

fn at_least_one(key: &'static str, value: u64, wanted: &str) -> Checked {
    match value {
        0 => Err((key, format!("must be {wanted}"))),
        _ => Ok(()),
    }
}
