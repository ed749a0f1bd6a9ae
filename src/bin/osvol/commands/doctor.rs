//! `osvol doctor`, `osvol appliance status`.

use api::{Doctor, DoctorCheck, Health};

use super::counted;
use crate::client::Client;
use crate::failure::Failure;
use crate::output::Output;
use crate::table::{Column, Table};

pub(crate) fn run(run: bool, client: &Client, output: &Output) -> Result<(), Failure> {
    let path = format!("{}{}", api::DOCTOR, if run { "?run=true" } else { "" });
    let answer = client.get::<Doctor>(&path)?;
    match output.json {
        true => output.text(&answer.json)?,
        false => show(&answer.value, output)?,
    }
    verdict(&answer.value.checks)
}

/// What concerns the appliance alone.
pub(crate) fn appliance(client: &Client, output: &Output) -> Result<(), Failure> {
    let mut doctor = client.get::<Doctor>(api::DOCTOR)?.value;
    doctor.checks.retain(|check| check.name == "appliance");
    match output.json {
        true => output.text(&serde_json::to_string(&doctor.checks).unwrap_or_default())?,
        false => table(&doctor.checks, output)?,
    }
    verdict(&doctor.checks)
}

fn show(doctor: &Doctor, output: &Output) -> Result<(), Failure> {
    table(&doctor.checks, output)?;
    let words = match doctor.guestfish_ready {
        true => "Plan scripts can be run.",
        false => {
            "Plan scripts that need guestfish are refused. The built-in engine still runs those that only work on FAT \
             file systems, and everything else of osvold works."
        }
    };
    output.text(&format!("\n{words}"))
}

fn table(checks: &[DoctorCheck], output: &Output) -> Result<(), Failure> {
    let mut table = Table::new(&[Column::Left("CHECK"), Column::Left("STATUS"), Column::Left("FOUND")]);
    for check in checks {
        table.row(vec![check.name.clone(), word(check.status).to_owned(), check.detail.clone()]);
    }
    output.table(&table)?;
    let mut actions: Vec<&str> = checks.iter().filter_map(|check| check.action.as_deref()).collect();
    actions.dedup();
    match actions.is_empty() {
        true => Ok(()),
        false => output.text(&format!("\nwhat to do:\n  {}", actions.join("\n  "))),
    }
}

fn word(status: Health) -> &'static str {
    match status {
        Health::OK => "OK",
        Health::Warning => "warning",
        Health::Critical => "WRONG",
        Health::Unknown => "unknown",
    }
}

fn verdict(checks: &[DoctorCheck]) -> Result<(), Failure> {
    match checks.iter().filter(|check| check.status == Health::Critical).count() {
        0 => Ok(()),
        wrong => Err(Failure::Unfit(format!("{} found wrong", counted(wrong as u64, "thing")))),
    }
}
