//! `/rest/osvol/doctor`: whether the machine has what osvold needs.

use std::sync::Arc;

use api::{Doctor, DoctorCheck, Health};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use config::Size;
use cow::Level;
use serde::Deserialize;

use super::answer::{Answer, json};
use super::endpoint::{Access, Endpoint, get};
use super::refusals;
use super::state::Control;
use crate::service::data_bytes_left;

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        get(api::DOCTOR, Access::View, "Whether the machine has what osvold needs", show)
            .query("run", "`true` looks anew, and tries whether KVM runs a guest if that is not known")
            .answers::<Doctor>(),
    ]
}

#[derive(Deserialize)]
struct Asked {
    #[serde(default)]
    run: bool,
}

async fn show(State(control): State<Arc<Control>>, asked: Result<Query<Asked>, QueryRejection>) -> Answer {
    let Query(asked) = asked?;
    let guestfish = control.deployer.guestfish().clone();
    // Programs are run: on a thread that may wait for them.
    let looked = move || if asked.run { guestfish.examine() } else { guestfish.diagnosis() };
    let readiness = tokio::task::spawn_blocking(looked).await;
    let readiness = readiness.map_err(|error| refusals::internal("the look at the machine", &error))?;
    let mut checks = vec![store(&control).await?, qemu_img(&control).await?];
    let detail = "always there, for scripts that work on FAT file systems such as the EFI system partition";
    checks.push(check("built-in engine", Health::OK, detail.to_owned(), None));
    checks.extend_from_slice(readiness.checks());
    let status = checks.iter().map(|check| check.status).fold(Health::OK, worse);
    Ok(json(StatusCode::OK, &Doctor { status, guestfish_ready: readiness.is_ready(), checks }))
}

async fn store(control: &Control) -> Result<DoctorCheck, api::Refusal> {
    let usage = control.blocking(cow::Store::usage).await?.map_err(|error| refusals::of_store(&error))?;
    let left = Size::from_bytes(data_bytes_left(&usage));
    let detail = format!("{left} free for data in {}", control.store.path().display());
    let action = "remove what is not needed, or grow the file system; osvol status says who takes the room";
    let (status, action) = match control.levels.of_store(&usage) {
        Level::Normal => (Health::OK, None),
        Level::Soft | Level::High => (Health::Warning, Some(action)),
        Level::Full => (Health::Critical, Some(action)),
    };
    Ok(check("store", status, detail, action))
}

async fn qemu_img(control: &Control) -> Result<DoctorCheck, api::Refusal> {
    const NAME: &str = "qemu-img";
    let program = control.importer.qemu_img().to_owned();
    let said = tokio::process::Command::new(&program).arg("--version").kill_on_drop(true).output().await;
    Ok(match said {
        Ok(said) if said.status.success() => {
            let said = String::from_utf8_lossy(&said.stdout).lines().next().unwrap_or_default().to_owned();
            check(NAME, Health::OK, said, None)
        }
        Ok(said) => check(NAME, Health::Warning, said.status.to_string(), Some("apt install qemu-utils")),
        Err(error) => {
            let detail = format!("{}: {error}; only raw images can be added", program.display());
            check(NAME, Health::Warning, detail, Some("apt install qemu-utils"))
        }
    })
}

fn check(name: &str, status: Health, detail: String, action: Option<&str>) -> DoctorCheck {
    DoctorCheck { name: name.to_owned(), status, detail, action: action.map(str::to_owned) }
}

fn worse(one: Health, other: Health) -> Health {
    match (one, other) {
        (Health::Critical, _) | (_, Health::Critical) => Health::Critical,
        (Health::Warning, _) | (_, Health::Warning) => Health::Warning,
        (Health::Unknown, _) | (_, Health::Unknown) => Health::Unknown,
        (Health::OK, Health::OK) => Health::OK,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_check_counts() {
        assert_eq!(worse(Health::OK, Health::OK), Health::OK);
        assert_eq!(worse(Health::Warning, Health::OK), Health::Warning);
        assert_eq!(worse(Health::Warning, Health::Critical), Health::Critical);
    }
}
