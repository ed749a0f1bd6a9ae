//! `osvol status`.

use api::{DaemonStatus, Portal};
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
    output.text(&facts(&[
        (
            "Daemon",
            format!("osvold {}, process {}, up {}", status.version, status.pid, time(status.uptime_seconds)),
        ),
        ("Health", health(status.status, status.status_reason.as_deref())),
        ("Portals", portals.join(", ")),
        ("Store", status.store),
        ("Disk", disk(&status.capacity)),
        ("Golden images", status.golden_images.to_string()),
        ("OS volumes", format!("{} with {}", status.os_volumes, counted(status.sessions, "session"))),
        ("Provisioned", Size::from_bytes(status.provisioned_bytes).to_string()),
        ("Allocated", Size::from_bytes(status.allocated_bytes).to_string()),
        ("Scrub", scrub::brief(&status.scrub)),
    ]))
}

fn disk(capacity: &api::Capacity) -> String {
    let size = Size::from_bytes;
    format!("{} free of {}", size(capacity.available_bytes), size(capacity.total_bytes))
}
