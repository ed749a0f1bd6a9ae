//! Bundles of HPE's form, written here member by member; and what strangers may send instead.

use std::collections::BTreeMap;
use std::io::{Cursor, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use api::{BundleChoice, NewArtifactBundle, Title};
use cow::Store;
use sha1::Sha1;
use sha2::{Digest, Sha256};
use uuid::Uuid;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::{Archive, BundleError, Incoming, Manifest, Mode, choose, choose_all, extract, write};
use crate::catalog::{Catalog, build_plans, deployment_plans, golden_images, plan_scripts};
use crate::images::Importer;

const IMAGE_BYTES_MAX: u64 = 4 << 20;
const DISK_BYTES: usize = 1 << 20;

fn hex(bytes: &[u8]) -> String {
    super::sums::hex(bytes)
}

/// Members of a bundle as HPE's Developer bundle has them, with a small disk.
fn members() -> BTreeMap<String, Vec<u8>> {
    let script = |id: &str, name: &str, kind: &str, content: &str| {
        let json = format!(
            r#"{{"type":"PlanScript","dependentArtifacts":null,"hpProvided":true,"eTag":null,"created":null,"modified":null,
            "customAttributes":null,"planType":"{kind}","description":"d","category":null,"status":null,"uri":null,
            "name":"{name}","id":"{id}","state":null,"content":"{content}"}}"#
        );
        (format!("{id}_planscript.json"), json.into_bytes())
    };
    let step = |number: u32, id: &str, name: &str| {
        format!(
            r#"{{"planScriptName":"{name}","planScriptUri":"/rest/plan-scripts/{id}","serialNumber":"{number}","parameters":null}}"#
        )
    };
    let build_plan = format!(
        r#"{{"type":"OeBuildPlan","dependentArtifacts":null,"customAttributes":[
            {{"constraints":"{{\"ipv4static\":true,\"parameters\":[\"mac\"]}}","description":"","name":"NIC","value":null,"type":"nic"}},
            {{"constraints":"{{\"options\":[\"Fail\"]}}","description":"","name":"Greeting","value":"Hello","type":"string"}}],
            "buildStep":[{},{}],"eTag":null,"hpProvided":true,"buildPlanid":"b1","oeBuildPlanType":"deploy",
            "description":"d","category":null,"name":"HPE - deploy (UEFI)"}}"#,
        step(1, "s1", "HPE - mount"),
        step(2, "s2", "HPE - greet")
    );
    let plan = r#"{"type":"OEDeploymentPlan","hpProvided":false,"customAttributes":[{"editable":true,"visible":true,
        "constraints":"{}","description":"","name":"Greeting","value":"Hi","id":"5d250431-f842-4f4b-b76d-f446da4075af",
        "type":"string"}],"importMetadata":false,"eTag":null,"goldenImageURI":"HPE - disk [1]",
        "oeBuildPlanURI":"HPE - deploy (UEFI)","description":"d","category":null,"name":"User - test","id":"p1","state":null}"#;
    let empty = r#"{"type":"OEDeploymentPlan","hpProvided":true,"customAttributes":[],"goldenImageURI":null,
        "oeBuildPlanURI":"HPE - deploy (UEFI)","description":"d","name":"User - empty","id":"p2"}"#;
    let image = r#"{"type":"GoldenImage","dependentArtifacts":null,"checkSum":null,"importedFromBundle":true,"imageCapture":false,
        "readOnly":true,"description":"d","name":"HPE - disk [1]","id":"i1","state":null,"size":0,"eTag":null}"#;
    BTreeMap::from([
        script("s1", "HPE - mount", "general", "mount /dev/sda1 /"),
        script("s2", "HPE - greet", "deploy", "echo @Greeting:Hello@ @NIC.mac@"),
        ("b1_buildplan.json".to_owned(), build_plan.into_bytes()),
        ("p1_deploymentplan.json".to_owned(), plan.as_bytes().to_vec()),
        ("p2_deploymentplan.json".to_owned(), empty.as_bytes().to_vec()),
        ("i1_goldenimage.json".to_owned(), image.as_bytes().to_vec()),
        ("HPE - disk [1]".to_owned(), disk()),
        (
            "MANIFEST.MF".to_owned(),
            b"Artifact Name:HPE-Test\nDescription:x\nRead Only:true\nTime Stamp:2017\nArtifact Type:USER"
                .to_vec(),
        ),
    ])
}

/// A zip with one raw disk.
fn disk() -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    zip.start_file("0ad3c2f3-bcc3-4dcd-81ef-c71ca6cfb148", SimpleFileOptions::default()).unwrap();
    let mut raw = vec![0; DISK_BYTES];
    raw[..9].copy_from_slice(b"the disk!");
    zip.write_all(&raw).unwrap();
    zip.finish().unwrap().into_inner()
}

fn with_sums(members: &mut BTreeMap<String, Vec<u8>>) {
    let line = |(name, content): (&String, &Vec<u8>)| format!("{name}\t{}\n", hex(&Sha256::digest(content)));
    let sums: String = members.iter().map(line).collect();
    members.insert("SHA256SUM.sha256sum".to_owned(), sums.into_bytes());
}

fn packed<'a>(members: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in members {
        zip.start_file(name, SimpleFileOptions::default()).unwrap();
        zip.write_all(content).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

fn bundle(change: impl FnOnce(&mut BTreeMap<String, Vec<u8>>)) -> Vec<u8> {
    let mut members = members();
    with_sums(&mut members);
    change(&mut members);
    packed(members.iter().map(|(name, content)| (name.as_str(), content.as_slice())))
}

fn open(bytes: &[u8]) -> Result<Archive, BundleError> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    Archive::open(file.path(), IMAGE_BYTES_MAX)
}

#[test]
fn a_bundle_of_hpes_form_is_read() {
    let archive = open(&bundle(|_| ())).unwrap();
    assert_eq!((archive.manifest.name.as_str(), archive.manifest.read_only), ("HPE-Test", true));
    let contents = archive.contents();
    assert_eq!(contents.count(), 6);
    assert_eq!(contents.build_plans[0].needs, ["HPE - mount", "HPE - greet"]);
    assert_eq!(contents.deployment_plans[0].needs, ["HPE - deploy (UEFI)", "HPE - disk [1]"]);
    assert_eq!(contents.deployment_plans[1].needs, ["HPE - deploy (UEFI)"]);
    assert_eq!(contents.golden_images[0].name, "HPE - disk [1]");
}

#[test]
fn older_bundles_have_sha1_sums() {
    let old = bundle(|members| {
        members.remove("SHA256SUM.sha256sum");
        let line =
            |(name, content): (&String, &Vec<u8>)| format!("{name}\t{}\n", hex(&Sha1::digest(content)));
        let sums: String = members.iter().map(line).collect();
        members.insert("SHA1SUM.sha1sum".to_owned(), sums.into_bytes());
    });
    open(&old).unwrap();
}

#[test]
fn a_member_that_is_not_its_sum_is_refused_and_so_is_one_without() {
    let changed = bundle(|members| members.get_mut("HPE - disk [1]").unwrap()[60] ^= 1);
    assert!(matches!(open(&changed), Err(BundleError::Sum(name)) if name == "HPE - disk [1]"));
    let more = bundle(|members| drop(members.insert("more".into(), b"x".to_vec())));
    assert!(matches!(open(&more), Err(BundleError::Sum(name)) if name == "more"));
    let none = bundle(|members| drop(members.remove("SHA256SUM.sha256sum")));
    assert!(matches!(open(&none), Err(BundleError::Missing(_))));
    let less = bundle(|members| drop(members.remove("p2_deploymentplan.json")));
    assert!(matches!(open(&less), Err(BundleError::Missing(_))));
}

#[test]
fn names_that_could_be_paths_and_names_that_come_twice_are_refused() {
    for name in ["../x", "/etc/passwd", "a\\b", "..", "a\nb", "dir/x_planscript.json"] {
        let bad = bundle(|members| drop(members.insert(name.into(), Vec::new())));
        assert!(matches!(open(&bad), Err(BundleError::Name(_))), "{name:?}");
    }
    let twice = bundle(|members| drop(members.insert("manifest.mf".into(), Vec::new())));
    assert!(matches!(open(&twice), Err(BundleError::Twice(_))));
}

#[test]
fn too_many_members_and_too_large_ones_are_refused() {
    let many: Vec<String> = (0..5000).map(|number| format!("m{number}")).collect();
    let many = packed(many.iter().map(|name| (name.as_str(), &b""[..])));
    assert!(matches!(open(&many), Err(BundleError::Zip(_))));
    let bomb = vec![0; usize::try_from(IMAGE_BYTES_MAX).unwrap() + 1];
    let large = bundle(|members| drop(members.insert("bomb".into(), bomb.clone())));
    assert!(matches!(open(&large), Err(BundleError::TooLarge { .. })));
    let json = vec![b' '; (8 << 20) + 1];
    let json = bundle(|members| drop(members.insert("x_planscript.json".into(), json)));
    assert!(matches!(open(&json), Err(BundleError::TooLarge { .. })));
}

#[test]
fn what_is_no_bundle_or_no_artifact_is_refused() {
    assert!(matches!(open(b"hello"), Err(BundleError::Zip(_))));
    let whole = bundle(|_| ());
    assert!(open(&whole[..whole.len() - 2000]).is_err(), "cut off");
    let not_json = bundle(|members| drop(members.insert("x_planscript.json".into(), b"{".to_vec())));
    assert!(matches!(open(&not_json), Err(BundleError::Json { .. })));
    let no_disk = bundle(|members| drop(members.remove("HPE - disk [1]")));
    assert!(matches!(open(&no_disk), Err(BundleError::Missing(_))));
    let same = members()["s1_planscript.json"].clone();
    let two = bundle(|members| drop(members.insert("s3_planscript.json".into(), same)));
    assert!(matches!(open(&two), Err(BundleError::TwoArtifacts(_))));
}

#[test]
fn a_changed_byte_anywhere_is_refused_or_does_not_matter() {
    let whole = bundle(|_| ());
    let contents = open(&whole).unwrap().contents();
    for at in (0..whole.len()).step_by(7) {
        let mut bad = whole.clone();
        bad[at] ^= 0x41;
        if let Ok(archive) = open(&bad) {
            assert_eq!(archive.contents(), contents, "byte {at}");
        }
    }
}

/// A catalog and a store in a directory.
struct Server {
    directory: tempfile::TempDir,
    catalog: Arc<Catalog>,
    store: Arc<Store>,
    importer: Arc<Importer>,
}

impl Server {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let catalog = Catalog::open(&directory.path().join("catalog")).unwrap();
        let store = Store::open(&directory.path().join("store")).unwrap();
        let rows = catalog.clone();
        let added = move |image: &cow::ImageInfo, about| {
            let id = Uuid::from_bytes(image.id.0);
            let added = rows.write(|tx| golden_images::insert(tx, id, about));
            added.map(drop).map_err(|error| crate::control::refusals::of_catalog(&error))
        };
        let importer = Importer::new(store.clone(), &config::Images::default(), Box::new(added));
        Self { directory, catalog, store, importer }
    }

    fn file(&self, bytes: &[u8]) -> PathBuf {
        let path = self.directory.path().join(Uuid::new_v4().to_string());
        std::fs::write(&path, bytes).unwrap();
        path
    }

    async fn extract(&self, path: &Path, mode: Mode) -> Result<super::extract::Extracted, api::Refusal> {
        let archive = Arc::new(Archive::open(path, IMAGE_BYTES_MAX).unwrap());
        let incoming = Incoming { archive: &archive, id: Uuid::from_u128(9), name: "HPE-Test" };
        extract(&self.catalog, &self.importer, incoming, mode, &|_| ()).await
    }

    fn names(&self) -> Vec<String> {
        self.catalog
            .read(|tx| {
                let mut names: Vec<String> =
                    plan_scripts::list(tx)?.into_iter().map(|row| row.envelope.name).collect();
                names.extend(build_plans::list(tx)?.into_iter().map(|row| row.envelope.name));
                names.extend(deployment_plans::list(tx)?.into_iter().map(|row| row.envelope.name));
                names.extend(golden_images::list(tx)?.into_iter().map(|row| row.envelope.name));
                Ok(names)
            })
            .unwrap()
    }
}

const ALL: [&str; 6] =
    ["HPE - greet", "HPE - mount", "HPE - deploy (UEFI)", "User - empty", "User - test", "HPE - disk [1]"];

#[tokio::test]
async fn extracting_makes_all_artifacts_with_what_they_need() {
    let server = Server::new();
    let made = server.extract(&server.file(&bundle(|_| ())), Mode::Careful).await.unwrap();
    assert_eq!((made.made.len(), made.present), (6, 0), "{made:?}");
    assert_eq!(server.names(), ALL);
    server
        .catalog
        .read(|tx| {
            let plan = deployment_plans::find(tx, "User - test")?;
            let image = golden_images::find(tx, "HPE - disk [1]")?;
            assert_eq!(plan.golden_image, Some(image.envelope.id));
            assert!(image.read_only && plan.imported && !plan.read_only);
            assert_eq!(plan.attributes.len(), 2, "the build plan's, with the plan's value");
            assert_eq!(plan.attributes[1].value.as_deref(), Some("Hi"));
            let build_plan = build_plans::get(tx, plan.build_plan)?;
            let steps: Vec<_> = build_plan.steps.iter().map(|step| step.script_name.as_str()).collect();
            assert_eq!(steps, ["HPE - mount", "HPE - greet"]);
            assert_eq!(deployment_plans::find(tx, "User - empty")?.golden_image, None);
            Ok(())
        })
        .unwrap();
    let [image] = &server.store.images().unwrap()[..] else { panic!("one image") };
    assert_eq!((image.size_bytes, image.source_format.as_str()), (DISK_BYTES as u64, "raw+zip"));
}

#[tokio::test]
async fn what_is_there_already_is_not_made_again() {
    let server = Server::new();
    let file = server.file(&bundle(|_| ()));
    server.extract(&file, Mode::Careful).await.unwrap();
    for mode in [Mode::Careful, Mode::Rename] {
        let again = server.extract(&file, mode).await.unwrap();
        assert_eq!((again.made.len(), again.present), (0, 6), "{mode:?}: {again:?}");
    }
    assert_eq!(server.names(), ALL);
}

#[tokio::test]
async fn conflicts_are_listed_and_change_nothing() {
    let server = Server::new();
    server.extract(&server.file(&bundle(|_| ())), Mode::Careful).await.unwrap();
    let other = bundle(|members| {
        let script = String::from_utf8(members["s2_planscript.json"].clone()).unwrap();
        members.insert("s2_planscript.json".into(), script.replace("echo", "!echo").into_bytes());
        members.remove("SHA256SUM.sha256sum");
        with_sums(members);
    });
    let file = server.file(&other);
    let refusal = server.extract(&file, Mode::Careful).await.unwrap_err();
    for name in ["HPE - greet", "HPE - deploy (UEFI)", "User - test", "User - empty"] {
        assert!(refusal.message.contains(name), "{name}: {refusal}");
    }
    assert!(!refusal.message.contains("HPE - mount") && !refusal.message.contains("disk"), "{refusal}");
    assert_eq!(server.names(), ALL);
    // With other names it goes in, and its plans use its own scripts.
    let made = server.extract(&file, Mode::Rename).await.unwrap();
    assert_eq!((made.made.len(), made.present), (4, 2), "{made:?}");
    server
        .catalog
        .read(|tx| {
            let plan = deployment_plans::find(tx, "User - test (2)")?;
            let build_plan = build_plans::get(tx, plan.build_plan)?;
            assert_eq!(build_plan.envelope.name, "HPE - deploy (UEFI) (2)");
            assert_eq!(build_plan.steps[1].script_name, "HPE - greet (2)");
            assert_eq!(plan.golden_image, Some(golden_images::find(tx, "HPE - disk [1]")?.envelope.id));
            Ok(())
        })
        .unwrap();
}

/// The bundle with an artifact that differs.
fn with_other(member: &str, from: &str, to: &str) -> Vec<u8> {
    bundle(|members| {
        let artifact = String::from_utf8(members[member].clone()).unwrap();
        assert!(artifact.contains(from));
        members.insert(member.into(), artifact.replace(from, to).into_bytes());
        members.remove("SHA256SUM.sha256sum");
        with_sums(members);
    })
}

#[tokio::test]
async fn a_plan_with_another_value_is_another_plan() {
    let server = Server::new();
    server.extract(&server.file(&bundle(|_| ())), Mode::Careful).await.unwrap();
    for (member, from, to, name) in [
        ("p1_deploymentplan.json", "\"Hi\"", "\"Hey\"", "User - test"),
        ("p1_deploymentplan.json", "\"editable\":true", "\"editable\":false", "User - test"),
        ("b1_buildplan.json", "\"Hello\"", "\"Howdy\"", "HPE - deploy (UEFI)"),
        ("b1_buildplan.json", "Fail", "Pass", "HPE - deploy (UEFI)"),
    ] {
        let file = server.file(&with_other(member, from, to));
        let refusal = server.extract(&file, Mode::Careful).await.unwrap_err();
        assert!(refusal.message.contains(name), "{from}: {refusal}");
    }
    let other = server.file(&with_other("p1_deploymentplan.json", "\"Hi\"", "\"Hey\""));
    let made = server.extract(&other, Mode::Rename).await.unwrap();
    assert_eq!((made.made.len(), made.present), (1, 5), "{made:?}");
    let value =
        server.catalog.read(|tx| Ok(deployment_plans::find(tx, "User - test (2)")?.attributes)).unwrap();
    assert_eq!(value[1].value.as_deref(), Some("Hey"));
}

#[tokio::test]
async fn passwords_which_no_bundle_has_make_no_other_plan() {
    let server = Server::new();
    let with_password = with_other("b1_buildplan.json", "\"type\":\"string\"", "\"type\":\"password\"");
    server.extract(&server.file(&with_password), Mode::Careful).await.unwrap();
    let path = made(&server, false);
    let again = server.extract(&path, Mode::Careful).await.unwrap();
    assert_eq!((again.made.len(), again.present), (0, 5), "{again:?}");
}

#[tokio::test]
async fn a_backup_of_whatever_names_there_are_can_be_restored() {
    let server = Server::new();
    server.extract(&server.file(&bundle(|_| ())), Mode::Careful).await.unwrap();
    let script = |name: &str| api::PlanScriptBody {
        name: Title::parse(name).unwrap(),
        description: String::new(),
        plan_type: api::PlanType::General,
        content: name.to_owned(),
        hp_provided: false,
        e_tag: None,
    };
    server
        .catalog
        .write(|tx| {
            plan_scripts::insert(tx, &script("Österreich"))?;
            plan_scripts::insert(tx, &script("österreich"))?;
            tx.execute("UPDATE golden_images SET name = 'Disk: base'", [])?;
            Ok(())
        })
        .unwrap();
    let before = server.names();
    let path = made(&server, true);
    server.extract(&path, Mode::Replace).await.unwrap();
    assert_eq!(server.names(), before);
}

#[tokio::test]
async fn an_extraction_that_fails_leaves_no_image() {
    let server = Server::new();
    let broken = bundle(|members| {
        let plan = String::from_utf8(members["b1_buildplan.json"].clone()).unwrap();
        members.insert(
            "b1_buildplan.json".into(),
            plan.replace("/s2", "/none").replace("HPE - greet", "nobody").into_bytes(),
        );
        members.remove("SHA256SUM.sha256sum");
        with_sums(members);
    });
    let refusal = server.extract(&server.file(&broken), Mode::Rename).await.unwrap_err();
    assert_eq!(&*refusal.message, "build plan \"HPE - deploy (UEFI)\": there is no plan script \"nobody\"");
    assert_eq!(server.names(), Vec::<String>::new());
    assert!(server.store.images().unwrap().is_empty());
}

#[tokio::test]
async fn a_disk_that_is_none_leaves_nothing() {
    let server = Server::new();
    let broken = bundle(|members| {
        members.insert("HPE - disk [1]".into(), packed([("a", &b"1"[..]), ("b", b"2")]));
        members.remove("SHA256SUM.sha256sum");
        with_sums(members);
    });
    let refusal = server.extract(&server.file(&broken), Mode::Careful).await.unwrap_err();
    assert!(refusal.message.contains("holds 2 files"), "{refusal}");
    assert!(refusal.message.starts_with("golden image \"HPE - disk [1]\": "), "{refusal}");
    assert_eq!(server.names(), Vec::<String>::new());
}

/// Writes a bundle of what is chosen.
fn made(server: &Server, backup: bool) -> PathBuf {
    let chosen = server.catalog.read(|tx| match backup {
        true => choose_all(tx),
        false => choose(
            tx,
            &NewArtifactBundle {
                name: Title::parse("b").unwrap(),
                description: String::new(),
                deployment_plans: vec![BundleChoice { resource_uri: "User - test".into(), read_only: false }],
                build_plans: Vec::new(),
                plan_scripts: Vec::new(),
                golden_images: Vec::new(),
            },
        ),
    });
    let path = server.directory.path().join(Uuid::new_v4().to_string());
    let file = std::fs::File::create_new(&path).unwrap();
    let manifest = Manifest { name: "b".into(), backup, ..Manifest::default() };
    write(&server.store, file, &manifest, &chosen.unwrap(), &mut |_, _| ControlFlow::Continue(())).unwrap();
    path
}

#[tokio::test]
async fn a_bundle_of_a_plan_has_all_that_it_needs_and_goes_into_another_server() {
    let server = Server::new();
    server.extract(&server.file(&bundle(|_| ())), Mode::Careful).await.unwrap();
    // A field of ours goes along.
    server
        .catalog
        .write(|tx| {
            let option = r#"{"userData": "x"}"#;
            tx.execute("UPDATE deployment_plans SET cloud_init = ?1 WHERE name = 'User - test'", [option])?;
            Ok(())
        })
        .unwrap();
    let path = made(&server, false);
    let contents = Archive::open(&path, IMAGE_BYTES_MAX).unwrap().contents();
    let counts = (contents.plan_scripts.len(), contents.build_plans.len(), contents.deployment_plans.len());
    assert_eq!((counts, contents.golden_images.len()), ((2, 1, 1), 1));
    let other = Server::new();
    other.extract(&path, Mode::Careful).await.unwrap();
    assert_eq!(other.names().len(), 5);
    let seed = other.catalog.read(|tx| Ok(deployment_plans::find(tx, "User - test")?.cloud_init)).unwrap();
    assert_eq!(seed.and_then(|seed| seed.user_data).as_deref(), Some("x"));
    let sum = |server: &Server| server.store.images().unwrap()[0].digest.clone();
    assert_eq!(sum(&server), sum(&other));
    assert_eq!(other.extract(&path, Mode::Careful).await.unwrap().made, Vec::<String>::new());
}

#[tokio::test]
async fn a_restore_replaces_what_is_there() {
    let server = Server::new();
    server.extract(&server.file(&bundle(|_| ())), Mode::Careful).await.unwrap();
    let path = made(&server, true);
    server
        .catalog
        .write(|tx| {
            deployment_plans::remove(tx, deployment_plans::find(tx, "User - test")?.envelope.id, None)?;
            let new = api::PlanScriptBody {
                name: Title::parse("mine").unwrap(),
                description: String::new(),
                plan_type: api::PlanType::General,
                content: String::new(),
                hp_provided: false,
                e_tag: None,
            };
            plan_scripts::insert(tx, &new)
        })
        .unwrap();
    let restored = server.extract(&path, Mode::Replace).await.unwrap();
    assert_eq!((restored.made.len(), restored.present), (5, 1), "the image stays: {restored:?}");
    assert_eq!(server.names(), ALL);
}
