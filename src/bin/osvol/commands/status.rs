//! `osvol status`.

use api::{DaemonStatus, Portal, SpaceLevel};
use config::Size;

use super::{counted, facts, health, scrub, time};
use crate::client::Client;
use crate::failure::Failure;
use crate::output::Output;

pub(crate) fn run(client: &Client, output: &Output) -> Result<(), Failure> {
    let answer = client.get::<DaemonStatus>(api::STATUS)?;
    if output.json {
        return output.text(&answer.json);
    }
    let status = answer.value;
    let portals: Vec<_> = status.portals.iter().map(Portal::host_port).collect();
    let mut lines = vec![
        (
            "Daemon",
            format!("osvold {}, process {}, up {}", status.version, status.pid, time(status.uptime_seconds)),
        ),
        ("Health", health(status.status, status.status_reason.as_deref())),
        ("Portals", portals.join(", ")),
        ("Store", status.store.clone()),
        ("Disk", disk(&status.capacity)),
        ("Kept back", kept_back(&status.capacity)),
        ("Golden images", status.golden_images.to_string()),
        ("OS volumes", format!("{} with {}", status.os_volumes, counted(status.sessions, "session"))),
        ("Provisioned", Size::from_bytes(status.provisioned_bytes).to_string()),
        ("Allocated", allocated(&status)),
        ("Scrub", scrub::brief(&status.scrub)),
    ];
    if status.orphans > 0 {
        let layers = counted(status.orphans, "layer");
        lines
            .push(("Orphans", format!("{layers} whose volume has lost its manifest; see osvol store check")));
    }
    lines.extend(status.catalog_damage.iter().map(|damage| ("Catalog", damage.clone())));
    output.text(&facts(&lines))
}

fn disk(capacity: &api::Capacity) -> String {
    let size = Size::from_bytes;
    let level = match capacity.level {
        SpaceLevel::Normal => String::new(),
        level => format!(" ({level})"),
    };
    format!("{} free for data of {}{level}", size(capacity.available_bytes), size(capacity.total_bytes))
}

fn kept_back(capacity: &api::Capacity) -> String {
    let reserve = format!("{} for metadata", Size::from_bytes(capacity.reserve_bytes));
    match capacity.withheld_bytes {
        0 => reserve,
        withheld => format!("{reserve}, {} for volumes with a reserve", Size::from_bytes(withheld)),
    }
}

/// The total, and what it is made of.
fn allocated(status: &DaemonStatus) -> String {
    let size = Size::from_bytes;
    let capacity = &status.capacity;
    format!(
        "{}: images {}, volumes {}, snapshots {}; the catalog and bundles {}",
        size(status.allocated_bytes),
        size(capacity.images_bytes),
        size(capacity.volumes_bytes),
        size(capacity.snapshots_bytes),
        size(capacity.catalog_bytes)
    )
}
