//! cloud-init's files. What a plan gives no template for is made here; every text in it is JSON, which is YAML too, so
//! that no value means more than itself.

use api::CloudInit;
use serde_json::{Value, json};

use super::facts::Interface;
use super::fill::{Fault, Language, fill};
use super::{Facts, File};

/// The files of a seed for NoCloud.
pub(super) fn files(option: &CloudInit, facts: &Facts, volume: &str) -> Result<Vec<File>, Fault> {
    let given = |field: &str, text: &Option<String>, language: fn(&str) -> Language| {
        text.as_deref().map(|text| fill(field, text, language(text), &facts.values)).transpose()
    };
    let yaml = |_: &str| Language::Yaml;
    let meta = given("metaData", &option.meta_data, yaml)?.unwrap_or_else(|| meta_data(facts, volume));
    let user = given("userData", &option.user_data, Language::of_user_data)?;
    let network = given("networkConfig", &option.network_config, yaml)?.or_else(|| network_config(facts));
    let vendor = given("vendorData", &option.vendor_data, Language::of_user_data)?;
    let all = [
        ("meta-data", Some(meta)),
        ("user-data", Some(user.unwrap_or_else(|| user_data(facts)))),
        ("network-config", network),
        ("vendor-data", vendor),
    ];
    let file = |(name, text): (&str, Option<String>)| Some(File { name: name.to_owned(), text: text? });
    Ok(all.into_iter().filter_map(file).collect())
}

/// The volume's id is the instance's: another volume is another instance, the same one stays the same.
fn meta_data(facts: &Facts, volume: &str) -> String {
    format!("instance-id: {}\nlocal-hostname: {}\n", json!(volume), json!(facts.host_name))
}

fn user_data(facts: &Facts) -> String {
    let mut text = format!("#cloud-config\nhostname: {}\n", json!(facts.host_name));
    if let Some(fqdn) = &facts.fqdn {
        text += &format!("fqdn: {}\n", json!(fqdn));
    }
    text += "manage_etc_hosts: true\n";
    if !facts.ssh_keys.is_empty() {
        text += "ssh_authorized_keys:\n";
        text.extend(facts.ssh_keys.iter().map(|key| format!("  - {}\n", json!(key))));
    }
    if let Some(hash) = &facts.password_hash {
        text += &format!("password: {}\nchpasswd:\n  expire: false\n", json!(hash));
    }
    text
}

/// Version 2; `None` where nobody said anything of a network: cloud-init then asks for an address by DHCP.
fn network_config(facts: &Facts) -> Option<String> {
    if facts.interfaces.is_empty() {
        return None;
    }
    let (mut ethernets, mut vlans) = (String::new(), String::new());
    for one in &facts.interfaces {
        let name = device(one);
        ethernets += &format!("  {name}:\n");
        if let Some(mac) = &one.mac {
            ethernets += &format!("    match:\n      macaddress: {}\n", json!(mac));
        }
        match one.vlan {
            None => ethernets += &addresses(one),
            Some(id) => {
                ethernets += "    dhcp4: false\n";
                vlans += &format!("  {name}.{id}:\n    id: {id}\n    link: {name}\n{}", addresses(one));
            }
        }
    }
    let vlans = if vlans.is_empty() { vlans } else { format!("vlans:\n{vlans}") };
    Some(format!("version: 2\nethernets:\n{ethernets}{vlans}"))
}

/// The kernel's own name where no hardware address says which it is.
fn device(one: &Interface) -> String {
    match &one.mac {
        Some(_) => format!("nic{}", one.place + 1),
        None => format!("eth{}", one.place),
    }
}

fn addresses(one: &Interface) -> String {
    let mut text = format!("    dhcp4: {}\n", one.dhcp);
    if let Some((address, prefix)) = one.address {
        text += &format!("    addresses:\n      - {}\n", json!(format!("{address}/{prefix}")));
    }
    if let Some(gateway) = one.gateway {
        text += &format!("    gateway4: {}\n", json!(gateway));
    }
    // A domain to search without a server to ask makes cloud-init 22.4 drop the rest of the interface.
    if !one.dns.is_empty() {
        let search: Vec<&String> = one.domain.iter().collect();
        let servers: Vec<Value> = one.dns.iter().map(|server| json!(server)).collect();
        text += &format!(
            "    nameservers:\n      addresses: {}\n      search: {}\n",
            json!(servers),
            json!(search)
        );
    }
    text
}
