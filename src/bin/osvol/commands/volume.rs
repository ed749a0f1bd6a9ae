//! `osvol volume`.

use api::{Collection, ExportChange, NewOsVolume, OsVolume, OsVolumeChange, SizeSpec};
use config::Size;

use super::{access, attach, export, facts, health, path, resource};
use crate::args::{Limit, VolumeCommand};
use crate::client::Client;
use crate::connect;
use crate::failure::Failure;
use crate::output::Output;
use crate::table::{Column, Table};

pub(crate) fn run(command: &VolumeCommand, client: &Client, output: &Output) -> Result<(), Failure> {
    match command {
        VolumeCommand::Create { name, image, snapshot, size, access, exclusive, disk } => {
            let new = NewOsVolume {
                kind: None,
                name: name.clone(),
                golden_image_uri: image.clone(),
                snapshot_uri: snapshot.clone(),
                size: size.map(|size| SizeSpec(size.bytes())),
                export: ExportChange { exclusive: exclusive.then_some(true), ..access::asked(access, disk)? },
            };
            create(client, output, &new)
        }
        VolumeCommand::Export { name, snapshot, to } => {
            let volume = resource(api::OS_VOLUMES, name)?;
            let (path, what) = match snapshot {
                None => (volume, format!("volume {name}")),
                Some(snapshot) => (
                    resource(&format!("{volume}/snapshots"), snapshot)?,
                    format!("snapshot {snapshot} of volume {name}"),
                ),
            };
            export::run(&format!("{path}/content"), &what, to, client, output)
        }
        VolumeCommand::Attach { name, to } => attach::attach(name, to, client, output),
        VolumeCommand::Detach { name } => attach::detach(name, client, output),
        VolumeCommand::Attachments => attach::list(client, output),
        VolumeCommand::Access { name, change } => access::change(client, output, name, change),
        VolumeCommand::Redirect { name, to } => access::redirect(client, output, name, to),
        VolumeCommand::List => list(client, output),
        VolumeCommand::Log { name } => {
            output.text(&client.text(&path(&format!("{}/archive", api::OS_VOLUMES), name))?)
        }
        VolumeCommand::Show { name } => show(client, output, name),
        VolumeCommand::Grow { name, size } => grow(client, output, name, *size),
        VolumeCommand::Set { name, quota, reserve } => set(client, output, name, *quota, *reserve),
        VolumeCommand::Remove { name, force } => remove(client, output, name, *force),
    }
}

fn create(client: &Client, output: &Output, new: &NewOsVolume) -> Result<(), Failure> {
    let answer = client.post::<OsVolume>(api::OS_VOLUMES, new)?;
    match output.json {
        true => output.text(&answer.json),
        false => output.text(&format!(
            "volume {} created: {}, {}",
            answer.value.name,
            Size::from_bytes(answer.value.provisioned_bytes),
            answer.value.iscsi_name
        )),
    }
}

fn list(client: &Client, output: &Output) -> Result<(), Failure> {
    let answer = client.get::<Collection<OsVolume>>(&format!("{}?start=0&count=-1", api::OS_VOLUMES))?;
    if output.json {
        return output.text(&answer.json);
    }
    let mut table = Table::new(&[
        Column::Left("NAME"),
        Column::Left("STATE"),
        Column::Left("HEALTH"),
        Column::Right("PROVISIONED"),
        Column::Right("ALLOCATED"),
        Column::Cut("ISCSI NAME"),
        Column::Left("IP ADDRESS"),
        Column::Right("PORT"),
        Column::Left("PROFILE"),
    ]);
    for volume in answer.value.members {
        let (address, port) = reached_at(&volume);
        table.row(vec![
            volume.name,
            volume.state,
            volume.status.to_string(),
            Size::from_bytes(volume.provisioned_bytes).to_string(),
            Size::from_bytes(volume.allocated_bytes).to_string(),
            volume.iscsi_name,
            address,
            port,
            volume.profile_name.unwrap_or_else(|| "-".to_owned()),
        ]);
    }
    output.table(&table)
}

/// The first portal, and how many more there are.
fn reached_at(volume: &OsVolume) -> (String, String) {
    match volume.portals.as_slice() {
        [] => ("-".to_owned(), "-".to_owned()),
        [portal] => (portal.address.clone(), portal.port.to_string()),
        [portal, more @ ..] => (format!("{} (+{})", portal.address, more.len()), portal.port.to_string()),
    }
}

fn show(client: &Client, output: &Output, name: &str) -> Result<(), Failure> {
    let answer = client.get::<OsVolume>(&resource(api::OS_VOLUMES, name)?)?;
    if output.json {
        return output.text(&answer.json);
    }
    let volume = &answer.value;
    let portals: Vec<_> = volume.portals.iter().map(api::Portal::host_port).collect();
    let sessions: Vec<_> = volume.sessions.iter().map(session).collect();
    let bytes = |bytes| format!("{} ({bytes} bytes)", Size::from_bytes(bytes));
    let mut all = vec![
        ("Name", volume.name.clone()),
        ("Id", volume.id.clone()),
        ("Profile", profile_words(volume)),
        ("State", volume.state.clone()),
        ("Health", health(volume.status, volume.status_reason.as_deref())),
        ("Golden image", volume.image_name.clone().unwrap_or_else(|| "none".to_owned())),
        ("Provisioned", bytes(volume.provisioned_bytes)),
        ("Allocated", bytes(volume.allocated_bytes)),
        ("Quota", quota_words(volume)),
        ("Reserve", reserve_words(volume)),
        ("iSCSI name", volume.iscsi_name.clone()),
        ("LUN", volume.lun.to_string()),
        ("Portals", portals.join(", ")),
    ];
    all.extend(access::facts(volume));
    all.extend([
        ("Logged in", if sessions.is_empty() { "nobody".to_owned() } else { sessions.join(", ") }),
        ("Created", volume.created.clone()),
    ]);
    output.text(&format!("{}\n{}", facts(&all), connect::lines(volume)))
}

/// `web01, generation 3, for iqn.…`
fn profile_words(volume: &OsVolume) -> String {
    let Some(profile) = &volume.profile_name else { return "none: made directly".to_owned() };
    let initiator = volume.dependent_artifacts.iter().find_map(|server| server.server_iqn.as_deref());
    let generation = volume.generation.unwrap_or_default();
    match initiator {
        Some(initiator) => format!("{profile}, generation {generation}, for {initiator}"),
        None => format!("{profile}, generation {generation}"),
    }
}

fn session(session: &api::SessionSummary) -> String {
    match &session.address {
        Some(address) => format!("{} from {address}", session.initiator_name),
        None => session.initiator_name.clone(),
    }
}

fn grow(client: &Client, output: &Output, name: &str, size: Size) -> Result<(), Failure> {
    let change = OsVolumeChange { size: Some(SizeSpec(size.bytes())), ..OsVolumeChange::default() };
    let answer = client.patch::<OsVolume>(&resource(api::OS_VOLUMES, name)?, &change)?;
    let size = Size::from_bytes(answer.value.provisioned_bytes);
    match output.json {
        true => output.text(&answer.json),
        false => output.text(&format!("volume {} has {size} now", answer.value.name)),
    }
}

fn set(
    client: &Client,
    output: &Output,
    name: &str,
    quota: Option<Limit>,
    reserve: Option<Limit>,
) -> Result<(), Failure> {
    let bytes = |Limit(limit): Limit| limit.map(|size| SizeSpec(size.bytes()));
    let change = OsVolumeChange {
        quota_bytes: quota.map(bytes),
        reserve_bytes: reserve.map(bytes),
        ..OsVolumeChange::default()
    };
    let answer = client.patch::<OsVolume>(&resource(api::OS_VOLUMES, name)?, &change)?;
    match output.json {
        true => output.text(&answer.json),
        false => {
            let volume = &answer.value;
            let words = format!("volume {}: {}, {}", volume.name, quota_words(volume), reserve_words(volume));
            output.text(&words)
        }
    }
}

/// `3.1 GiB used of a quota of 10 GiB`.
fn quota_words(volume: &OsVolume) -> String {
    match volume.quota_bytes {
        Some(quota) => {
            format!("{} used of a quota of {}", Size::from_bytes(volume.used_bytes), Size::from_bytes(quota))
        }
        None => "no quota".to_owned(),
    }
}

fn reserve_words(volume: &OsVolume) -> String {
    match volume.reserve_bytes {
        Some(reserve) => format!("a reserve of {}", Size::from_bytes(reserve)),
        None => "no reserve".to_owned(),
    }
}

fn remove(client: &Client, output: &Output, name: &str, force: bool) -> Result<(), Failure> {
    let path = resource(api::OS_VOLUMES, name)?;
    client.delete(&if force { format!("{path}?force=True") } else { path })?;
    match output.json {
        true => Ok(()),
        false => output.text(&format!("volume {name} removed")),
    }
}
