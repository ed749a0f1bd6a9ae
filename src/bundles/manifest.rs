//! `MANIFEST.MF`: what a bundle says of itself.

/// Name of the member.
pub(super) const MANIFEST: &str = "MANIFEST.MF";

/// What a bundle says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Manifest {
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) read_only: bool,
    /// When it was made, as ISO 8601.
    pub(crate) time: String,
    /// It is a backup of all artifacts.
    pub(crate) backup: bool,
}

/// What `Artifact Type` is of a backup; of all others it is `USER`.
const BACKUP: &str = "BACKUP";

impl Manifest {
    /// From its lines. A description may go over several.
    pub(super) fn parse(text: &str) -> Self {
        let mut manifest = Self::default();
        let mut in_description = false;
        for line in text.lines() {
            let (key, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.trim();
            let was_in_description = std::mem::take(&mut in_description);
            match key.trim() {
                "Artifact Name" => value.clone_into(&mut manifest.name),
                "Description" => {
                    value.clone_into(&mut manifest.description);
                    in_description = true;
                }
                "Read Only" => manifest.read_only = value.eq_ignore_ascii_case("true"),
                "Time Stamp" => value.clone_into(&mut manifest.time),
                "Artifact Type" => manifest.backup = value.eq_ignore_ascii_case(BACKUP),
                _ if was_in_description => {
                    manifest.description.push('\n');
                    manifest.description.push_str(line.trim_end());
                    in_description = true;
                }
                _ => {}
            }
        }
        manifest
    }

    pub(super) fn text(&self) -> String {
        // A line of the description must not be taken for a field.
        let description = self.description.replace(['\r', '\n'], " ");
        format!(
            "Artifact Name:{}\nDescription:{description}\nRead Only:{}\nTime Stamp:{}\nArtifact Type:{}",
            self.name,
            self.read_only,
            self.time,
            if self.backup { BACKUP } else { "USER" }
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hpes_manifest_is_read() {
        let text = "Artifact Name:HPE-Developer\nDescription:(c) 2017; see http://x\nmore\nRead Only:true\n\
                    Time Stamp:2017-09-07T15:44:32.539Z\nArtifact Type:USER";
        let manifest = Manifest::parse(text);
        assert_eq!((manifest.name.as_str(), manifest.read_only), ("HPE-Developer", true));
        assert_eq!(manifest.description, "(c) 2017; see http://x\nmore");
        assert_eq!(manifest.time, "2017-09-07T15:44:32.539Z");
        let again = Manifest { description: "one line".into(), ..manifest };
        assert_eq!(Manifest::parse(&again.text()), again);
    }
}
