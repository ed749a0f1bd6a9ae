//! Types of the control API, shared by the daemon and the command line.
//!
//! Resources, field names and collections are those of Image Streamer's REST API (`/rest/golden-images`,
//! `/rest/os-volumes`), so that its clients can read them. Fields that it lacked stand beside them in the same style.
//! This crate does no I/O and reads no clock.

mod artifact;
mod artifact_bundle;
mod attachment;
mod attribute;
mod build_plan;
mod cloud_init;
mod deployment_plan;
mod doctor;
mod enclosure_group;
mod event;
mod export;
mod filter;
mod format;
mod hardware;
mod hardware_type;
mod head;
mod image;
mod impact;
mod iscsi_session;
mod lenient;
mod list;
mod logical_enclosure;
mod login;
mod name;
mod plan_script;
mod plan_work;
mod profile;
mod progress;
mod read_only_target;
mod refusal;
mod scrub;
mod secret;
mod snapshot;
mod status;
mod task;
mod time;
mod title;
pub mod truth;
pub mod upload;
mod user;
mod volume;

pub use artifact::ArtifactReference;
pub use artifact_bundle::{
    ArtifactBundle, ArtifactBundleBody, BackupBody, BundleChoice, BundledBuildPlan, BundledDeploymentPlan,
    BundledGoldenImage, BundledPlanScript, DeploymentGroup, NewArtifactBundle,
};
pub use attachment::{Attachment, NewAttachment};
pub use attribute::{AttributeType, CustomAttribute};
pub use build_plan::{BuildPlan, BuildPlanBody, BuildStep, STEPS_MAX};
pub use cloud_init::{
    Attach, CLOUD_TEXT_BYTES_MAX, CloudInit, CloudInitChange, Datasource, ESP_PATH_DEFAULT,
};
pub use deployment_plan::{
    AdditionalParameter, DeploymentPlan, DeploymentPlanBody, KEEP_GENERATIONS_DEFAULT, KEEP_GENERATIONS_MAX,
    OsDeploymentPlan,
};
pub use doctor::{ApplianceStamp, Doctor, DoctorCheck};
pub use enclosure_group::{
    DeploymentMode, DeploymentModeSettings, EnclosureGroup, EnclosureGroupSpec, GroupDeploymentSettings,
};
pub use event::{Event, EventKind};
pub use export::{ChapCredential, ChapUser, ExportChange, ExportSettings, Redirect};
pub use format::{BadFormat, ImageFormat};
pub use hardware::{
    AvailableTarget, AvailableTargets, PowerState, PowerStateChange, ServerHardware, ServerHardwareSpec,
};
pub use hardware_type::{ServerHardwareType, ServerHardwareTypeSpec};
pub use head::{Head, ResourceNames};
pub use image::{GoldenImage, GoldenImageBody, NewGoldenImage};
pub use impact::{Impact, ImpactOutcome, VolumeImpact};
pub use iscsi_session::IscsiSession;
pub use lenient::Extra;
pub use list::{Collection, ListError, Page, page, page_of};
pub use logical_enclosure::{DeploymentManagerSettings, LogicalEnclosure, LogicalEnclosureSpec};
pub use login::{Login, LoginSession};
pub use name::{NAME_BYTES_MAX, Name, NameError, nearest};
pub use plan_script::{PlanScript, PlanScriptBody, PlanType, SCRIPT_BYTES_MAX, ScriptDifferences};
pub use plan_work::{PlanFinding, PlanTrial, Revision, RevisionBody};
pub use profile::{
    ChapLevel, Generation, InitiatorNameType, IscsiChap, OsDeploymentSettings, OsDeploymentSettingsSpec,
    ProfileAttribute, ServerProfile, ServerProfileSpec,
};
pub use progress::{Phase, Progress};
pub use read_only_target::{NewReadOnlyTarget, ReadOnlyTarget, ReadOnlyTargetChange};
pub use refusal::{Code, Refusal};
pub use scrub::{Finding, Scrub, ScrubPass, ScrubResult, ScrubState};
pub use secret::Secret;
pub use snapshot::{NewSnapshot, Snapshot};
pub use status::{Capacity, DaemonStatus, SpaceLevel, VersionRange};
pub use task::{AssociatedResource, ProgressUpdate, Task, TaskError, TaskState};
pub use time::iso8601;
pub use title::{TITLE_BYTES_MAX, Title, TitleError};
pub use user::{BadRole, PasswordChange, Permission, Role, User, UserSpec};
pub use volume::{
    DependentServer, NewOsVolume, OsVolume, OsVolumeChange, Portal, SessionSummary, SizeSpec,
    StatelessServer, VolumeStorage,
};

/// Path of the collection of golden images.
pub const GOLDEN_IMAGES: &str = "/rest/golden-images";
/// Path of the collection of plan scripts.
pub const PLAN_SCRIPTS: &str = "/rest/plan-scripts";
/// Path of the collection of OS build plans.
pub const BUILD_PLANS: &str = "/rest/build-plans";
/// Path of the collection of deployment plans.
pub const DEPLOYMENT_PLANS: &str = "/rest/deployment-plans";
/// Path of the same as OneView sees it.
pub const OS_DEPLOYMENT_PLANS: &str = "/rest/os-deployment-plans";
/// Path of the collection of artifact bundles.
pub const ARTIFACT_BUNDLES: &str = "/rest/artifact-bundles";
/// Path of the collection of deployment groups.
pub const DEPLOYMENT_GROUPS: &str = "/rest/deployment-groups";
/// Path of the collection of OS volumes.
pub const OS_VOLUMES: &str = "/rest/os-volumes";
/// Path of the attachments of all OS volumes.
pub const ATTACHMENTS: &str = "/rest/os-volume-attachments";
/// Path of the golden images and snapshots that are served as read-only disks.
pub const READ_ONLY_TARGETS: &str = "/rest/read-only-targets";
/// Path of the collection of iSCSI sessions.
pub const ISCSI_SESSIONS: &str = "/rest/iscsi-sessions";
/// Path of the collection of server hardware types.
pub const SERVER_HARDWARE_TYPES: &str = "/rest/server-hardware-types";
/// Path of the collection of server hardware.
pub const SERVER_HARDWARE: &str = "/rest/server-hardware";
/// Path of the collection of enclosure groups.
pub const ENCLOSURE_GROUPS: &str = "/rest/enclosure-groups";
/// Path of the collection of logical enclosures.
pub const LOGICAL_ENCLOSURES: &str = "/rest/logical-enclosures";
/// Path of the collection of server profiles.
pub const SERVER_PROFILES: &str = "/rest/server-profiles";
/// Path of profiles as Image Streamer calls them.
pub const STATELESS_SERVERS: &str = "/rest/stateless-servers";
/// Path of the collection of all snapshots of OS volumes.
pub const SNAPSHOTS: &str = "/rest/os-volume-snapshots";
/// Path of the daemon's own status.
pub const STATUS: &str = "/rest/osvol/status";
/// What the daemon needs of its machine.
pub const DOCTOR: &str = "/rest/osvol/doctor";
/// Path of the scrub; `/start` and `/stop` are below it.
pub const SCRUB: &str = "/rest/osvol/scrub";
/// Path that tells which API versions are spoken.
pub const VERSION: &str = "/rest/version";
/// Path of the login sessions.
pub const LOGIN_SESSIONS: &str = "/rest/login-sessions";
/// Path of the collection of users.
pub const USERS: &str = "/rest/users";
/// Path of the collection of tasks.
pub const TASKS: &str = "/rest/tasks";
/// Path of the changes, as they happen.
pub const EVENTS: &str = "/rest/osvol/events";
/// Path of the OpenAPI document.
pub const OPENAPI: &str = "/rest/osvol/openapi.json";
/// Media type of a stream of JSON values, one a line: progress, then the result.
pub const NDJSON: &str = "application/x-ndjson";

/// Health of a resource, as OneView words it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
pub enum Health {
    /// Works.
    OK,
    /// Works, and needs attention.
    Warning,
    /// Does not work, or has lost data.
    Critical,
    /// A word of a newer daemon.
    #[serde(other)]
    Unknown,
}

impl std::fmt::Display for Health {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::OK => "OK",
            Self::Warning => "Warning",
            Self::Critical => "Critical",
            Self::Unknown => "Unknown",
        })
    }
}
