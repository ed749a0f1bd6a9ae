//! What a deployment plan gives cloud-init or Ignition, from files.

use std::path::Path;

use api::{Attach, CloudInit, Datasource};
use serde_json::{Map, Value, json};

use super::script::content;
use crate::args::artifacts::{SeedPlace, SeedWords};
use crate::failure::Failure;

const FIELD: &str = "cloudInit";

/// Puts what was said into a plan's body. What was not said stays as it is.
pub(super) fn say(body: &mut Map<String, Value>, words: &SeedWords) -> Result<(), Failure> {
    if words.seed == Some(SeedPlace::None) {
        body.insert(FIELD.to_owned(), Value::Null);
        return Ok(());
    }
    let mut said = match &words.cloud_init {
        Some(file) => Some(parsed(file)?),
        None => None,
    };
    let mut field = |name: &str, value: Value| {
        let all = said.get_or_insert_with(|| {
            body.get(FIELD).filter(|old| old.is_object()).cloned().unwrap_or(json!({}))
        });
        all[name] = value;
    };
    match words.seed {
        Some(SeedPlace::Lun) => field("attach", "lun".into()),
        Some(SeedPlace::Esp) => field("attach", "esp".into()),
        Some(SeedPlace::None) | None => {}
    }
    let files = [
        ("userData", &words.user_data),
        ("metaData", &words.meta_data),
        ("networkConfig", &words.network_config),
        ("vendorData", &words.vendor_data),
    ];
    for (name, file) in files {
        if let Some(file) = file {
            field(name, content(file)?.into());
        }
    }
    if let Some(file) = &words.ignition {
        field("datasource", "Ignition".into());
        let text = if file == Path::new("-") { Value::Null } else { content(file)?.into() };
        field("userData", text);
    }
    if let Some(path) = &words.esp_path {
        field("espPath", path.as_str().into());
    }
    if let Some(said) = said {
        body.insert(FIELD.to_owned(), said);
    }
    Ok(())
}

fn parsed(file: &Path) -> Result<Value, Failure> {
    let text = content(file)?;
    serde_json::from_str(&text)
        .map_err(|error| Failure::file("understand", file)(std::io::Error::other(error)))
}

/// In short, for people.
pub(super) fn told(seed: &CloudInit) -> String {
    let reader = match seed.datasource {
        Datasource::NoCloud => "NoCloud",
        Datasource::Ignition => "Ignition",
    };
    let place = match seed.attach {
        Attach::Lun => "on LUN 1",
        Attach::Esp => "on the EFI system partition",
    };
    let own: Vec<_> = seed.templates().map(|(name, _)| name).collect();
    match own.as_slice() {
        [] => format!("{reader} {place}, made from the attributes"),
        own => format!("{reader} {place}, with its own {}", own.join(", ")),
    }
}
