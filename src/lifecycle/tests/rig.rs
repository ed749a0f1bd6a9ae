//! What the tests stand on.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use api::{PowerState, Refusal, SessionSummary};
use cow::{Store, VolumeId, VolumeInfo};
use parking_lot::Mutex;
use uuid::Uuid;

use crate::catalog::hardware::HardwareFacts;
use crate::catalog::os_volumes::{self, OsVolume, VolumeState};
use crate::catalog::profiles::{self, Attribute, Profile};
use crate::catalog::tasks::TaskRecord;
use crate::catalog::{
    Catalog, Envelope, Tx, build_plans, deployment_plans, hardware, logical_enclosures, plan_scripts,
};
use crate::control::{EndSessions, Exports, Withdrawal};
use crate::deploy::{Engine, Failure, Job, Personalize, Report, Told};
use crate::exports::{Access, Directory, LoggedIn};
use crate::lifecycle::{Answer, Ask, Consent, Lifecycle, ProfileSpec, Request, VolumeNames};
use crate::portal::ReadOnlyTargets;
use crate::settings::Shelf;

/// Exports that remember who may log in, and who is said to be logged in.
#[derive(Default)]
pub(super) struct Remembered {
    settings: OnceLock<Arc<Shelf>>,
    read_only: OnceLock<Arc<ReadOnlyTargets>>,
    pub(super) open: Mutex<BTreeMap<VolumeId, Vec<String>>>,
    pub(super) logged_in: Mutex<HashMap<VolumeId, String>>,
    pub(super) logins: Mutex<HashMap<VolumeId, u64>>,
    /// Fails from the next withdrawal on.
    pub(super) fails: Mutex<Option<Arc<Catalog>>>,
}

impl Exports for Remembered {
    fn portals(&self) -> Vec<SocketAddr> {
        Vec::new()
    }

    fn target_name(&self, volume: VolumeId, name: &str) -> String {
        format!("iqn.test:{name}-{volume}")
    }

    fn sessions(&self, volume: VolumeId) -> Vec<SessionSummary> {
        let session = |name: &String| SessionSummary { initiator_name: name.clone(), address: None };
        self.logged_in.lock().get(&volume).map(session).into_iter().collect()
    }

    fn all_sessions(&self) -> HashMap<VolumeId, Vec<SessionSummary>> {
        HashMap::new()
    }

    fn logged_in(&self) -> Vec<(LoggedIn, Option<VolumeId>)> {
        Vec::new()
    }

    fn end_session(&self, _tsih: iscsi::Tsih) -> Pin<Box<dyn Future<Output = bool> + Send + '_>> {
        Box::pin(async { false })
    }

    fn warning(&self, _volume: VolumeId) -> Option<String> {
        None
    }

    fn changed(&self, _volume: VolumeId) {}

    fn session_count(&self) -> usize {
        self.logged_in.lock().len()
    }

    fn logins(&self, volume: VolumeId) -> u64 {
        self.logins.lock().get(&volume).copied().unwrap_or(0)
    }

    fn settings(&self) -> &Arc<Shelf> {
        self.settings.get().unwrap()
    }

    fn read_only(&self) -> &Arc<ReadOnlyTargets> {
        self.read_only.get().unwrap()
    }

    fn settings_changed(
        &self,
        _volume: &VolumeInfo,
        _end_sessions: EndSessions,
    ) -> Pin<Box<dyn Future<Output = usize> + Send + '_>> {
        Box::pin(std::future::ready(0))
    }

    fn publish(&self, volume: &VolumeInfo) {
        assert_eq!(os_volumes::number_of(&volume.name), None);
        self.publish_to(volume, Access::default());
    }

    fn publish_to(&self, volume: &VolumeInfo, access: Access) {
        let who = access.initiators.iter().map(ToString::to_string).collect();
        self.open.lock().insert(volume.id, who);
    }

    fn withdraw(
        &self,
        volume: VolumeId,
        force: bool,
    ) -> Pin<Box<dyn Future<Output = Withdrawal> + Send + '_>> {
        Box::pin(async move {
            if let Some(catalog) = self.fails.lock().take() {
                catalog.mark_damaged("a write to it failed");
            }
            let sessions = self.sessions(volume);
            if !force && !sessions.is_empty() {
                return Withdrawal::InUse(sessions);
            }
            self.logged_in.lock().remove(&volume);
            self.open.lock().remove(&volume);
            Withdrawal::Done
        })
    }
}

/// An engine that writes the script itself to the beginning of the disk, or fails when it is told to.
pub(super) struct Scripted {
    store: Arc<Store>,
    /// Names of the volumes that jobs have had.
    pub(super) jobs: Mutex<Vec<String>>,
    /// What the jobs to come fail with.
    pub(super) fails: Mutex<Option<Refusal>>,
}

impl Scripted {
    #[expect(clippy::result_large_err, reason = "as the trait has it")]
    fn run_now(&self, job: &Job) -> Result<Report, Failure> {
        self.jobs.lock().push(self.store.volume_info(job.volume).unwrap().name);
        let log = job.script.shown();
        if let Some(refusal) = self.fails.lock().clone() {
            return Err(Failure { refusal, log });
        }
        let volume = self.store.open_volume(job.volume).unwrap();
        let mut block = job.script.lines_of(0).join("\n").into_bytes();
        block.resize(4096, 0);
        volume.write(0, &[&block], cow::Wait::Yes).unwrap();
        Ok(Report { engine: Engine::Builtin, steps: Vec::new(), took: Duration::ZERO, log })
    }
}

impl Personalize for Scripted {
    fn check(&self, _script: &script::Expanded) -> Result<(), Refusal> {
        Ok(())
    }

    fn run<'a>(
        &'a self,
        job: Job,
        _told: &'a Told<'a>,
    ) -> Pin<Box<dyn Future<Output = Result<Report, Failure>> + Send + 'a>> {
        Box::pin(async move { self.run_now(&job) })
    }
}

struct NoNames;

impl VolumeNames for NoNames {
    fn is_taken(&self, _name: &str) -> bool {
        false
    }

    fn appeared(&self, _name: &str, _id: VolumeId) {}

    fn went(&self, _name: &str) {}
}

/// Two enclosures of one group with two servers each, a third server of another type, one outside any enclosure, and
/// a plan that makes empty volumes of 1 MiB.
pub(super) struct Rig {
    pub(super) catalog: Arc<Catalog>,
    pub(super) store: Arc<Store>,
    pub(super) exports: Arc<Remembered>,
    /// Of what is served read-only.
    pub(super) targets: Arc<Directory>,
    pub(super) scripts: Arc<Scripted>,
    pub(super) lifecycle: Arc<Lifecycle>,
    pub(super) plan: Uuid,
    pub(super) other_plan: Uuid,
    servers: HashMap<&'static str, Uuid>,
    _directory: tempfile::TempDir,
}

pub(super) const OTHER_GROUP: &str = "group-2";

impl Rig {
    pub(super) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let catalog = Catalog::open(&directory.path().join("catalog")).unwrap();
        let (servers, plan, other_plan) = catalog.write(|tx| Ok(estate(tx))).unwrap();
        let exports = Arc::new(Remembered::default());
        let settings = Shelf::open(directory.path(), catalog.clone()).unwrap();
        let targets = Directory::new();
        let read_only =
            ReadOnlyTargets::new(store.clone(), targets.clone(), settings.clone(), "iqn.2026-01.test");
        exports.settings.get_or_init(|| settings);
        exports.read_only.get_or_init(|| read_only);
        let scripts =
            Arc::new(Scripted { store: store.clone(), jobs: Mutex::default(), fails: Mutex::default() });
        let lifecycle = Lifecycle::new(
            catalog.clone(),
            store.clone(),
            exports.clone(),
            Arc::new(NoNames),
            scripts.clone(),
        );
        let lifecycle = lifecycle.unwrap();
        lifecycle.recover().unwrap();
        Self {
            catalog,
            store,
            exports,
            targets,
            scripts,
            lifecycle,
            plan,
            other_plan,
            servers,
            _directory: directory,
        }
    }

    pub(super) fn server(&self, name: &str) -> Option<Uuid> {
        Some(self.servers[name])
    }

    /// A profile of the plan, assigned to a server or to none.
    pub(super) fn spec(&self, server: Option<&str>) -> ProfileSpec {
        ProfileSpec {
            name: "web01".into(),
            hardware: server.and_then(|name| self.server(name)),
            plan: Some(self.plan),
            ..ProfileSpec::default()
        }
    }

    /// A profile of the plan with a script.
    pub(super) fn scripted(&self, server: Option<&str>, greeting: &str) -> ProfileSpec {
        let plan = self.catalog.read(|tx| deployment_plans::find(tx, SCRIPTED)).unwrap();
        let greeting = Attribute { name: "Greeting".into(), value: Some(greeting.into()) };
        ProfileSpec { plan: Some(plan.envelope.id), attributes: vec![greeting], ..self.spec(server) }
    }

    /// What the profile's volume begins with.
    pub(super) fn begins_with(&self) -> String {
        let mut block = vec![0; 4096];
        let volume = self.store.open_volume(self.volume().unwrap().id).unwrap();
        volume.read(0, &mut block, cow::Wait::Yes).unwrap();
        String::from_utf8(block).unwrap().trim_end_matches('\0').to_owned()
    }

    pub(super) async fn ask(&self, request: Request, consent: Consent) -> Result<TaskRecord, Refusal> {
        let ask = Ask { actor: "test".into(), consent, ..Ask::default() };
        match self.lifecycle.ask(request, ask).await? {
            Answer::Begun { task, .. } => self.lifecycle.finished(task).await,
            Answer::Preview(_) => panic!("no dry run was asked for"),
        }
    }

    /// Asks and proceeds, whatever is lost.
    pub(super) async fn proceed(&self, request: Request) -> TaskRecord {
        let consent = Consent { force: true, ..Consent::default() };
        let task = self.ask(request, consent).await.unwrap();
        assert_eq!(task.errors, [], "{task:?}");
        task
    }

    pub(super) async fn create(&self, server: Option<&str>) {
        self.proceed(Request::CreateProfile(self.spec(server))).await;
    }

    pub(super) fn change(&self, server: Option<&str>) -> Request {
        Request::ChangeProfile("web01".into(), self.spec(server))
    }

    pub(super) fn profile(&self) -> Profile {
        self.catalog.read(|tx| profiles::find(tx, "web01")).unwrap()
    }

    pub(super) fn volume(&self) -> Option<OsVolume> {
        self.catalog.read(|tx| os_volumes::current(tx, profiles::find(tx, "web01")?.envelope.id)).unwrap()
    }

    /// Everything that there is, to compare.
    pub(super) fn everything(&self) -> String {
        let rows = self.catalog.read(|tx| Ok((profiles::list(tx)?, os_volumes::list(tx)?))).unwrap();
        let volumes: Vec<_> = self.store.volumes().into_iter().map(|volume| volume.name).collect();
        format!("{rows:?} {volumes:?} {:?}", self.exports.open.lock())
    }

    /// Catalog, store and exports agree, and nothing is left over on either side.
    pub(super) fn check(&self) {
        let rows = self.catalog.read(os_volumes::list).unwrap();
        assert!(rows.iter().all(|row| row.state != VolumeState::Doomed), "{rows:?}");
        let mut in_catalog: Vec<_> = rows.iter().map(|row| row.name.clone()).collect();
        let mut in_store: Vec<_> = self.store.volumes().into_iter().map(|volume| volume.name).collect();
        in_catalog.sort();
        in_store.sort();
        assert_eq!(in_catalog, in_store);
        let mut expected = BTreeMap::new();
        for profile in self.catalog.read(profiles::list).unwrap() {
            let current = rows
                .iter()
                .find(|row| row.profile == Some(profile.envelope.id) && row.state == VolumeState::Current);
            if let (Some(row), Some(_)) = (current, profile.hardware) {
                expected.insert(row.id, vec![profile.initiator_name]);
            }
        }
        assert_eq!(*self.exports.open.lock(), expected);
        let held: u64 = self
            .catalog
            .read(|tx| Ok(tx.query_row("SELECT count(*) FROM holds", [], |row| row.get(0))?))
            .unwrap();
        assert_eq!(held, 0);
    }
}

/// Name of the plan that has a script.
pub(super) const SCRIPTED: &str = "scripted";

/// A plan like the others, with one script.
fn scripted(tx: &Tx<'_>) {
    let body = |json| serde_json::from_value(json).unwrap();
    let content = "write /motd \"@Greeting@\"";
    let script = serde_json::json!({"name": "greet", "planType": "deploy", "content": content});
    plan_scripts::insert(tx, &body(script)).unwrap();
    let step = serde_json::json!([{"serialNumber": "1", "planScriptName": "greet"}]);
    let build = serde_json::json!({"name": "greeting", "oeBuildPlanType": "deploy", "buildStep": step,
        "customAttributes": [{"name": "Greeting", "type": "string", "value": ""},
            {"name": "VolumeSize", "type": "number", "value": "1"}]});
    build_plans::insert(tx, &serde_json::from_value(build).unwrap(), build_plans::Origin::Written).unwrap();
    let plan = serde_json::json!({"name": SCRIPTED, "oeBuildPlanURI": "greeting"});
    let plan = serde_json::from_value(plan).unwrap();
    deployment_plans::insert(tx, &plan, build_plans::Origin::Written).unwrap();
}

fn estate(tx: &Tx<'_>) -> (HashMap<&'static str, Uuid>, Uuid, Uuid) {
    let named = |table: &str, name: &str, columns: &str, values: &str| {
        let e = Envelope::new(tx, name, "").unwrap();
        let sql = format!(
            "INSERT INTO {table} (id, name, created_ms, modified_ms, revision{columns}) VALUES ('{}', '{name}', 1, 1, 1{values})",
            e.id
        );
        tx.execute(&sql, []).unwrap();
        e.id
    };
    let small = named("server_hardware_types", "small", "", "");
    let large = named("server_hardware_types", "large", "", "");
    let group = named("enclosure_groups", "group-1", ", manages_os_deployment", ", 1");
    named("enclosure_groups", OTHER_GROUP, ", manages_os_deployment", ", 1");
    named("enclosure_groups", "group-unmanaged", ", manages_os_deployment", ", 0");
    let enclosure = |name| logical_enclosures::insert(tx, (name, ""), group, serde_json::Map::new());
    let a = enclosure("enclosure-a").unwrap().envelope.id;
    let b = enclosure("enclosure-b").unwrap().envelope.id;
    let server = |name: &'static str, hardware_type, logical_enclosure| {
        let facts = HardwareFacts {
            hardware_type,
            logical_enclosure,
            position: None,
            uuid: Uuid::new_v4(),
            serial_number: None,
            initiator_name: None,
            mac_addresses: Vec::new(),
        };
        (name, hardware::insert(tx, (name, ""), PowerState::Off, facts).unwrap().envelope.id)
    };
    let servers = HashMap::from([
        server("a1", small, Some(a)),
        server("a2", small, Some(a)),
        server("a-large", large, Some(a)),
        server("b1", small, Some(b)),
        server("outside", small, None),
    ]);
    let build = named("build_plans", "as is", ", plan_type", ", 'deploy'");
    let size = r#"[{"name":"VolumeSize","type":"number","value":"1","visible":true,"editable":true}]"#;
    let plan = |name| {
        let columns = ", build_plan_id, attributes";
        named("deployment_plans", name, columns, &format!(", '{build}', '{size}'"))
    };
    let (one, other) = (plan("empty"), plan("empty, too"));
    scripted(tx);
    (servers, one, other)
}
