//! What the tests stand on.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use api::{PowerState, Refusal, SessionSummary};
use cow::{Store, VolumeId, VolumeInfo};
use parking_lot::Mutex;
use uuid::Uuid;

use crate::catalog::hardware::HardwareFacts;
use crate::catalog::os_volumes::{self, OsVolume, VolumeState};
use crate::catalog::profiles::{self, Profile};
use crate::catalog::tasks::TaskRecord;
use crate::catalog::{Catalog, Envelope, Tx, hardware, logical_enclosures};
use crate::control::{Exports, Withdrawal};
use crate::exports::Access;
use crate::lifecycle::{Answer, Ask, Consent, Lifecycle, ProfileSpec, Request, VolumeNames};

/// Exports that remember who may log in, and who is said to be logged in.
#[derive(Default)]
pub(super) struct Remembered {
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
        let lifecycle =
            Lifecycle::new(catalog.clone(), store.clone(), exports.clone(), Arc::new(NoNames)).unwrap();
        lifecycle.recover().unwrap();
        Self { catalog, store, exports, lifecycle, plan, other_plan, servers, _directory: directory }
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
    (servers, one, other)
}
