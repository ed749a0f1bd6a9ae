//! `osvol session`: initiators that are logged in.

use api::{Collection, IscsiSession};

use super::{encoded, facts, path};
use crate::args::SessionCommand;
use crate::client::Client;
use crate::failure::Failure;
use crate::output::Output;
use crate::table::{Column, Table};

pub(crate) fn run(command: &SessionCommand, client: &Client, output: &Output) -> Result<(), Failure> {
    match command {
        SessionCommand::List { volume } => list(volume.as_deref(), client, output),
        SessionCommand::Show { tsih } => show(*tsih, client, output),
        SessionCommand::End { tsih } => end(*tsih, client, output),
    }
}

fn list(volume: Option<&str>, client: &Client, output: &Output) -> Result<(), Failure> {
    let filter = volume.map(|name| format!("&filter={}", encoded(&format!("volumeName='{name}'"))));
    let query = format!("{}?start=0&count=-1{}", api::ISCSI_SESSIONS, filter.unwrap_or_default());
    let answer = client.get::<Collection<IscsiSession>>(&query)?;
    if output.json {
        return output.text(&answer.json);
    }
    let mut table = Table::new(&[
        Column::Right("TSIH"),
        Column::Left("VOLUME"),
        Column::Cut("INITIATOR"),
        Column::Left("ADDRESS"),
        Column::Left("PORTAL"),
        Column::Left("CHAP"),
        Column::Left("SINCE"),
    ]);
    for session in answer.value.members {
        table.row(vec![
            session.tsih.to_string(),
            session.volume_name.or(session.target_name).unwrap_or_else(|| "(discovery)".to_owned()),
            session.initiator_name,
            session.address,
            session.portal,
            session.chap_name.unwrap_or_else(|| "-".to_owned()),
            session.created,
        ]);
    }
    output.table(&table)
}

fn show(tsih: u16, client: &Client, output: &Output) -> Result<(), Failure> {
    let answer = client.get::<IscsiSession>(&path(api::ISCSI_SESSIONS, &tsih.to_string()))?;
    if output.json {
        return output.text(&answer.json);
    }
    let session = answer.value;
    let digest = |agreed| if agreed { "CRC32C" } else { "none" };
    let digests = format!("header {}, data {}", digest(session.header_digest), digest(session.data_digest));
    output.text(&facts(&[
        ("Session", session.tsih.to_string()),
        ("Initiator", session.initiator_name),
        ("ISID", session.isid),
        ("Address", session.address),
        ("Portal", session.portal),
        ("Target", session.target_name.unwrap_or_else(|| "none: it is a discovery session".to_owned())),
        ("Volume", session.volume_name.unwrap_or_else(|| "-".to_owned())),
        ("CHAP", session.chap_name.unwrap_or_else(|| "not asked for".to_owned())),
        ("Digests", digests),
        ("Since", session.created),
    ]))
}

fn end(tsih: u16, client: &Client, output: &Output) -> Result<(), Failure> {
    let uri = path(api::ISCSI_SESSIONS, &tsih.to_string());
    client.request("DELETE", &uri, &serde_json::Value::Null)?;
    match output.json {
        true => Ok(()),
        false => output.text(&format!("session {tsih} ended")),
    }
}
