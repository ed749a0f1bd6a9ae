//! `osvol volume access` and `osvol volume redirect`: what a volume is exported with.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use api::{ChapCredential, ExportChange, ExportSettings, OsVolume, OsVolumeChange, Redirect, Secret};

use super::resource;
use crate::args::access::{AccessChange, AccessOptions, DiskOptions, RedirectTo, Switch};
use crate::client::Client;
use crate::failure::Failure;
use crate::output::Output;

/// Most that is read of a file with a secret: more than any secret has.
const SECRET_FILE_BYTES_MAX: u64 = 4096;

/// What the options of a new volume, or of one that is changed, ask for. What is not given stays.
pub(crate) fn asked(options: &AccessOptions, disk: &DiskOptions) -> Result<ExportChange, Failure> {
    let files = [&options.chap_secret_file, &options.mutual_secret_file];
    if files.iter().all(|file| file.as_deref() == Some(Path::new("-"))) {
        let words = "standard input holds one secret; give the other one in a file";
        return Err(Failure::Password(words.to_owned()));
    }
    let credential = |user: &Option<String>, file: &Option<PathBuf>| {
        if user.is_none() && file.is_none() {
            return Ok(None);
        }
        let secret = file.as_deref().map(secret_in).transpose()?;
        Ok::<_, Failure>(Some(Some(ChapCredential { user: user.clone(), secret })))
    };
    let given = |list: Vec<String>| (!list.is_empty()).then_some(list);
    Ok(ExportChange {
        initiators: given(options.initiators.clone()),
        addresses: given(options.addresses.iter().map(ToString::to_string).collect()),
        chap: credential(&options.chap_user, &options.chap_secret_file)?,
        mutual: credential(&options.mutual_user, &options.mutual_secret_file)?,
        redirect: None,
        exclusive: None,
        write_cache: disk.write_cache.map(|switch| switch == Switch::On),
        logical_block_bytes: disk.block_size,
    })
}

/// A file's text, without the line end that editors put there; `-` is standard input.
fn secret_in(path: &Path) -> Result<Secret, Failure> {
    let mut text = String::new();
    let source: Box<dyn Read> = match path == Path::new("-") {
        true => Box::new(io::stdin().lock()),
        false => Box::new(fs::File::open(path).map_err(Failure::file("read", path))?),
    };
    source.take(SECRET_FILE_BYTES_MAX).read_to_string(&mut text).map_err(Failure::file("read", path))?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    Ok(Secret(line.strip_suffix('\r').unwrap_or(line).to_owned()))
}

pub(crate) fn change(
    client: &Client,
    output: &Output,
    name: &str,
    change: &AccessChange,
) -> Result<(), Failure> {
    let disk = DiskOptions { write_cache: change.write_cache, block_size: None };
    let mut export = asked(&change.access, &disk)?;
    if change.everybody || change.any_initiator {
        export.initiators = Some(Vec::new());
    }
    if change.everybody || change.any_address {
        export.addresses = Some(Vec::new());
    }
    if change.everybody || change.no_chap {
        export.chap = Some(None);
    }
    if change.everybody || change.no_chap || change.no_mutual {
        export.mutual = Some(None);
    }
    export.exclusive = (change.exclusive || change.shared).then_some(change.exclusive);
    send(client, output, name, export, change.end_sessions)
}

pub(crate) fn redirect(client: &Client, output: &Output, name: &str, to: &RedirectTo) -> Result<(), Failure> {
    let redirect = to.to.map(|address| Redirect { to: address.to_string(), permanent: to.permanent });
    let export = ExportChange { redirect: Some(redirect), ..ExportChange::default() };
    send(client, output, name, export, to.end_sessions)
}

fn send(
    client: &Client,
    output: &Output,
    name: &str,
    export: ExportChange,
    end_sessions: bool,
) -> Result<(), Failure> {
    let path = resource(api::OS_VOLUMES, name)?;
    let path = if end_sessions { format!("{path}?endSessions=True") } else { path };
    let change = OsVolumeChange { export, ..OsVolumeChange::default() };
    let answer = client.patch::<OsVolume>(&path, &change)?;
    if output.json {
        return output.text(&answer.json);
    }
    let volume = &answer.value;
    let facts: Vec<String> = facts(volume)
        .into_iter()
        .map(|(label, words)| format!("{}: {words}", label.to_lowercase()))
        .collect();
    output.text(&format!("volume {}: {}", volume.name, facts.join("; ")))
}

/// What a volume is exported with, in words.
pub(crate) fn facts(volume: &OsVolume) -> Vec<(&'static str, String)> {
    let Some(export) = &volume.export else {
        return vec![("Access", "nobody: its settings cannot be read".to_owned())];
    };
    let mut facts = Vec::new();
    // Who may log in to a profile's volume is its profile's to say.
    if volume.profile_name.is_none() {
        facts.push(("Access", access_words(export)));
        facts.push(("CHAP", chap_words(export)));
    }
    let at_a_time =
        if export.exclusive { "one initiator at a time" } else { "any number of initiators at a time" };
    facts.push(("Use", at_a_time.to_owned()));
    facts.push(("Redirect", redirect_words(export)));
    let cache = if export.write_cache { "a write cache" } else { "no write cache" };
    facts.push(("Disk", format!("blocks of {} bytes, {cache}", export.logical_block_bytes)));
    facts
}

fn access_words(export: &ExportSettings) -> String {
    let who = match export.initiators.is_empty() {
        true => "any initiator".to_owned(),
        false => export.initiators.join(", "),
    };
    match (export.initiators.is_empty(), export.addresses.is_empty()) {
        (true, true) => "everybody".to_owned(),
        (false, true) => who,
        (_, false) => format!("{who} from {}", export.addresses.join(", ")),
    }
}

fn chap_words(export: &ExportSettings) -> String {
    match (&export.chap, &export.mutual) {
        (None, _) => "none".to_owned(),
        (Some(chap), None) => format!("initiators prove to be {:?}", chap.user),
        (Some(chap), Some(mutual)) => {
            format!("initiators prove to be {:?}, osvold to be {:?}", chap.user, mutual.user)
        }
    }
}

fn redirect_words(export: &ExportSettings) -> String {
    match &export.redirect {
        None => "none".to_owned(),
        Some(Redirect { to, permanent: true }) => format!("to {to}, permanently"),
        Some(Redirect { to, permanent: false }) => format!("to {to}"),
    }
}
