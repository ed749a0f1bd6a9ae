//! What was found, in words and as JSON.

use std::path::Path;

use config::Size;
use cow::offline::{Exported, Extent, Field, Finding, Item, Loss, Owner, Ranges, Repaired, Report};
use serde_json::{Value, json};

/// Ranges shown of one loss; `--json` has them all.
const RANGES_SHOWN: usize = 16;

pub(super) fn report(report: &Report, data: bool) -> String {
    let mut text: String = report.findings.iter().map(finding).collect();
    for (layer, blocks) in &report.orphans {
        text += &format!(
            "orphan: layer {layer}, {blocks} blocks: no manifest names it; `osvol store repair` makes a volume of it\n"
        );
    }
    for what in &report.unfinished {
        text += &format!("unfinished: {what}; the next start of osvold tidies it up\n");
    }
    let counts = &report.counts;
    text += &format!(
        "{}, {}, {}, {}; {}\n",
        super::super::counted(counts.images as u64, "golden image"),
        super::super::counted(counts.volumes as u64, "volume"),
        super::super::counted(counts.snapshots as u64, "snapshot"),
        super::super::counted(counts.layers as u64, "layer"),
        match data {
            true => format!("{} of data verified", Size::from_bytes(counts.verified_bytes)),
            false => "metadata only: --data reads all data as well".to_owned(),
        }
    );
    text += match report.findings.len() {
        0 => "no damage\n",
        _ => {
            "what to do: `osvol store repair` builds a new store of all that is sound; this one was not changed\n"
        }
    };
    text
}

fn finding(finding: &Finding) -> String {
    let mut text = format!("damage: {}: {}\n", finding.path.display(), finding.problem);
    if finding.losses.is_empty() {
        text += "  nothing is lost by it\n";
    }
    for Loss { owner, extent } in &finding.losses {
        text += &match extent {
            Extent::Bytes(bytes) => {
                format!("  {owner}: {} lost: {}\n", Size::from_bytes(bytes.total()), ranges(bytes))
            }
            Extent::Somewhere => {
                format!("  {owner}: some blocks show an older state; which ones cannot be known\n")
            }
            Extent::All => format!("  {owner}: cannot be reached\n"),
        };
    }
    text
}

/// `bytes 4096 to 8191, …`.
fn ranges(bytes: &Ranges) -> String {
    let shown: Vec<String> = bytes
        .iter()
        .take(RANGES_SHOWN)
        .map(|range| format!("{} to {}", range.start, range.end - 1))
        .collect();
    let more = bytes.iter().count().saturating_sub(RANGES_SHOWN);
    let more = if more > 0 { format!(", and {more} more ranges (--json has all)") } else { String::new() };
    format!("bytes {}{more}", shown.join(", "))
}

pub(super) fn report_json(report: &Report) -> Value {
    let findings: Vec<Value> = report
        .findings
        .iter()
        .map(|finding| {
            json!({
                "path": finding.path.display().to_string(),
                "problem": finding.problem.to_string(),
                "losses": finding.losses.iter().map(loss_json).collect::<Vec<_>>(),
            })
        })
        .collect();
    let orphans: Vec<Value> = report
        .orphans
        .iter()
        .map(|(layer, blocks)| json!({ "layer": layer.to_string(), "blocks": blocks }))
        .collect();
    json!({
        "store": report.store.map(|id| id.to_string()),
        "clean": report.is_clean(),
        "findings": findings,
        "orphans": orphans,
        "unfinished": report.unfinished,
        "goldenImages": report.counts.images,
        "volumes": report.counts.volumes,
        "snapshots": report.counts.snapshots,
        "layers": report.counts.layers,
        "verifiedBytes": report.counts.verified_bytes,
    })
}

fn loss_json(loss: &Loss) -> Value {
    let (kind, id, name) = match &loss.owner {
        Owner::Volume { id, name } => ("volume", id.to_string(), Some(name)),
        Owner::Snapshot { id, name } => ("snapshot", id.to_string(), Some(name)),
        Owner::Image { id, name } => ("goldenImage", id.to_string(), Some(name)),
        Owner::Layer { id } => ("layer", id.to_string(), None),
    };
    let (extent, bytes) = match &loss.extent {
        Extent::Bytes(bytes) => ("bytes", ranges_json(bytes)),
        Extent::Somewhere => ("somewhere", json!([])),
        Extent::All => ("all", json!([])),
    };
    json!({ "kind": kind, "id": id, "name": name, "extent": extent, "ranges": bytes })
}

fn ranges_json(bytes: &Ranges) -> Value {
    bytes.iter().map(|range| json!({ "offset": range.start, "bytes": range.end - range.start })).collect()
}

pub(super) fn repaired(repaired: &Repaired, to: &Path) -> String {
    let mut text: String = repaired.notes.iter().map(|note| format!("note: {note}\n")).collect();
    text += &repaired.report.findings.iter().map(finding).collect::<String>();
    let counts = &repaired.report.counts;
    text += &format!(
        "{} holds {}, {} and {}, {} of data, all of it verified\n",
        to.display(),
        super::super::counted(counts.images as u64, "golden image"),
        super::super::counted(counts.volumes as u64, "volume"),
        super::super::counted(counts.snapshots as u64, "snapshot"),
        Size::from_bytes(counts.verified_bytes),
    );
    text += match (repaired.report.is_clean(), repaired.notes.is_empty()) {
        (true, true) => "nothing is lost\n",
        (true, false) => "see the notes: not everything is as it was\n",
        (false, _) => "what is lost reads as errors there, until it is written anew\n",
    };
    text
}

pub(super) fn exported(exported: &Exported, file: &Path) -> String {
    let mut text: String = exported
        .doubts
        .iter()
        .map(|doubt| {
            format!("damage: {doubt}\n  some blocks show an older state; which ones cannot be known\n")
        })
        .collect();
    if !exported.lost.is_empty() {
        let lost = Size::from_bytes(exported.lost.total());
        text += &format!("damage: {lost} lost, and zeros in the file: {}\n", ranges(&exported.lost));
    }
    text += &format!(
        "{}: {}, {} of it data, in {}\n",
        exported.owner,
        Size::from_bytes(exported.size_bytes),
        Size::from_bytes(exported.data_bytes),
        file.display()
    );
    text
}

pub(super) fn exported_json(exported: &Exported) -> Value {
    json!({
        "exported": exported.owner.to_string(),
        "sizeBytes": exported.size_bytes,
        "dataBytes": exported.data_bytes,
        "lost": ranges_json(&exported.lost),
        "doubts": exported.doubts,
    })
}

/// One line, indented by how deep it lies.
pub(super) fn item(item: &Item) -> String {
    let depth = match item.kind {
        "checkpoint" | "segment" => 1,
        "record" => 2,
        _ => 0,
    };
    let facts: Vec<String> = item.fields.iter().filter_map(|(name, field)| fact(name, field)).collect();
    format!("{}{}: {}", "  ".repeat(depth), item.kind, facts.join(", "))
}

fn fact(name: &str, field: &Field) -> Option<String> {
    match field {
        Field::Text(text) => Some(format!("{name} {text}")),
        Field::Number(number) => Some(format!("{name} {number}")),
        Field::Flag(flag) => Some(format!("{name} {}", if *flag { "yes" } else { "no" })),
        Field::List(list) if list.is_empty() => None,
        Field::List(list) => Some(format!("{name} [{}]", list.join(", "))),
    }
}

pub(super) fn item_json(item: &Item) -> Value {
    let mut object = serde_json::Map::new();
    object.insert("kind".to_owned(), json!(item.kind));
    for (name, field) in &item.fields {
        let value = match field {
            Field::Text(text) => json!(text),
            Field::Number(number) => json!(number),
            Field::Flag(flag) => json!(flag),
            Field::List(list) => json!(list),
        };
        object.insert((*name).to_owned(), value);
    }
    Value::Object(object)
}
