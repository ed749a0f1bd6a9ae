//! `osvol store …`: a store without its daemon.

mod words;

use std::fs;
use std::io::{self, IsTerminal, Write, stderr};
use std::ops::ControlFlow;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use api::Phase;
use cow::offline::{ExportFormat, Offline, OnDamage, Selection};
use serde_json::json;

use crate::args::StoreCommand;
use crate::failure::Failure;
use crate::newfile::NewFile;
use crate::output::Output;
use crate::progress::Meter;

pub(crate) fn run(command: &StoreCommand, output: &Output) -> Result<(), Failure> {
    match command {
        StoreCommand::Check { path, data } => check(path, *data, output),
        StoreCommand::Dump { path, volume, records } => {
            dump(path, &Selection { disk: volume.clone(), records: *records }, output)
        }
        StoreCommand::Repair { path, to } => repair(path, to, output),
        StoreCommand::Export { path, volume, file, format, skip_damage } => {
            let format = super::export::format(*format);
            let on_damage = if *skip_damage { OnDamage::Skip } else { OnDamage::Stop };
            export(path, volume, file, format, on_damage, output)
        }
    }
}

fn check(path: &Path, data: bool, output: &Output) -> Result<(), Failure> {
    let store = Offline::open(path)?;
    let report = measured(Phase::Checking, output, |progress| store.check(data, progress))?;
    match output.json {
        true => output.text(&words::report_json(&report).to_string())?,
        false => output.text(&words::report(&report, data))?,
    }
    match report.findings.len() {
        0 => Ok(()),
        1 => Err(Failure::Damage("the store is damaged in one place".to_owned())),
        n => Err(Failure::Damage(format!("the store is damaged in {n} places"))),
    }
}

fn dump(path: &Path, selection: &Selection, output: &Output) -> Result<(), Failure> {
    let store = Offline::open(path)?;
    let mut failed = Ok(());
    let told = store.dump(selection, &mut |item| {
        let line = match output.json {
            true => words::item_json(&item).to_string(),
            false => words::item(&item),
        };
        failed = output.text(&line);
        match failed {
            Ok(()) => Ok(()),
            Err(_) => Err(cow::Error::new(cow::Kind::Cancelled, "standard output cannot be written")),
        }
    });
    failed?;
    Ok(told?)
}

fn repair(path: &Path, to: &Path, output: &Output) -> Result<(), Failure> {
    let store = Offline::open(path)?;
    let mut repaired = measured(Phase::Working, output, |progress| store.repair(to, progress))?;
    repaired.notes.extend(take_settings(path, to)?);
    match output.json {
        true => {
            let report = words::report_json(&repaired.report);
            output.text(&json!({ "report": report, "notes": repaired.notes }).to_string())?;
        }
        false => output.text(&words::repaired(&repaired, to))?,
    }
    match repaired.report.is_clean() && repaired.notes.is_empty() {
        true => Ok(()),
        false => Err(Failure::Damage("not everything could be saved".to_owned())),
    }
}

/// Directory of a store with what volumes are exported with; the daemon's, a file each.
const SETTINGS: &str = "exports";

/// Takes over what volumes are exported with: without it they would be open to everybody. Gives what it could not take.
fn take_settings(from: &Path, to: &Path) -> Result<Vec<String>, Failure> {
    let (from, to) = (from.join(SETTINGS), to.join(SETTINGS));
    let entries = match fs::read_dir(&from) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(Failure::file("read", &from))?,
    };
    fs::DirBuilder::new().mode(0o700).create(&to).map_err(Failure::file("make", &to))?;
    let mut notes = Vec::new();
    for entry in entries {
        let entry = entry.map_err(Failure::file("read", &from))?;
        let new = to.join(entry.file_name());
        // The copy has the mode of the file. One that cannot be read is there, empty: it closes its volume.
        if let Err(error) = fs::copy(entry.path(), &new) {
            fs::OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&new)
                .map_err(Failure::file("make", &new))?;
            notes.push(format!("{}: {error}; its volume is exported to nobody", entry.path().display()));
        }
        fs::File::open(&new).and_then(|file| file.sync_all()).map_err(Failure::file("sync", &new))?;
    }
    fs::File::open(&to).and_then(|directory| directory.sync_all()).map_err(Failure::file("sync", &to))?;
    Ok(notes)
}

fn export(
    path: &Path,
    volume: &str,
    file: &Path,
    format: ExportFormat,
    on_damage: OnDamage,
    output: &Output,
) -> Result<(), Failure> {
    let store = Offline::open(path)?;
    if file.symlink_metadata().is_ok() {
        return Err(cow::Error::new(cow::Kind::Exists, format!("{} exists", file.display())).into());
    }
    let new = NewFile::new(file, false)?;
    let exported = measured(Phase::Copying, output, |progress| {
        store.export(volume, new.staged(), format, on_damage, progress)
    })?;
    new.place()?;
    match output.json {
        true => output.text(&words::exported_json(&exported).to_string())?,
        false => output.text(&words::exported(&exported, file))?,
    }
    match exported.lost.is_empty() && exported.doubts.is_empty() {
        true => Ok(()),
        false => Err(Failure::Damage("not everything could be exported".to_owned())),
    }
}

/// Shows how far `work` has come.
fn measured<T>(
    phase: Phase,
    output: &Output,
    work: impl FnOnce(cow::Progress<'_>) -> cow::Result<T>,
) -> Result<T, Failure> {
    let mut meter = Meter::new(output.json);
    let mut shown = None::<Instant>;
    let result = work(&mut |done, total| {
        // Every chunk is told, which is far more often than anyone can see.
        if shown.is_none_or(|at| at.elapsed() >= Duration::from_millis(100)) {
            shown = Some(Instant::now());
            meter.at(phase, done, total);
        }
        ControlFlow::Continue(())
    });
    meter.finish();
    if stderr().is_terminal() {
        // What was shown is on the terminal before the result is.
        let _ = stderr().flush();
    }
    Ok(result?)
}
