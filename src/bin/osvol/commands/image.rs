//! `osvol image`.

use std::cell::RefCell;
use std::io::BufRead;
use std::path::Path;

use api::{Collection, GoldenImage, ImageFormat, NewGoldenImage, Phase, Progress, Title, upload};
use config::Size;
use serde_json::{Map, Value};

use super::named::{Named, set};
use super::serve::{self, Served};
use super::{counted, export, facts, path, resource};
use crate::args::ImageCommand;
use crate::client::Client;
use crate::extents::Source;
use crate::failure::Failure;
use crate::output::Output;
use crate::progress::Meter;
use crate::table::{Column, Table};

const IMAGES: Named = Named { collection: api::GOLDEN_IMAGES, words: "golden image" };

pub(crate) fn run(command: &ImageCommand, client: &Client, output: &Output) -> Result<(), Failure> {
    match command {
        ImageCommand::Add { name, file, format, description } => {
            add(client, output, (name, description.as_deref()), file, *format)
        }
        ImageCommand::Capture { name, volume, snapshot, build_plan, description } => {
            let of = (volume.as_str(), snapshot.as_deref(), build_plan.as_deref());
            capture(client, output, (name, description.clone()), of)
        }
        ImageCommand::Export { name, to } => {
            let at = format!("{}/content", path(api::GOLDEN_IMAGES, name));
            export::run(&at, &format!("golden image {name}"), to, client, output)
        }
        ImageCommand::Edit { name, rename, description } => {
            let change = |body: &mut Map<String, Value>| {
                set(body, "name", rename.as_deref());
                set(body, "description", description.as_deref());
            };
            IMAGES.edit(name, change, client, output)
        }
        ImageCommand::Serve { name, serve } => serve::serve(Served::Image(name), serve, client, output),
        ImageCommand::Unserve { name, force } => serve::unserve(Served::Image(name), *force, client, output),
        ImageCommand::Served => serve::list(client, output),
        ImageCommand::List => list(client, output),
        ImageCommand::Show { name } => show(client, output, name),
        ImageCommand::Remove { name } => remove(client, output, name),
    }
}

fn add(
    client: &Client,
    output: &Output,
    (name, description): (&Title, Option<&str>),
    file: &Path,
    format: ImageFormat,
) -> Result<(), Failure> {
    let source = Source::open(file)?;
    let total = source.data_bytes()?;
    let meter = RefCell::new(Meter::new(output.json));
    let encoded = |text: &str| super::encoded(text);
    let words = description.map(|words| format!("&description={}", encoded(words))).unwrap_or_default();
    let path = format!("{}?name={}&format={format}{words}", api::GOLDEN_IMAGES, encoded(name.as_str()));
    let mut done = 0;
    let answer = client.upload(&path, upload::MEDIA_TYPE, |out| {
        source.send(out, |bytes| {
            done += bytes;
            meter.borrow_mut().at(Phase::Uploading, done, total);
        })
    });
    let image = answer.and_then(|lines| follow(client, lines, &mut meter.borrow_mut()));
    meter.borrow().finish();
    told(output, &image?, "added")
}

fn capture(
    client: &Client,
    output: &Output,
    (name, description): (&Title, Option<String>),
    (volume, snapshot, build_plan): (&str, Option<&str>, Option<&str>),
) -> Result<(), Failure> {
    let volume = resource(api::OS_VOLUMES, volume)?;
    let snapshot = snapshot.map(|snapshot| resource(&format!("{volume}/snapshots"), snapshot)).transpose()?;
    let new = NewGoldenImage {
        kind: Some(GoldenImage::KIND.to_owned()),
        name: name.clone(),
        description,
        image_capture: true,
        os_volume_uri: snapshot.is_none().then_some(volume),
        snapshot_uri: snapshot,
        build_plan_uri: build_plan.map(str::to_owned),
    };
    let mut meter = Meter::new(output.json);
    let answer = client.post_with_progress(api::GOLDEN_IMAGES, &new);
    let image = answer.and_then(|lines| follow(client, lines, &mut meter));
    meter.finish();
    told(output, &image?, "captured")
}

fn told(output: &Output, image: &GoldenImage, done: &str) -> Result<(), Failure> {
    match output.json {
        true => output.text(&serde_json::to_string_pretty(image).unwrap_or_default()),
        false => output.text(&format!(
            "golden image {} {done}: {}, {} in the store",
            image.name,
            Size::from_bytes(image.size),
            Size::from_bytes(image.allocated_bytes)
        )),
    }
}

/// Reads progress until the last line, which is the image or the refusal.
fn follow(client: &Client, lines: impl BufRead, meter: &mut Meter) -> Result<GoldenImage, Failure> {
    for line in lines.lines() {
        let line = line.map_err(|error| client.broken(error))?;
        match serde_json::from_str(&line).map_err(|error| client.protocol(error.to_string()))? {
            Progress::Step { phase, done_bytes, total_bytes } => meter.at(phase, done_bytes, total_bytes),
            Progress::GoldenImage(image) => return Ok(*image),
            Progress::Error(refusal) => return Err(Failure::Refused(Box::new(refusal))),
        }
    }
    Err(client.protocol("progress without a result"))
}

fn list(client: &Client, output: &Output) -> Result<(), Failure> {
    let answer =
        client.get::<Collection<GoldenImage>>(&format!("{}?start=0&count=-1", api::GOLDEN_IMAGES))?;
    if output.json {
        return output.text(&answer.json);
    }
    let mut table = Table::new(&[
        Column::Cut("NAME"),
        Column::Left("HEALTH"),
        Column::Right("SIZE"),
        Column::Right("ALLOCATED"),
        Column::Left("FORMAT"),
        Column::Right("VOLUMES"),
        Column::Left("ADDED"),
    ]);
    for image in answer.value.members {
        table.row(vec![
            image.name,
            image.status.to_string(),
            Size::from_bytes(image.size).to_string(),
            Size::from_bytes(image.allocated_bytes).to_string(),
            image.source_format,
            image.os_volumes.to_string(),
            image.created,
        ]);
    }
    output.table(&table)
}

fn show(client: &Client, output: &Output, name: &str) -> Result<(), Failure> {
    let answer = client.get::<GoldenImage>(&path(api::GOLDEN_IMAGES, name))?;
    if output.json {
        return output.text(&answer.json);
    }
    let image = answer.value;
    output.text(&facts(&[
        ("Name", image.name),
        ("Id", image.id),
        ("Description", image.description),
        ("Health", image.status.to_string()),
        ("State", image.state),
        ("Size", format!("{} ({} bytes)", Size::from_bytes(image.size), image.size)),
        (
            "Allocated",
            format!("{} ({} bytes)", Size::from_bytes(image.allocated_bytes), image.allocated_bytes),
        ),
        ("Made from", image.source_format),
        ("Digest", image.check_sum),
        ("Used by", counted(image.os_volumes, "volume")),
        ("Added", image.created),
    ]))
}

fn remove(client: &Client, output: &Output, name: &str) -> Result<(), Failure> {
    client.delete(&path(api::GOLDEN_IMAGES, name))?;
    match output.json {
        true => Ok(()),
        false => output.text(&format!("golden image {name} removed")),
    }
}
