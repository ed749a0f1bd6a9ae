//! `osvol status`.

use api::{DaemonStatus, Portal};
use config::Size;

use super::{counted, facts, health};
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
            format!("osvold {}, process {}, up {}", status.version, status.pid, up(status.uptime_seconds)),
        ),
        ("Health", health(status.status, status.status_reason.as_deref())),
        ("Portals", portals.join(", ")),
        ("Store", status.store),
        ("Disk", disk(&status.capacity)),
        ("Golden images", status.golden_images.to_string()),
        ("OS volumes", format!("{} with {}", status.os_volumes, counted(status.sessions, "session"))),
        ("Provisioned", Size::from_bytes(status.provisioned_bytes).to_string()),
        ("Allocated", Size::from_bytes(status.allocated_bytes).to_string()),
    ]))
}

fn disk(capacity: &api::Capacity) -> String {
    let size = Size::from_bytes;
    format!("{} free of {}", size(capacity.available_bytes), size(capacity.total_bytes))
}

/// `3 d 4 h`, `5 min`: the two largest units.
fn up(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min"),
        (0, _, _) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}
