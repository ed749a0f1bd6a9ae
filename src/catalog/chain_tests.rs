//! The chain of use, eTags, read-only artifacts, and what attributes make of each other: one behaviour a test.

use std::sync::Arc;

use api::{
    Attach, AttributeType, BuildPlanBody, BuildStep, CloudInit, CloudInitChange, CustomAttribute, Datasource,
    DeploymentPlanBody, PlanScriptBody, PlanType, Title,
};
use uuid::Uuid;

use crate::catalog::build_plans::Origin;
use crate::catalog::deployment_plans::DeploymentPlan;
use crate::catalog::{
    self, Catalog, Error, Kind, Tx, build_plans, deployment_plans, golden_images, plan_scripts, revisions,
};

struct Fixture {
    catalog: Arc<Catalog>,
    _directory: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self { catalog: Catalog::open(&directory.path().join("catalog")).unwrap(), _directory: directory }
    }

    fn write<T>(&self, write: impl FnOnce(&Tx<'_>) -> catalog::Result<T>) -> catalog::Result<T> {
        self.catalog.write(write)
    }
}

fn title(name: &str) -> Title {
    Title::parse(name).unwrap()
}

fn script(name: &str, content: &str) -> PlanScriptBody {
    PlanScriptBody {
        name: title(name),
        description: String::new(),
        plan_type: PlanType::Deploy,
        content: content.into(),
        hp_provided: false,
        e_tag: None,
    }
}

fn build_plan(name: &str, scripts: &[&str]) -> BuildPlanBody {
    let step = |(index, script): (usize, &&str)| BuildStep {
        serial_number: (index + 1).to_string(),
        plan_script_name: (*script).to_owned(),
        plan_script_uri: String::new(),
        parameters: None,
    };
    BuildPlanBody {
        name: title(name),
        description: String::new(),
        oe_build_plan_type: PlanType::Deploy,
        build_step: scripts.iter().enumerate().map(step).collect(),
        custom_attributes: Vec::new(),
        hp_provided: false,
        e_tag: None,
    }
}

fn plan(name: &str, build_plan: &str, image: Option<&str>) -> DeploymentPlanBody {
    DeploymentPlanBody {
        name: title(name),
        description: String::new(),
        golden_image_uri: image.map(str::to_owned),
        oe_build_plan_uri: build_plan.into(),
        custom_attributes: Vec::new(),
        hp_provided: false,
        keep_generations: None,
        cloud_init: api::CloudInitChange::Stays,
        e_tag: None,
    }
}

fn attribute(name: &str, kind: AttributeType, value: Option<&str>) -> CustomAttribute {
    CustomAttribute {
        name: name.into(),
        kind,
        value: value.map(str::to_owned),
        description: String::new(),
        constraints: "{}".into(),
        id: None,
        visible: None,
        editable: None,
    }
}

/// script `s` ← build plan `b` ← deployment plan `p` (+ image `i`) ← profile `web01`, if wanted.
fn chain(tx: &Tx<'_>, with_profile: bool) -> catalog::Result<()> {
    plan_scripts::insert(tx, &script("s", "echo @Greeting:Hello@"))?;
    build_plans::insert(tx, &build_plan("b", &["s"]), Origin::Written)?;
    let new = golden_images::NewGoldenImage { name: "i".into(), ..Default::default() };
    golden_images::insert(tx, Uuid::from_u128(7), new)?;
    let plan = deployment_plans::insert(tx, &plan("p", "b", Some("i")), Origin::Written)?;
    if with_profile {
        tx.execute(
            "INSERT INTO server_profiles (id, name, created_ms, modified_ms, revision, deployment_plan_id,
             initiator_name, initiator_name_generated) VALUES (?1, 'web01', 1, 1, 1, ?2, 'iqn.x:1', 1)",
            [Uuid::new_v4().to_string(), plan.envelope.id.to_string()],
        )?;
    }
    Ok(())
}

#[track_caller]
fn in_use<T>(result: catalog::Result<T>, kind: Kind, by: &str) {
    match result.map(drop) {
        Err(Error::InUse { kind: found, by: users, .. }) => {
            assert_eq!(found, kind);
            assert!(users.iter().any(|user| user.name == by), "{users:?}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_something_uses_is_not_deleted_from_the_script_to_the_plan() {
    let fixture = Fixture::new();
    fixture.write(|tx| chain(tx, true)).unwrap();
    in_use(
        fixture.write(|tx| plan_scripts::remove(tx, plan_scripts::find(tx, "s")?.envelope.id, None)),
        Kind::PlanScript,
        "b",
    );
    in_use(
        fixture.write(|tx| build_plans::remove(tx, build_plans::find(tx, "b")?.envelope.id, None)),
        Kind::BuildPlan,
        "p",
    );
    in_use(fixture.write(|tx| golden_images::remove(tx, Uuid::from_u128(7), None)), Kind::GoldenImage, "p");
    in_use(
        fixture.write(|tx| deployment_plans::remove(tx, deployment_plans::find(tx, "p")?.envelope.id, None)),
        Kind::DeploymentPlan,
        "web01",
    );
}

#[test]
fn from_its_end_the_chain_can_be_taken_apart() {
    let fixture = Fixture::new();
    fixture.write(|tx| chain(tx, false)).unwrap();
    fixture
        .write(|tx| deployment_plans::remove(tx, deployment_plans::find(tx, "p")?.envelope.id, None))
        .unwrap();
    fixture.write(|tx| golden_images::remove(tx, Uuid::from_u128(7), None)).unwrap();
    fixture.write(|tx| build_plans::remove(tx, build_plans::find(tx, "b")?.envelope.id, None)).unwrap();
    fixture.write(|tx| plan_scripts::remove(tx, plan_scripts::find(tx, "s")?.envelope.id, None)).unwrap();
}

#[test]
fn what_a_profile_reaches_is_not_edited() {
    let fixture = Fixture::new();
    fixture.write(|tx| chain(tx, true)).unwrap();
    let edited = fixture.write(|tx| {
        plan_scripts::update(tx, plan_scripts::find(tx, "s")?.envelope.id, None, &script("s", "other"))
    });
    in_use(edited, Kind::PlanScript, "web01");
    let edited = fixture.write(|tx| {
        build_plans::update(tx, build_plans::find(tx, "b")?.envelope.id, None, &build_plan("b", &[]))
    });
    in_use(edited, Kind::BuildPlan, "web01");
    let edited = fixture.write(|tx| {
        deployment_plans::update(
            tx,
            deployment_plans::find(tx, "p")?.envelope.id,
            None,
            &plan("q", "b", Some("i")),
        )
    });
    in_use(edited, Kind::DeploymentPlan, "web01");
    let edited = fixture.write(|tx| golden_images::update(tx, Uuid::from_u128(7), None, ("j", "")));
    in_use(edited, Kind::GoldenImage, "web01");
}

#[test]
fn what_no_profile_reaches_is_edited_and_its_etag_moves() {
    let fixture = Fixture::new();
    fixture.write(|tx| chain(tx, false)).unwrap();
    let old = fixture.catalog.read(|tx| plan_scripts::find(tx, "s")).unwrap();
    let new = fixture
        .write(|tx| plan_scripts::update(tx, old.envelope.id, Some(&old.envelope.e_tag()), &script("t", "x")))
        .unwrap();
    assert_eq!((new.envelope.name.as_str(), new.envelope.revision), ("t", 2));
    assert_ne!(new.envelope.e_tag(), old.envelope.e_tag());
}

#[test]
fn a_put_that_changes_nothing_is_no_edit_even_of_what_is_in_use() {
    let fixture = Fixture::new();
    fixture.write(|tx| chain(tx, true)).unwrap();
    let (old, same) = fixture
        .write(|tx| {
            let old = deployment_plans::find(tx, "p")?;
            let mut body = plan("p", "b", Some("i"));
            body.custom_attributes = old.attributes.clone();
            let same = deployment_plans::update(tx, old.envelope.id, None, &body)?;
            let b = build_plans::find(tx, "b")?;
            let mut body = build_plan("b", &["s"]);
            body.custom_attributes = b.attributes.clone();
            assert_eq!(build_plans::update(tx, b.envelope.id, None, &body)?, b);
            Ok((old, same))
        })
        .unwrap();
    assert_eq!(old, same);
}

#[test]
fn a_change_against_an_old_etag_is_refused() {
    let fixture = Fixture::new();
    fixture.write(|tx| chain(tx, false)).unwrap();
    let old = fixture.catalog.read(|tx| deployment_plans::find(tx, "p")).unwrap();
    let tag = old.envelope.e_tag();
    let change = |name: &str| {
        let new = plan(name, "b", None);
        fixture.write(|tx| deployment_plans::update(tx, old.envelope.id, Some(&tag), &new))
    };
    change("q").unwrap();
    assert!(matches!(change("r"), Err(Error::Stale { .. })));
    let removed = fixture.write(|tx| deployment_plans::remove(tx, old.envelope.id, Some(&tag)));
    assert!(matches!(removed, Err(Error::Stale { .. })));
}

#[test]
fn what_is_read_only_is_not_edited_and_can_be_deleted() {
    let fixture = Fixture::new();
    let new = PlanScriptBody { hp_provided: true, ..script("s", "x") };
    let id = fixture.write(|tx| plan_scripts::insert(tx, &new)).unwrap().envelope.id;
    let edited = fixture.write(|tx| plan_scripts::update(tx, id, None, &script("s", "y")));
    assert!(matches!(edited, Err(Error::ReadOnly { .. })));
    fixture.write(|tx| plan_scripts::remove(tx, id, None)).unwrap();
}

#[test]
fn names_are_unique_whatever_their_case() {
    let fixture = Fixture::new();
    fixture.write(|tx| plan_scripts::insert(tx, &script("Mount", "x"))).unwrap();
    let again = fixture.write(|tx| plan_scripts::insert(tx, &script("MOUNT", "x")));
    assert!(matches!(again, Err(Error::NameExists { .. })));
    assert_eq!(fixture.catalog.read(|tx| plan_scripts::find(tx, "mount")).unwrap().envelope.name, "Mount");
}

#[test]
fn scripts_seed_the_build_plan_which_seeds_the_deployment_plan() {
    let fixture = Fixture::new();
    fixture.write(|tx| chain(tx, false)).unwrap();
    let plan = fixture.catalog.read(|tx| deployment_plans::find(tx, "p")).unwrap();
    let [greeting] = &plan.attributes[..] else { panic!("{:?}", plan.attributes) };
    assert_eq!((greeting.name.as_str(), greeting.value.as_deref()), ("Greeting", Some("Hello")));
    assert!(greeting.id.is_some() && greeting.visible == Some(true) && greeting.editable == Some(true));
}

#[test]
fn an_edited_build_plan_is_followed_by_its_deployment_plans() {
    let fixture = Fixture::new();
    fixture.write(|tx| chain(tx, false)).unwrap();
    let before = fixture
        .write(|tx| {
            let mut body = plan("p", "b", Some("i"));
            body.custom_attributes = vec![attribute("Greeting", AttributeType::String, Some("a"))];
            deployment_plans::update(tx, deployment_plans::find(tx, "p")?.envelope.id, None, &body)
        })
        .unwrap();
    fixture
        .write(|tx| {
            let mut body = build_plan("b", &["s"]);
            let options = CustomAttribute {
                constraints: r#"{"options":["a","Hello"]}"#.into(),
                ..attribute("Greeting", AttributeType::Option, Some("Hello"))
            };
            body.custom_attributes = vec![options, attribute("New", AttributeType::Number, Some("1"))];
            build_plans::update(tx, build_plans::find(tx, "b")?.envelope.id, None, &body)
        })
        .unwrap();
    let after = fixture.catalog.read(|tx| deployment_plans::find(tx, "p")).unwrap();
    assert_eq!(after.envelope.revision, before.envelope.revision + 1);
    let seen: Vec<_> =
        after.attributes.iter().map(|a| (a.name.as_str(), a.kind, a.value.as_deref().unwrap())).collect();
    assert_eq!(seen, [("Greeting", AttributeType::Option, "a"), ("New", AttributeType::Number, "1")]);
    assert_eq!(after.attributes[0].id, before.attributes[0].id);
}

#[test]
fn a_build_plan_takes_scripts_of_its_type_and_never_changes_it() {
    let fixture = Fixture::new();
    let capture = PlanScriptBody { plan_type: PlanType::Capture, ..script("c", "x") };
    fixture.write(|tx| plan_scripts::insert(tx, &capture)).unwrap();
    let wrong = fixture.write(|tx| build_plans::insert(tx, &build_plan("b", &["c"]), Origin::Written));
    assert!(matches!(wrong, Err(Error::Invalid { .. })));
    let missing = fixture.write(|tx| build_plans::insert(tx, &build_plan("b", &["d"]), Origin::Written));
    assert!(matches!(missing, Err(Error::NotFound { .. })));
    let made = fixture.write(|tx| build_plans::insert(tx, &build_plan("b", &[]), Origin::Written)).unwrap();
    let body = BuildPlanBody { oe_build_plan_type: PlanType::Capture, ..build_plan("b", &[]) };
    let changed = fixture.write(|tx| build_plans::update(tx, made.envelope.id, None, &body));
    assert!(matches!(changed, Err(Error::Invalid { field, .. }) if field == "oeBuildPlanType"));
}

#[test]
fn steps_go_by_their_numbers() {
    let fixture = Fixture::new();
    let plan = fixture
        .write(|tx| {
            plan_scripts::insert(tx, &script("x", ""))?;
            plan_scripts::insert(tx, &script("y", ""))?;
            let mut body = build_plan("b", &["x", "y"]);
            body.build_step[0].serial_number = "10".into();
            build_plans::insert(tx, &body, Origin::Written)
        })
        .unwrap();
    let names: Vec<_> = plan.steps.iter().map(|step| step.script_name.as_str()).collect();
    assert_eq!(names, ["y", "x"]);
    let mut twice = build_plan("c", &["x", "y"]);
    twice.build_step[0].serial_number = "2".into();
    assert!(fixture.write(|tx| build_plans::insert(tx, &twice, Origin::Written)).is_err());
}

/// A plan with one attribute of each interesting kind, and without an image.
fn with_attributes(fixture: &Fixture, image: bool) -> Uuid {
    fixture
        .write(|tx| {
            let new = golden_images::NewGoldenImage { name: "i".into(), ..Default::default() };
            golden_images::insert(tx, Uuid::from_u128(7), new)?;
            let mut body = build_plan("b", &[]);
            body.custom_attributes = vec![
                attribute("VolumeSize", AttributeType::Number, Some("")),
                attribute("Host", AttributeType::Hostname, Some("")),
                attribute("Secret", AttributeType::Password, Some("s3cret")),
                attribute("NIC1", AttributeType::Nic, None),
                attribute("Note", AttributeType::String, Some("")),
            ];
            build_plans::insert(tx, &body, Origin::Written)?;
            let mut body = plan("p", "b", image.then_some("i"));
            body.custom_attributes = vec![CustomAttribute {
                editable: Some(false),
                ..attribute("Note", AttributeType::String, Some("fixed"))
            }];
            Ok(deployment_plans::insert(tx, &body, Origin::Written)?.envelope.id)
        })
        .unwrap()
}

fn resolve(
    fixture: &Fixture,
    plan: Uuid,
    values: &[(&'static str, &'static str)],
) -> catalog::Result<deployment_plans::Effective> {
    let values = values.iter().map(|(name, value)| (*name, Some(*value)));
    fixture.catalog.read(|tx| deployment_plans::check_attributes(tx, plan, values))
}

#[test]
fn a_profiles_values_and_the_plans_make_the_effective_ones() {
    let fixture = Fixture::new();
    let plan = with_attributes(&fixture, false);
    let values =
        [("volumesize", "10"), ("Host", "web01"), ("NIC1.ipaddress", "10.0.0.1"), ("NIC1.dhcp", "False")];
    let effective = resolve(&fixture, plan, &values).unwrap();
    assert_eq!(effective.volume_size_bytes, Some(10 << 20));
    let value = |name: &str| {
        effective.attributes.iter().find(|one| one.name == name).map(|one| (one.value.as_deref(), one.secret))
    };
    assert_eq!(value("Host"), Some((Some("web01"), false)));
    assert_eq!(value("Secret"), Some((Some("s3cret"), true)));
    assert_eq!(value("NIC1"), Some((None, false)));
    assert_eq!(value("NIC1.ipaddress"), Some((Some("10.0.0.1"), false)));
    assert_eq!(value("Note"), Some((Some("fixed"), false)));
    assert!(!format!("{effective:?}").contains("s3cret"));
}

#[test]
fn what_is_missing_wrong_unknown_or_locked_is_refused_by_name() {
    let fixture = Fixture::new();
    let plan = with_attributes(&fixture, false);
    let refused = |values: &[(&'static str, &'static str)]| match resolve(&fixture, plan, values) {
        Err(Error::Invalid { field, .. }) => field,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(&[("Host", "web01")]), "VolumeSize");
    assert_eq!(refused(&[("VolumeSize", "10")]), "Host");
    assert_eq!(refused(&[("VolumeSize", "10"), ("Host", "a.b")]), "Host");
    assert_eq!(refused(&[("Hots", "web01")]), "Hots");
    assert_eq!(refused(&[("NIC1.nothing", "x")]), "NIC1.nothing");
    assert_eq!(refused(&[("NIC2.mac", "x")]), "NIC2.mac");
    assert_eq!(refused(&[("Host.mac", "x")]), "Host.mac");
    assert_eq!(refused(&[("Note", "other")]), "Note");
    assert_eq!(refused(&[("Host", "a"), ("HOST", "b")]), "HOST");
}

#[test]
fn with_a_golden_image_the_size_need_not_be_said() {
    let fixture = Fixture::new();
    let plan = with_attributes(&fixture, true);
    assert_eq!(resolve(&fixture, plan, &[("Host", "a")]).unwrap().volume_size_bytes, None);
}

#[test]
fn a_password_that_comes_back_as_null_stays() {
    let fixture = Fixture::new();
    let id = with_attributes(&fixture, true);
    let update = |value: Option<&str>| {
        let mut body = plan("p", "b", Some("i"));
        body.custom_attributes = vec![attribute("Secret", AttributeType::Password, value)];
        let plan = fixture.write(|tx| deployment_plans::update(tx, id, None, &body)).unwrap();
        plan.attributes.into_iter().find(|one| one.name == "Secret").unwrap().value
    };
    assert_eq!(update(None).as_deref(), Some("s3cret"));
    assert_eq!(update(Some("new")).as_deref(), Some("new"));
    assert_eq!(update(None).as_deref(), Some("new"));
}

#[test]
fn a_password_does_not_become_a_text_that_is_shown() {
    let fixture = Fixture::new();
    let id = with_attributes(&fixture, true);
    let shown = |plan: DeploymentPlan| {
        let found = plan.attributes.into_iter().find(|one| one.name == "Secret").unwrap();
        (found.kind, found.value.unwrap_or_default())
    };
    let as_text = || vec![attribute("Secret", AttributeType::String, None)];
    // Another build plan, in which it is a text.
    let other = BuildPlanBody { custom_attributes: as_text(), ..build_plan("b2", &[]) };
    fixture.write(|tx| build_plans::insert(tx, &other, Origin::Written)).unwrap();
    let moved = fixture.write(|tx| {
        let made = revisions::revise(tx, Kind::DeploymentPlan, id, false)?;
        let made = deployment_plans::find(tx, &made[0].new.id)?;
        deployment_plans::update(tx, made.envelope.id, None, &plan("moved", "b2", Some("i")))
    });
    assert_eq!(shown(moved.unwrap()), (AttributeType::String, String::new()));
    // The same build plan, where it becomes one.
    let same = BuildPlanBody { custom_attributes: as_text(), ..build_plan("b", &[]) };
    let followed = fixture.write(|tx| {
        build_plans::update(tx, build_plans::find(tx, "b")?.envelope.id, None, &same)?;
        deployment_plans::get(tx, id)
    });
    assert_eq!(shown(followed.unwrap()), (AttributeType::String, String::new()));
}

#[test]
fn an_attribute_is_one_whatever_its_case_and_whichever_script_has_its_default() {
    let fixture = Fixture::new();
    let made = fixture.write(|tx| {
        plan_scripts::insert(tx, &script("s1", "echo @Name@ @nic@ @NAME@"))?;
        plan_scripts::insert(tx, &script("s2", "echo @name:foo@ @NIC.mac@"))?;
        build_plans::insert(tx, &build_plan("b", &["s1", "s2"]), Origin::Written)
    });
    let attributes = made.unwrap().attributes;
    let seen: Vec<_> =
        attributes.iter().map(|one| (one.name.as_str(), one.kind, one.value.as_deref())).collect();
    assert_eq!(seen, [("Name", AttributeType::String, Some("foo")), ("nic", AttributeType::Nic, None)]);
    let old = fixture.catalog.read(|tx| plan_scripts::find(tx, "s1")).unwrap();
    let found = plan_scripts::differences(&old, "echo @NAME@ @Nic@");
    assert_eq!((found.ca_added, found.ca_removed), (Vec::<String>::new(), Vec::new()));
}

#[test]
fn attributes_are_counted_before_they_are_compared() {
    let fixture = Fixture::new();
    fixture.write(|tx| chain(tx, false)).unwrap();
    let many = || vec![attribute("A", AttributeType::String, None); 1025];
    let told = |refused: catalog::Result<()>| match refused {
        Err(Error::Invalid { message, .. }) => message,
        other => panic!("{other:?}"),
    };
    let body = BuildPlanBody { custom_attributes: many(), ..build_plan("x", &[]) };
    let refused = fixture.write(|tx| build_plans::insert(tx, &body, Origin::Bundle).map(drop));
    assert!(told(refused).contains("at most 1024"));
    let body = DeploymentPlanBody { custom_attributes: many(), ..plan("x", "b", None) };
    let refused = fixture.write(|tx| deployment_plans::insert(tx, &body, Origin::Bundle).map(drop));
    assert!(told(refused).contains("at most 1024"));
}

#[test]
fn keep_generations_and_the_build_plans_type_are_checked() {
    let fixture = Fixture::new();
    fixture.write(|tx| chain(tx, false)).unwrap();
    let body = DeploymentPlanBody { keep_generations: Some(17), ..plan("q", "b", None) };
    let refused = fixture.write(|tx| deployment_plans::insert(tx, &body, Origin::Written));
    assert!(matches!(refused, Err(Error::Invalid { field, .. }) if field == "keepGenerations"));
    let capture = BuildPlanBody { oe_build_plan_type: PlanType::Capture, ..build_plan("c", &[]) };
    fixture.write(|tx| build_plans::insert(tx, &capture, Origin::Written)).unwrap();
    let refused = fixture.write(|tx| deployment_plans::insert(tx, &plan("q", "c", None), Origin::Written));
    assert!(matches!(refused, Err(Error::Invalid { field, .. }) if field == "oeBuildPlanURI"));
}

fn seeded(change: CloudInitChange, attributes: Vec<CustomAttribute>) -> DeploymentPlanBody {
    DeploymentPlanBody { cloud_init: change, custom_attributes: attributes, ..plan("c", "b", Some("i")) }
}

#[test]
fn a_plan_with_a_seed_has_attributes_of_its_own() {
    let fixture = Fixture::new();
    fixture.write(|tx| chain(tx, false)).unwrap();
    let template =
        Some("#cloud-config\nx: \"@Motto:none yet@\" # @NIC1.ipaddress@ @_Volume.id@\n".to_owned());
    let option = CloudInit { user_data: template, ..CloudInit::default() };
    let seed = CloudInitChange::Some(Box::new(option.clone()));
    let own = vec![attribute("HostName", AttributeType::Hostname, None)];
    let body = seeded(seed, own.clone());
    let made = fixture.write(|tx| deployment_plans::insert(tx, &body, Origin::Written)).unwrap();
    let kinds = |plan: &DeploymentPlan| -> Vec<(String, AttributeType)> {
        plan.attributes.iter().map(|one| (one.name.clone(), one.kind)).collect()
    };
    use AttributeType::{Hostname, Nic};
    let wanted = [
        ("Greeting", AttributeType::String),
        ("HostName", Hostname),
        ("Motto", AttributeType::String),
        ("NIC1", Nic),
    ];
    assert_eq!(kinds(&made), wanted.map(|(name, kind)| (name.to_owned(), kind)));
    // What is not said stays, also when the build plan changes below it.
    let id = made.envelope.id;
    let body = seeded(CloudInitChange::Stays, Vec::new());
    let kept = fixture.write(|tx| deployment_plans::update(tx, id, None, &body)).unwrap();
    assert_eq!((kinds(&kept), kept.cloud_init), (kinds(&made), Some(option)));
    let changed = build_plan("b", &[]);
    let followed = fixture.write(|tx| {
        build_plans::update(tx, build_plans::find(tx, "b")?.envelope.id, None, &changed)?;
        deployment_plans::get(tx, id)
    });
    assert_eq!(kinds(&followed.unwrap())[..], kinds(&made)[1..]);
    let body = seeded(CloudInitChange::None, Vec::new());
    let gone = fixture.write(|tx| deployment_plans::update(tx, id, None, &body)).unwrap();
    assert_eq!((gone.attributes.len(), gone.cloud_init), (0, None));
    let refused =
        fixture.write(|tx| deployment_plans::update(tx, id, None, &seeded(CloudInitChange::Stays, own)));
    assert!(matches!(refused, Err(Error::Invalid { field, .. }) if field == "customAttributes"));
}

#[test]
fn an_option_that_makes_no_sense_is_refused() {
    let fixture = Fixture::new();
    fixture.write(|tx| chain(tx, false)).unwrap();
    for wrong in [
        CloudInit { esp_path: Some("/EFI/x".into()), ..CloudInit::default() },
        CloudInit { attach: Attach::Esp, esp_path: Some("EFI/../x".into()), ..CloudInit::default() },
        CloudInit { datasource: Datasource::Ignition, meta_data: Some("x".into()), ..CloudInit::default() },
        CloudInit { user_data: Some("x".repeat(api::CLOUD_TEXT_BYTES_MAX + 1)), ..CloudInit::default() },
    ] {
        let body = seeded(CloudInitChange::Some(Box::new(wrong)), Vec::new());
        let refused = fixture.write(|tx| deployment_plans::insert(tx, &body, Origin::Written));
        assert!(matches!(refused, Err(Error::Invalid { field, .. }) if field == "cloudInit"));
    }
}

#[test]
fn the_twins_path_finds_a_plan_too() {
    let fixture = Fixture::new();
    fixture.write(|tx| chain(tx, false)).unwrap();
    let found = fixture.catalog.read(|tx| {
        let id = deployment_plans::find(tx, "P")?.envelope.id;
        deployment_plans::find(tx, &format!("/rest/os-deployment-plans/{id}"))
    });
    assert_eq!(found.unwrap().envelope.name, "p");
}

#[test]
fn differences_tell_what_another_content_would_change() {
    let fixture = Fixture::new();
    let old = fixture.write(|tx| plan_scripts::insert(tx, &script("s", "@A@ @B:1@ @C@"))).unwrap();
    let found = plan_scripts::differences(&old, "@A@ @B:2@ @D@");
    assert_eq!((found.ca_added, found.ca_removed), (vec!["D".to_owned()], vec!["C".to_owned()]));
    assert_eq!((found.content_changed, found.default_value_changed), (true, vec!["B".to_owned()]));
    assert!(!plan_scripts::differences(&old, "@A@ @B:1@ @C@").content_changed);
}

#[test]
fn the_catalog_follows_the_stores_images() {
    let fixture = Fixture::new();
    fixture.write(|tx| chain(tx, false)).unwrap();
    let here = [(Uuid::from_u128(7), "i".to_owned()), (Uuid::from_u128(8), "I".to_owned())];
    assert_eq!(fixture.write(|tx| golden_images::adopt(tx, &here)).unwrap(), Vec::<String>::new());
    let names = |fixture: &Fixture| {
        let all = fixture.catalog.read(golden_images::list).unwrap();
        all.into_iter().map(|image| image.envelope.name).collect::<Vec<_>>()
    };
    assert_eq!(names(&fixture), ["i", "I (2)"]);
    assert_eq!(fixture.write(|tx| golden_images::adopt(tx, &[])).unwrap(), ["i"], "a plan uses it");
    assert_eq!(names(&fixture), ["i"]);
}

#[test]
fn what_an_operation_relies_on_is_not_edited() {
    use crate::catalog::holds::{Hold, take};
    use crate::catalog::tasks::{Subject, TaskRecord, save};
    let fixture = Fixture::new();
    fixture.write(|tx| chain(tx, false)).unwrap();
    let edited = fixture.write(|tx| {
        let plan = deployment_plans::find(tx, "p")?;
        let subject = Subject::new(Kind::DeploymentPlan, plan.envelope.id, "p");
        let task = TaskRecord::new(tx, "x", "Create", subject);
        save(tx, &task)?;
        take(tx, &task.id.to_string(), &[Hold::shared(Kind::DeploymentPlan, plan.envelope.id)])?;
        plan_scripts::update(tx, plan_scripts::find(tx, "s")?.envelope.id, None, &script("s", "other"))
    });
    assert!(matches!(edited, Err(Error::Busy { .. })));
}

#[test]
fn what_is_in_use_gets_a_successor_that_can_be_edited_and_so_do_its_users() {
    let fixture = Fixture::new();
    fixture.write(|tx| chain(tx, true)).unwrap();
    let revised = fixture
        .write(|tx| {
            let script = plan_scripts::find(tx, "s")?.envelope.id;
            revisions::revise(tx, Kind::PlanScript, script, true)
        })
        .unwrap();
    let names: Vec<_> = revised.iter().map(|one| (one.new.name.as_str(), one.old.name.as_str())).collect();
    assert_eq!(names, [("s (2)", "s"), ("b (2)", "b"), ("p (2)", "p")]);
    fixture
        .write(|tx| {
            let (old, new) = (deployment_plans::find(tx, "p")?, deployment_plans::find(tx, "p (2)")?);
            let build = build_plans::get(tx, new.build_plan)?;
            assert_eq!(
                (build.envelope.name.as_str(), build.steps[0].script_name.as_str()),
                ("b (2)", "s (2)")
            );
            assert_eq!(new.golden_image, old.golden_image);
            let linked = revisions::predecessor(tx, Kind::DeploymentPlan, new.envelope.id)?;
            assert_eq!(linked, Some(old.envelope.id.to_string()));
            let id = plan_scripts::find(tx, "s (2)")?.envelope.id;
            plan_scripts::update(tx, id, None, &script("s (2)", "echo @Greeting:Hi@"))?;
            // The next one counts on, whichever of them it is of; alone, it has no users.
            let again = revisions::revise(tx, Kind::PlanScript, id, false)?;
            assert_eq!((again.len(), again[0].new.name.as_str()), (1, "s (3)"));
            // What it succeeded may go.
            plan_scripts::remove(tx, plan_scripts::find(tx, "s (3)")?.envelope.id, None)
        })
        .unwrap();
    in_use(
        fixture.write(|tx| {
            let id = plan_scripts::find(tx, "s")?.envelope.id;
            plan_scripts::update(tx, id, None, &script("s", "echo"))
        }),
        Kind::PlanScript,
        "web01",
    );
}
