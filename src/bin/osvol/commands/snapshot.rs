//! `osvol snapshot`.

use api::{Collection, Name, NewSnapshot, OsVolume, Snapshot};
use config::Size;

use super::resource;
use super::serve::{self, Served};
use crate::args::SnapshotCommand;
use crate::client::Client;
use crate::failure::Failure;
use crate::output::Output;
use crate::table::{Column, Table};

pub(crate) fn run(command: &SnapshotCommand, client: &Client, output: &Output) -> Result<(), Failure> {
    match command {
        SnapshotCommand::Create { volume, name } => create(client, output, volume, name),
        SnapshotCommand::Serve { volume, name, serve } => {
            serve::serve(Served::Snapshot(volume, name), serve, client, output)
        }
        SnapshotCommand::Unserve { volume, name, force } => {
            serve::unserve(Served::Snapshot(volume, name), *force, client, output)
        }
        SnapshotCommand::Served => serve::list(client, output),
        SnapshotCommand::List { volume } => list(client, output, volume.as_deref()),
        SnapshotCommand::Remove { volume, name } => remove(client, output, volume, name),
        SnapshotCommand::Rollback { volume, name, force } => roll_back(client, output, volume, name, *force),
    }
}

fn snapshots(volume: &str) -> Result<String, Failure> {
    Ok(format!("{}/snapshots", resource(api::OS_VOLUMES, volume)?))
}

fn create(client: &Client, output: &Output, volume: &str, name: &Name) -> Result<(), Failure> {
    let answer = client.post::<Snapshot>(&snapshots(volume)?, &NewSnapshot { name: name.clone() })?;
    match output.json {
        true => output.text(&answer.json),
        false => output.text(&format!("snapshot {name} of volume {volume} taken")),
    }
}

fn list(client: &Client, output: &Output, volume: Option<&str>) -> Result<(), Failure> {
    let path = volume.map_or_else(|| Ok(api::SNAPSHOTS.to_owned()), snapshots)?;
    let answer =
        client.get::<Collection<Snapshot>>(&format!("{path}?start=0&count=-1&sort=created:ascending"))?;
    if output.json {
        return output.text(&answer.json);
    }
    let mut table = Table::new(&[
        Column::Left("VOLUME"),
        Column::Left("SNAPSHOT"),
        Column::Right("SIZE"),
        Column::Left("TAKEN"),
    ]);
    for snapshot in answer.value.members {
        let size = Size::from_bytes(snapshot.size).to_string();
        table.row(vec![snapshot.volume_name, snapshot.name, size, snapshot.created]);
    }
    output.table(&table)
}

fn remove(client: &Client, output: &Output, volume: &str, name: &str) -> Result<(), Failure> {
    client.delete(&resource(&snapshots(volume)?, name)?)?;
    match output.json {
        true => Ok(()),
        false => output.text(&format!("snapshot {name} of volume {volume} removed")),
    }
}

fn roll_back(client: &Client, output: &Output, volume: &str, name: &str, force: bool) -> Result<(), Failure> {
    let path = format!("{}/rollback", resource(&snapshots(volume)?, name)?);
    let path = if force { format!("{path}?force=True") } else { path };
    let answer = client.post::<OsVolume>(&path, &serde_json::Value::Null)?;
    match output.json {
        true => output.text(&answer.json),
        false => output.text(&format!("volume {volume} is as snapshot {name} was")),
    }
}
