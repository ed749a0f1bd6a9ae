//! The kinds of resources, with the words and paths of Image Streamer and OneView.

use std::fmt;

/// A kind of resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Disk image that volumes begin as.
    GoldenImage,
    /// Script that personalizes a volume.
    PlanScript,
    /// Sequence of plan scripts.
    BuildPlan,
    /// Build plan and golden image.
    DeploymentPlan,
    /// Zip archive of artifacts.
    ArtifactBundle,
    /// Model of server.
    ServerHardwareType,
    /// A server.
    ServerHardware,
    /// Template of logical enclosures.
    EnclosureGroup,
    /// Servers that reach the same volumes.
    LogicalEnclosure,
    /// What a server is to be.
    ServerProfile,
    /// Disk of a profile, or one made directly.
    OsVolume,
    /// A volume as it was at a moment.
    Snapshot,
    /// Work that takes its time.
    Task,
    /// Somebody who may log in to the API.
    User,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::GoldenImage,
        Self::PlanScript,
        Self::BuildPlan,
        Self::DeploymentPlan,
        Self::ArtifactBundle,
        Self::ServerHardwareType,
        Self::ServerHardware,
        Self::EnclosureGroup,
        Self::LogicalEnclosure,
        Self::ServerProfile,
        Self::OsVolume,
        Self::Snapshot,
        Self::Task,
        Self::User,
    ];

    /// The collection's name, as in `category` and in paths.
    #[must_use]
    pub fn category(self) -> &'static str {
        match self {
            Self::GoldenImage => "golden-images",
            Self::PlanScript => "plan-scripts",
            Self::BuildPlan => "build-plans",
            Self::DeploymentPlan => "deployment-plans",
            Self::ArtifactBundle => "artifact-bundles",
            Self::ServerHardwareType => "server-hardware-types",
            Self::ServerHardware => "server-hardware",
            Self::EnclosureGroup => "enclosure-groups",
            Self::LogicalEnclosure => "logical-enclosures",
            Self::ServerProfile => "server-profiles",
            Self::OsVolume => "os-volumes",
            Self::Snapshot => "os-volume-snapshots",
            Self::Task => "tasks",
            Self::User => "users",
        }
    }

    /// The kind of a collection.
    #[must_use]
    pub fn of_category(category: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.category() == category)
    }

    /// Path of a resource.
    #[must_use]
    pub fn uri(self, id: impl fmt::Display) -> String {
        format!("/rest/{}/{id}", self.category())
    }

    /// What stands before its words.
    #[must_use]
    pub fn article(self) -> &'static str {
        if self.words().starts_with(['a', 'e', 'O']) { "an" } else { "a" }
    }

    /// What people call one.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::GoldenImage => "golden image",
            Self::PlanScript => "plan script",
            Self::BuildPlan => "build plan",
            Self::DeploymentPlan => "deployment plan",
            Self::ArtifactBundle => "artifact bundle",
            Self::ServerHardwareType => "server hardware type",
            Self::ServerHardware => "server hardware",
            Self::EnclosureGroup => "enclosure group",
            Self::LogicalEnclosure => "logical enclosure",
            Self::ServerProfile => "server profile",
            Self::OsVolume => "OS volume",
            Self::Snapshot => "snapshot",
            Self::Task => "task",
            Self::User => "user",
        }
    }

    /// The last part of a reference, which may be a path, an id or a name.
    #[must_use]
    pub fn key(self, reference: &str) -> &str {
        let rest = reference.strip_prefix("/rest/").and_then(|rest| rest.strip_prefix(self.category()));
        rest.and_then(|rest| rest.strip_prefix('/')).unwrap_or(reference)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_a_path_an_id_or_a_name() {
        assert_eq!(Kind::PlanScript.key("/rest/plan-scripts/abc"), "abc");
        assert_eq!(Kind::PlanScript.key("my script"), "my script");
        assert_eq!(Kind::PlanScript.key("/rest/build-plans/abc"), "/rest/build-plans/abc");
        assert_eq!(Kind::ServerHardware.uri("x"), "/rest/server-hardware/x");
    }

    #[test]
    fn words_have_their_article() {
        let an = Kind::ALL.into_iter().filter(|kind| kind.article() == "an");
        assert!(an.eq([Kind::ArtifactBundle, Kind::EnclosureGroup, Kind::OsVolume]));
    }

    #[test]
    fn every_category_is_one_kinds() {
        for kind in Kind::ALL {
            assert_eq!(Kind::of_category(kind.category()), Some(kind));
        }
    }
}
