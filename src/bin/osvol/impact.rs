//! What a request would do to volumes, as a block that can be read at a glance.

use api::{Impact, ImpactOutcome, VolumeImpact};
use config::Size;

/// The block, with a line end.
pub(crate) fn words(impact: &Impact) -> String {
    let mut text = match impact.lossy {
        true => "This loses data.\n".to_owned(),
        false => "This loses no data.\n".to_owned(),
    };
    for volume in &impact.volumes {
        text += &of_volume(volume);
    }
    text.push('\n');
    if impact.volumes.is_empty() {
        text += &format!("  {}\n", impact.summary);
    }
    text
}

fn of_volume(volume: &VolumeImpact) -> String {
    let mut text = format!("\n  profile {}: {}\n", volume.profile_name, becomes(volume));
    let mut line = |label: &str, words: String| text += &format!("    {label:<10} {words}\n");
    line("because", format!("{} (rule {})", volume.reason, volume.rule));
    if volume.volume_name.is_some() {
        let written = match volume.bytes_written {
            0 => "nothing since its deployment".to_owned(),
            bytes => format!("{} since its deployment", Size::from_bytes(bytes)),
        };
        line("written", written);
    }
    if let Some(kept) = &volume.kept {
        line("kept", kept.clone());
    } else if is_lossy(volume.outcome) {
        line("kept", "nothing".to_owned());
    }
    if volume.snapshots > 0 {
        line("snapshots", format!("{}, which go with it", volume.snapshots));
    }
    if !volume.sessions.is_empty() {
        line("logged in", volume.sessions.join(", "));
    }
    if let Some(power) = volume.power.as_deref().filter(|power| *power == "On") {
        line("power", format!("the server is recorded as {power}"));
    }
    text
}

fn is_lossy(outcome: ImpactOutcome) -> bool {
    matches!(outcome, ImpactOutcome::Delete | ImpactOutcome::Regenerate)
}

fn becomes(volume: &VolumeImpact) -> String {
    let name = volume.volume_name.as_deref();
    match (volume.outcome, name) {
        (ImpactOutcome::Retain, Some(name)) => format!("volume {name} stays as it is"),
        (ImpactOutcome::Retain | ImpactOutcome::Delete | ImpactOutcome::Regenerate, None) => {
            "it has no volume".to_owned()
        }
        (ImpactOutcome::Create, _) => "a volume is made from the deployment plan".to_owned(),
        (ImpactOutcome::Regenerate, Some(name)) => {
            format!("volume {name} is replaced by a new one, made from the deployment plan")
        }
        (ImpactOutcome::Delete, Some(name)) => format!("volume {name} is deleted"),
        (ImpactOutcome::Unknown, name) => {
            format!("volume {}: see the JSON (--json)", name.unwrap_or("(none yet)"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_block_says_which_volume_why_how_much_and_what_is_kept() {
        let volume = VolumeImpact {
            profile_name: "web01".into(),
            volume_name: Some("OSVolume-12".into()),
            volume_uri: None,
            outcome: ImpactOutcome::Regenerate,
            rule: "4".into(),
            reason: "the hardware cannot reach it".into(),
            bytes_written: 3 << 20,
            snapshots: 2,
            kept: None,
            sessions: vec!["iqn.x".into()],
            power: Some("On".into()),
        };
        let impact = Impact {
            outcome: ImpactOutcome::Regenerate,
            lossy: true,
            summary: "s".into(),
            volumes: vec![volume],
            confirmation_token: None,
            expires: None,
        };
        let expected = "This loses data.\n\n  \
            profile web01: volume OSVolume-12 is replaced by a new one, made from the deployment plan\n    \
            because    the hardware cannot reach it (rule 4)\n    \
            written    3 MiB since its deployment\n    \
            kept       nothing\n    \
            snapshots  2, which go with it\n    \
            logged in  iqn.x\n    \
            power      the server is recorded as On\n\n";
        assert_eq!(words(&impact), expected);
    }
}
