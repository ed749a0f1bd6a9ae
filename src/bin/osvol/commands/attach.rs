//! `osvol volume attach`, `detach` and `attachments`.

use std::path::Path;
use std::time::Duration;

use api::{Attachment, Collection, NewAttachment, OsVolume};
use tokio::signal::unix::{SignalKind, signal};

use super::resource;
use crate::args::AttachTo;
use crate::client::Client;
use crate::failure::Failure;
use crate::output::Output;
use crate::table::{Column, Table};

/// How often it is looked whether the attachment is still there.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Attaches a volume, and stays until told to stop.
pub(crate) fn attach(name: &str, to: &AttachTo, client: &Client, output: &Output) -> Result<(), Failure> {
    let socket = to.socket.as_deref().map(absolute).transpose()?;
    let new = NewAttachment { writable: to.writable, snapshot: to.snapshot, socket };
    let path = format!("{}/attachments", resource(api::OS_VOLUMES, name)?);
    if to.detach {
        let answer = client.post::<Attachment>(&path, &new)?;
        return tell(&answer.value, &answer.json, output);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(Failure::Output)?.block_on(stay(&path, &new, client, output))
}

fn tell(attachment: &Attachment, json: &str, output: &Output) -> Result<(), Failure> {
    output.text(if output.json { json } else { &attachment.nbd_uri })
}

/// The daemon makes the socket, and has another directory to begin from.
fn absolute(socket: &Path) -> Result<String, Failure> {
    let path = std::path::absolute(socket).map_err(|source| Failure::File {
        operation: "find",
        path: socket.to_owned(),
        source,
    })?;
    Ok(path.display().to_string())
}

/// The signals are listened for first: one that comes at once must not leave the attachment behind.
async fn stay(path: &str, new: &NewAttachment, client: &Client, output: &Output) -> Result<(), Failure> {
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::Output)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(Failure::Output)?;
    let mut hangup = signal(SignalKind::hangup()).map_err(Failure::Output)?;
    let answer = client.post::<Attachment>(path, new)?;
    let attachment = &answer.value;
    let told = tell(attachment, &answer.json, output);
    if told.is_ok() && !output.json {
        eprintln!("volume {} is attached{}; ^C detaches it", attachment.volume_name, how(attachment));
    }
    let mut ended = told;
    while ended.is_ok() {
        tokio::select! {
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
            _ = hangup.recv() => break,
            () = tokio::time::sleep(LOOK_EVERY) => {
                ended = client.get::<Attachment>(&attachment.uri).map(drop);
            }
        }
    }
    if let Err(failure @ (Failure::Refused(_) | Failure::Connect { .. })) = ended {
        return Err(failure);
    }
    let last = end(&attachment.uri, client)?;
    warn(&last);
    ended
}

fn how(attachment: &Attachment) -> &'static str {
    match (attachment.writable, attachment.snapshot) {
        (true, _) => " to be written to, and exported to nobody meanwhile",
        (false, true) => " read-only, as it is at this moment",
        (false, false) => " read-only, as it is at each moment",
    }
}

fn end(uri: &str, client: &Client) -> Result<Attachment, Failure> {
    let reply = client.request("DELETE", uri, &serde_json::Value::Null)?;
    client.read(&reply.body)
}

fn warn(last: &Attachment) {
    if let Some(doubt) = &last.doubt {
        eprintln!("osvol: not all that was written to volume {} may be there: {doubt}", last.volume_name);
    }
}

/// Detaches all attachments of a volume.
pub(crate) fn detach(name: &str, client: &Client, output: &Output) -> Result<(), Failure> {
    let volume = resource(api::OS_VOLUMES, name)?;
    let path = format!("{}?start=0&count=-1", api::ATTACHMENTS);
    let mut all = client.get::<Collection<Attachment>>(&path)?.value.members;
    // The volume itself may be gone: one that is attached as it was does not hold it.
    all.retain(|attachment| attachment.volume_name == name || attachment.volume_uri == volume);
    if all.is_empty() {
        client.get::<OsVolume>(&volume)?;
    }
    for attachment in &all {
        warn(&end(&attachment.uri, client)?);
    }
    match (output.json, all.len()) {
        (true, _) => Ok(()),
        (false, 0) => output.text(&format!("volume {name} is not attached")),
        (false, _) => output.text(&format!("volume {name} detached")),
    }
}

pub(crate) fn list(client: &Client, output: &Output) -> Result<(), Failure> {
    let path = format!("{}?start=0&count=-1", api::ATTACHMENTS);
    let answer = client.get::<Collection<Attachment>>(&path)?;
    if output.json {
        return output.text(&answer.json);
    }
    let mut table = Table::new(&[
        Column::Left("VOLUME"),
        Column::Left("ACCESS"),
        Column::Right("CLIENTS"),
        Column::Left("SINCE"),
        Column::Cut("URI"),
    ]);
    for attachment in answer.value.members {
        let access = match (attachment.writable, attachment.snapshot) {
            (true, _) => "read-write",
            (false, true) => "snapshot",
            (false, false) => "read-only",
        };
        let clients = attachment.clients.to_string();
        let Attachment { volume_name, created, nbd_uri, .. } = attachment;
        table.row(vec![volume_name, access.to_owned(), clients, created, nbd_uri]);
    }
    output.table(&table)
}
