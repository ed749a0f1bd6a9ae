//! `osvol bundle`.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Read, Write, stderr, stdin};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use api::{ArtifactBundle, Collection, Task};
use config::Size;
use serde_json::{Value, json};

use super::asking::proceed;
use super::named::{Named, said};
use super::plan::yes_no;
use super::{counted, facts, path, task};
use crate::args::artifacts::BundleCommand;
use crate::client::{Client, UploadError};
use crate::failure::Failure;
use crate::newfile::NewFile;
use crate::output::Output;
use crate::table::{Column, Table};

const BUNDLES: Named = Named { collection: api::ARTIFACT_BUNDLES, words: "bundle" };
/// Bytes that are read at a time.
const PART_BYTES: usize = 1 << 20;
const BACKUPS: &str = "/rest/artifact-bundles/backups";

pub(crate) fn run(command: &BundleCommand, client: &Client, output: &Output) -> Result<(), Failure> {
    match command {
        BundleCommand::Create { name, plan, build_plan, script, image, description } => {
            let chosen = |names: &[String]| -> Value {
                names.iter().map(|name| json!({ "resourceUri": name, "readOnly": false })).collect()
            };
            let body = json!({
                "name": name, "description": description.clone().unwrap_or_default(),
                "deploymentPlans": chosen(plan), "buildPlans": chosen(build_plan),
                "planScripts": chosen(script), "goldenImages": chosen(image),
            });
            let task = begun("POST", api::ARTIFACT_BUNDLES, &body, client)?;
            followed(&task, &format!("bundle {name} created"), client, output)
        }
        BundleCommand::List => list(client, output),
        BundleCommand::Show { name } => show(name, client, output),
        BundleCommand::Upload { file } => upload(file, client, output),
        BundleCommand::Extract { name, rename } => {
            let at = format!("{}?extract=true&forceImport={rename}", BUNDLES.path(name));
            let task = begun("PUT", &at, &Value::Null, client)?;
            followed(&task, "", client, output)
        }
        BundleCommand::Download { name, file, force } => download(name, file, *force, client, output),
        BundleCommand::Rename { name, to } => {
            let reply = client.request("PUT", &BUNDLES.path(name), &json!({ "name": to }))?;
            said(output, &reply.body, &format!("bundle {name} is now {to}"))
        }
        BundleCommand::Remove { name } => BUNDLES.remove(name, client, output),
        BundleCommand::Backup => {
            let task = begun("POST", BACKUPS, &json!({}), client)?;
            followed(&task, "backup of all artifacts made", client, output)
        }
        BundleCommand::Restore { yes } => restore(*yes, client, output),
    }
}

/// A request that begins a task.
fn begun(method: &str, at: &str, body: &Value, client: &Client) -> Result<Task, Failure> {
    let reply = client.request(method, at, body)?;
    client.read(&reply.body)
}

/// Follows a task, and says what came of it: in these words, or in its own.
fn followed(begun: &Task, words: &str, client: &Client, output: &Output) -> Result<(), Failure> {
    let task = task::follow(&begun.id, client, output)?;
    match output.json {
        true => {
            let json = serde_json::to_string(&task).map_err(|error| client.protocol(error.to_string()))?;
            output.text(&json)
        }
        false => output.text(if words.is_empty() { &task.task_status } else { words }),
    }
}

fn restore(yes: bool, client: &Client, output: &Output) -> Result<(), Failure> {
    if !yes {
        if !stdin().is_terminal() {
            return Err(Failure::NeedsYesPlain(
                "all artifacts are replaced by those of the backup".to_owned(),
            ));
        }
        let mut err = stderr();
        writeln!(err, "All artifacts are removed, and those of the backup made.").map_err(Failure::Output)?;
        if !proceed(&mut stdin().lock(), &mut err)? {
            return Err(Failure::Cancelled);
        }
    }
    let task = begun("PUT", &format!("{BACKUPS}/archive"), &json!({}), client)?;
    followed(&task, "", client, output)
}

fn upload(file: &Path, client: &Client, output: &Output) -> Result<(), Failure> {
    let mut source = File::open(file).map_err(Failure::file("open", file))?;
    let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let json = client.upload_file(api::ARTIFACT_BUNDLES, &name, |out| {
        let mut part = vec![0; PART_BYTES];
        loop {
            match source.read(&mut part) {
                Ok(0) => return Ok(()),
                Ok(read) => out.write_all(&part[..read]).map_err(UploadError::Send)?,
                Err(error) => return Err(UploadError::Source(Failure::file("read", file)(error))),
            }
        }
    })?;
    let bundle: ArtifactBundle = client.read(&json)?;
    let words =
        format!("bundle {} uploaded: {}", bundle.head.name, counted(bundle.artifacts_count, "artifact"));
    said(output, &json, &words)
}

fn download(name: &str, file: &Path, force: bool, client: &Client, output: &Output) -> Result<(), Failure> {
    let new = NewFile::new(file, force)?;
    let mut body = client.fetch(&path(&format!("{}/download", api::ARTIFACT_BUNDLES), name))?;
    let failed = |operation| Failure::file(operation, file);
    let mut out = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(new.staged())
        .map_err(failed("create"))?;
    let bytes = copied(&mut body, &mut out, client, file)?;
    out.sync_all().map_err(failed("write"))?;
    new.place()?;
    match output.json {
        true => Ok(()),
        false => {
            output.text(&format!("bundle {name} written to {}: {}", file.display(), Size::from_bytes(bytes)))
        }
    }
}

/// Copies all; who cannot read and who cannot write are told apart.
fn copied(body: &mut impl Read, out: &mut File, client: &Client, file: &Path) -> Result<u64, Failure> {
    let (mut part, mut bytes) = (vec![0; PART_BYTES], 0);
    loop {
        match body.read(&mut part) {
            Ok(0) => return Ok(bytes),
            Ok(read) => {
                out.write_all(&part[..read]).map_err(Failure::file("write", file))?;
                bytes += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(client.broken(error)),
        }
    }
}

fn list(client: &Client, output: &Output) -> Result<(), Failure> {
    let answer = client.get::<Collection<ArtifactBundle>>(&BUNDLES.all())?;
    if output.json {
        return output.text(&answer.json);
    }
    let backups = client.get::<Collection<ArtifactBundle>>(&format!("{BACKUPS}?start=0&count=-1"))?;
    let mut table = Table::new(&[
        Column::Cut("NAME"),
        Column::Right("ARTIFACTS"),
        Column::Right("SIZE"),
        Column::Left("KIND"),
        Column::Left("ADDED"),
    ]);
    for bundle in answer.value.members.into_iter().chain(backups.value.members) {
        let kind = match (bundle.backup_service, bundle.importbundle) {
            (true, _) => "backup",
            (false, true) => "uploaded",
            (false, false) => "made here",
        };
        table.row(vec![
            bundle.head.name,
            bundle.artifacts_count.to_string(),
            Size::from_bytes(bundle.size).to_string(),
            kind.to_owned(),
            bundle.head.created,
        ]);
    }
    output.table(&table)
}

fn show(name: &str, client: &Client, output: &Output) -> Result<(), Failure> {
    let answer = client.get::<ArtifactBundle>(&BUNDLES.path(name))?;
    if output.json {
        return output.text(&answer.json);
    }
    let bundle = answer.value;
    let mut text = facts(&[
        ("Name", bundle.head.name),
        ("Id", bundle.head.id),
        ("Description", bundle.head.description),
        ("Size", format!("{} ({} bytes)", Size::from_bytes(bundle.size), bundle.size)),
        ("SHA-256", bundle.checksum),
        ("Added", bundle.head.created),
    ]);
    let mut table = Table::new(&[Column::Left("ARTIFACT"), Column::Left("NAME"), Column::Left("READ-ONLY")]);
    let mut rows =
        |kind: &str, name: String, read_only: bool| table.row(vec![kind.to_owned(), name, yes_no(read_only)]);
    bundle
        .deployment_plans
        .into_iter()
        .for_each(|one| rows("deployment plan", one.deploymentplan_name, one.read_only));
    bundle.build_plans.into_iter().for_each(|one| rows("build plan", one.build_plan_name, one.read_only));
    bundle.plan_scripts.into_iter().for_each(|one| rows("plan script", one.plan_script_name, one.read_only));
    bundle.goldenimage.into_iter().for_each(|one| rows("golden image", one.goldenimage_name, one.read_only));
    text += &format!("\n{}", table.render(None));
    output.text(&text)
}
