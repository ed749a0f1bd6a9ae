//! `serve`, `unserve` and `served` of golden images and snapshots.

use api::{Collection, GoldenImage, NewReadOnlyTarget, ReadOnlyTarget, Snapshot};
use config::Size;

use super::{access, path, resource};
use crate::args::ServeOptions;
use crate::args::access::DiskOptions;
use crate::client::Client;
use crate::failure::Failure;
use crate::output::Output;
use crate::table::{Column, Table};

/// What is served.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Served<'a> {
    /// A golden image, by name or id.
    Image(&'a str),
    /// A snapshot, by names or ids of its volume and itself.
    Snapshot(&'a str, &'a str),
}

impl Served<'_> {
    fn words(self) -> String {
        match self {
            Self::Image(name) => format!("golden image {name}"),
            Self::Snapshot(volume, name) => format!("snapshot {name} of volume {volume}"),
        }
    }

    fn snapshot(volume: &str, name: &str) -> Result<String, Failure> {
        resource(&format!("{}/snapshots", resource(api::OS_VOLUMES, volume)?), name)
    }
}

pub(crate) fn serve(
    what: Served<'_>,
    options: &ServeOptions,
    client: &Client,
    output: &Output,
) -> Result<(), Failure> {
    let disk = DiskOptions { block_size: options.block_size, write_cache: None };
    let export = access::asked(&options.access, &disk)?;
    let (golden_image_uri, snapshot_uri) = match what {
        Served::Image(name) => (Some(name.to_owned()), None),
        Served::Snapshot(volume, name) => (None, Some(Served::snapshot(volume, name)?)),
    };
    let new = NewReadOnlyTarget { golden_image_uri, snapshot_uri, export };
    let answer = client.post::<ReadOnlyTarget>(api::READ_ONLY_TARGETS, &new)?;
    match output.json {
        true => output.text(&answer.json),
        false => output.text(&format!("{} is served as {}", what.words(), answer.value.iscsi_name)),
    }
}

pub(crate) fn unserve(
    what: Served<'_>,
    force: bool,
    client: &Client,
    output: &Output,
) -> Result<(), Failure> {
    let id = match what {
        Served::Image(name) => client.get::<GoldenImage>(&path(api::GOLDEN_IMAGES, name))?.value.id,
        Served::Snapshot(volume, name) => client.get::<Snapshot>(&Served::snapshot(volume, name)?)?.value.id,
    };
    let query = if force { "?force=True" } else { "" };
    client.delete(&format!("{}/{id}{query}", api::READ_ONLY_TARGETS))?;
    match output.json {
        true => Ok(()),
        false => output.text(&format!("{} is served no more", what.words())),
    }
}

pub(crate) fn list(client: &Client, output: &Output) -> Result<(), Failure> {
    let path = format!("{}?start=0&count=-1", api::READ_ONLY_TARGETS);
    let answer = client.get::<Collection<ReadOnlyTarget>>(&path)?;
    if output.json {
        return output.text(&answer.json);
    }
    let mut table = Table::new(&[
        Column::Left("IMAGE OR SNAPSHOT"),
        Column::Left("HEALTH"),
        Column::Right("SIZE"),
        Column::Right("SESSIONS"),
        Column::Cut("TARGET"),
    ]);
    for target in answer.value.members {
        let name = match target.volume_name {
            Some(volume) => format!("{volume}/{}", target.name),
            None => target.name,
        };
        let size = Size::from_bytes(target.size).to_string();
        let sessions = target.sessions.len().to_string();
        table.row(vec![name, target.status.to_string(), size, sessions, target.iscsi_name]);
    }
    output.table(&table)
}
