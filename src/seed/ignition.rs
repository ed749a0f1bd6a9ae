//! Ignition's configuration: files, and keys of the user `core`.

use api::CloudInit;
use serde_json::{Value, json};

use super::facts::Interface;
use super::fill::{Fault, Language, fill};
use super::{Facts, File};

/// Version of the configuration that is made: the first has all that is said. Ignition refuses what is newer than itself, and
/// Debian 12's ends at 3.3.0.
const VERSION: &str = "3.0.0";
/// Names of the file: openSUSE looks for the second one.
const FILES: [&str; 2] = ["config.ign", "ignition/config.ign"];

/// The file of a seed for Ignition.
pub(super) fn files(option: &CloudInit, facts: &Facts) -> Result<Vec<File>, Fault> {
    let text = match &option.user_data {
        None => made(facts).to_string(),
        Some(template) => {
            let text = fill("userData", template, Language::Json, &facts.values)?;
            check(&text)?;
            text
        }
    };
    Ok(FILES.map(|name| File { name: name.to_owned(), text: text.clone() }).into())
}

/// A template is given whole: it must be a configuration.
fn check(text: &str) -> Result<(), Fault> {
    let parsed: Value = serde_json::from_str(text).map_err(|error| {
        Fault::whole(
            "userData",
            format!("with its values it is no JSON: line {}, column {}", error.line(), error.column()),
        )
    })?;
    match parsed["ignition"]["version"].as_str() {
        Some(version) if version.starts_with("3.") => Ok(()),
        _ => Err(Fault::whole(
            "userData",
            "an Ignition configuration says {\"ignition\": {\"version\": \"3.0.0\"}}, or a later 3",
        )),
    }
}

fn made(facts: &Facts) -> Value {
    let mut files =
        vec![file("/etc/hostname", 0o644, &format!("{}\n", facts.fqdn.as_ref().unwrap_or(&facts.host_name)))];
    for one in &facts.interfaces {
        let name = one.name.to_ascii_lowercase();
        files.push(file(
            &format!("/etc/NetworkManager/system-connections/{name}.nmconnection"),
            0o600,
            &keyfile(one, &name),
        ));
    }
    let mut config = json!({ "ignition": { "version": VERSION }, "storage": { "files": files } });
    let mut core = json!({ "name": "core" });
    if !facts.ssh_keys.is_empty() {
        core["sshAuthorizedKeys"] = json!(facts.ssh_keys);
    }
    if let Some(hash) = &facts.password_hash {
        core["passwordHash"] = json!(hash);
    }
    if core.as_object().is_some_and(|core| core.len() > 1) {
        config["passwd"] = json!({ "users": [core] });
    }
    config
}

fn file(path: &str, mode: u32, text: &str) -> Value {
    json!({ "path": path, "mode": mode, "overwrite": true, "contents": { "source": format!("data:,{}", percent(text)) } })
}

/// A text in a data URL (RFC 2397).
fn percent(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    text.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

/// A connection for NetworkManager.
fn keyfile(one: &Interface, id: &str) -> String {
    let device = match &one.mac {
        Some(_) => String::new(),
        None => format!("interface-name=eth{}\n", one.place),
    };
    let (kind, mut text) = match one.vlan {
        None => ("ethernet", String::new()),
        Some(vlan) => {
            let parent =
                one.mac.as_ref().map_or_else(|| format!("parent=eth{}\n", one.place), |_| String::new());
            ("vlan", format!("\n[vlan]\nid={vlan}\n{parent}"))
        }
    };
    let device = if one.vlan.is_some() { String::new() } else { device };
    text = format!("[connection]\nid={id}\ntype={kind}\n{device}{text}");
    if let Some(mac) = &one.mac {
        text += &format!("\n[ethernet]\nmac-address={mac}\n");
    }
    text += "\n[ipv4]\n";
    match one.address {
        Some((address, prefix)) => text += &format!("method=manual\naddress1={address}/{prefix}\n"),
        None => text += "method=auto\n",
    }
    if let Some(gateway) = one.gateway {
        text += &format!("gateway={gateway}\n");
    }
    if !one.dns.is_empty() {
        let servers: String = one.dns.iter().map(|server| format!("{server};")).collect();
        text += &format!("dns={servers}\n");
    }
    if let Some(domain) = &one.domain {
        text += &format!("dns-search={domain};\n");
    }
    text
}
