//! The one table of keys, and the search for keys that are not in it.

use toml::de::{DeTable, DeValue};

use crate::Fault;
use crate::error::line_at;

/// A key of the configuration file.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// `section.key`
    pub path: &'static str,
    /// The default, as it would be written.
    pub default: &'static str,
    /// What it does.
    pub about: &'static str,
}

/// Every key there is. The reference in docs/OPERATING.md is checked against this table.
pub const KEYS: &[Key] = &[
    Key {
        path: "store.path",
        default: "\"/var/lib/osvol\"",
        about: "Directory of golden images and OS volumes",
    },
    Key {
        path: "control.socket",
        default: "\"/run/osvol/control.sock\"",
        about: "Unix socket of the control API, made with mode 0600 (0660 with a group, 0666 when others may read)",
    },
    Key {
        path: "control.group",
        default: "\"\"",
        about: "Group whose members administer over the Unix socket, as root and osvold's own user do; empty for none",
    },
    Key {
        path: "control.others",
        default: "\"none\"",
        about: "What other users may do over the Unix socket: `none`, or `read`",
    },
    Key {
        path: "control.tls.listen",
        default: "[]",
        about: "Addresses and ports of the control API over TLS, such as `0.0.0.0:443`; none by default",
    },
    Key {
        path: "control.tls.certificate",
        default: "\"\"",
        about: "PEM file of the certificate and its chain; empty for a self-signed one, made at first start in the store",
    },
    Key {
        path: "control.tls.key",
        default: "\"\"",
        about: "PEM file of the certificate's private key; both files are read again when they change",
    },
    Key {
        path: "control.tls.names",
        default: "[]",
        about: "Names and addresses that a self-signed certificate is made for, beside the machine's own name",
    },
    Key {
        path: "boot.listen",
        default: "[]",
        about: "Addresses and ports of the boot scripts over plain HTTP, such as `10.0.0.1:8080`; none by default",
    },
    Key { path: "iscsi.portals", default: "[\"127.0.0.1:3260\"]", about: "Addresses and ports to listen on" },
    Key {
        path: "iscsi.advertise",
        default: "[]",
        about: "Addresses that initiators are told instead of those listened on (behind NAT)",
    },
    Key {
        path: "iscsi.name_prefix",
        default: "\"iqn.2026-01.io.osvol\"",
        about: "First part of every target name; `:<volume>-<id>` follows",
    },
    Key {
        path: "iscsi.allowed_addresses",
        default: "[]",
        about: "Addresses and ranges that connections may come from, such as `10.0.0.0/8`; empty for everywhere. Others are not even accepted",
    },
    Key {
        path: "iscsi.chap_algorithms",
        default: "[\"SHA3-256\", \"SHA-256\", \"SHA-1\", \"MD5\"]",
        about: "Algorithms of CHAP that initiators may use; iPXE and Windows know MD5 alone",
    },
    Key {
        path: "iscsi.discovery.authentication",
        default: "\"none\"",
        about: "What an initiator proves before it is told of targets: `none`, `chap`, or `mutual-chap`: osvold proves itself too, when it is asked",
    },
    Key {
        path: "iscsi.discovery.user",
        default: "\"\"",
        about: "CHAP name that the initiator must prove to be",
    },
    Key {
        path: "iscsi.discovery.secret_file",
        default: "\"\"",
        about: "File with its secret, of 12 to 255 characters; nobody but its owner and group may read it",
    },
    Key {
        path: "iscsi.discovery.mutual_user",
        default: "\"\"",
        about: "CHAP name that osvold proves to be when it is asked",
    },
    Key {
        path: "iscsi.discovery.mutual_secret_file",
        default: "\"\"",
        about: "File with osvold's secret, which must be another one",
    },
    Key {
        path: "iscsi.discovery.initiators",
        default: "[]",
        about: "iSCSI names that may discover targets; empty for all. Nobody discovers what it could not log in to",
    },
    Key {
        path: "iscsi.discovery.addresses",
        default: "[]",
        about: "Addresses and ranges that may discover targets; empty for everywhere",
    },
    Key {
        path: "images.qemu_img",
        default: "\"qemu-img\"",
        about: "Program that reads qcow2, vmdk, vhdx and dynamic vhd files",
    },
    Key {
        path: "images.convert_time_max",
        default: "\"1h\"",
        about: "Longest time that unpacking, checking and converting an image may take",
    },
    Key {
        path: "images.size_max",
        default: "\"16TiB\"",
        about: "Largest disk that may be added; what is unpacked ends there too",
    },
    Key {
        path: "images.concurrent_max",
        default: "4",
        about: "How many images may be added at a time, and how many disks exported",
    },
    Key {
        path: "plans.guestfish",
        default: "\"guestfish\"",
        about: "Program that runs plan scripts (Debian: guestfish), in a sandbox",
    },
    Key {
        path: "plans.bwrap",
        default: "\"bwrap\"",
        about: "Program that makes the sandbox (Debian: bubblewrap); nothing is ever run without it",
    },
    Key {
        path: "plans.appliance",
        default: "\"/var/lib/osvol-appliance\"",
        about: "Directory of the fixed appliance that guestfish boots; `osvol appliance build` makes it",
    },
    Key {
        path: "plans.concurrent_max",
        default: "0",
        about: "How many jobs of plan scripts run at a time; 0 for as many as there are processors",
    },
    Key { path: "plans.time_max", default: "\"10min\"", about: "Longest time of one job of plan scripts" },
    Key {
        path: "plans.acceleration",
        default: "\"auto\"",
        about: "How guestfish's virtual machine is run: `tcg` in software, `kvm`, or `auto`: KVM once it has been seen to run a guest here",
    },
    Key {
        path: "scrub.automatic",
        default: "true",
        about: "Whether passes of the scrub begin by themselves; `osvol scrub start` works either way",
    },
    Key { path: "scrub.pace", default: "\"16MiB\"", about: "Most that a scrub reads in a second" },
    Key {
        path: "scrub.interval",
        default: "\"7d\"",
        about: "From the end of a pass of the scrub to the beginning of the next",
    },
    Key {
        path: "log.level",
        default: "\"info\"",
        about: "error, warn, info, debug, trace, or a filter such as `info,osvold::portal=debug`",
    },
];

/// Refuses the first key that is not in the table.
pub(crate) fn check(text: &str) -> Result<(), Fault> {
    let document = DeTable::parse(text).map_err(|error| Fault::from_toml(text, &error))?;
    for (section, value) in document.get_ref() {
        let (name, offset) = (section.get_ref().as_ref(), section.span().start);
        if !sections().any(|known| known == name) {
            return Err(unknown_section(text, offset, name));
        }
        check_section(text, offset, name, value.get_ref())?;
    }
    Ok(())
}

/// A section with the sections below it: `[control.tls]` is below `[control]`.
fn check_section(text: &str, offset: usize, name: &str, value: &DeValue<'_>) -> Result<(), Fault> {
    let DeValue::Table(table) = value else {
        let message = format!("{name:?} is a section; write it as [{name}]");
        return Err(Fault::at(text, offset, message));
    };
    for (key, value) in table {
        let path = format!("{name}.{}", key.get_ref());
        if sections().any(|known| known == path) {
            check_section(text, key.span().start, &path, value.get_ref())?;
        } else if !KEYS.iter().any(|known| known.path == path) {
            return Err(unknown_key(text, key.span().start, name, key.get_ref()));
        }
    }
    Ok(())
}

fn sections() -> impl Iterator<Item = &'static str> {
    KEYS.iter().filter_map(|key| key.path.rsplit_once('.')).map(|(section, _)| section)
}

fn keys_of(section: &str) -> impl Iterator<Item = &'static str> {
    KEYS.iter()
        .filter_map(|key| key.path.rsplit_once('.'))
        .filter(move |(s, _)| *s == section)
        .map(|(_, key)| key)
}

fn unknown_section(text: &str, offset: usize, name: &str) -> Fault {
    let hint = KEYS
        .iter()
        .find(|key| key.path.rsplit_once('.').is_some_and(|(_, k)| k == name))
        .map(|key| key.path)
        .or_else(|| nearest(name, sections()));
    Fault::at(text, offset, format!("unknown section or key {name:?}{}", suggestion(hint)))
}

fn unknown_key(text: &str, offset: usize, section: &str, key: &str) -> Fault {
    let elsewhere =
        KEYS.iter().map(|known| known.path).find(|path| path.rsplit_once('.').is_some_and(|p| p.1 == key));
    let hint = elsewhere.or_else(|| nearest(key, keys_of(section)));
    Fault::at(text, offset, format!("unknown key {key:?} in [{section}]{}", suggestion(hint)))
}

fn suggestion(hint: Option<&str>) -> String {
    hint.map(|hint| format!("; did you mean {hint:?}?")).unwrap_or_default()
}

/// The closest word, whatever the distance: a file's author always meant one of them.
fn nearest(text: &str, words: impl Iterator<Item = &'static str>) -> Option<&'static str> {
    words.max_by(|a, b| strsim::jaro_winkler(text, a).total_cmp(&strsim::jaro_winkler(text, b)))
}

/// Line in which a key is set, `None` if it is not.
pub(crate) fn line_of(text: &str, path: &str) -> Option<usize> {
    let document = DeTable::parse(text).ok()?;
    let mut table = document.get_ref();
    let mut steps = path.split('.').peekable();
    while let Some(step) = steps.next() {
        let (key, value) = table.iter().find(|(key, _)| key.get_ref() == step)?;
        match value.get_ref() {
            DeValue::Table(below) if steps.peek().is_some() => table = below,
            _ => return steps.peek().is_none().then(|| line_at(text, key.span().start)),
        }
    }
    None
}
