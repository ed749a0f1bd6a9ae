//! Seeds as cloud-init and Ignition would find them.

use std::io::Read;

use api::{Attach, AttributeType, CloudInit, CustomAttribute, Datasource};
use script::Values;

use super::{Facts, Fault, Language, Seed, Source, esp};

const VOLUME: &str = "00112233445566778899aabbccddeeff";

fn attribute(name: &str, kind: AttributeType) -> CustomAttribute {
    CustomAttribute {
        name: name.to_owned(),
        kind,
        value: None,
        description: String::new(),
        constraints: String::new(),
        id: None,
        visible: None,
        editable: None,
    }
}

fn source(option: CloudInit, given: &[(&str, &str)]) -> Source {
    let attributes = [
        attribute("HostName", AttributeType::Hostname),
        attribute("SshKey", AttributeType::String),
        attribute("RootPassword", AttributeType::Password),
        attribute("NIC1", AttributeType::Nic),
        attribute("NIC2", AttributeType::Nic),
    ];
    let mut values = Values::new();
    for (name, text) in given {
        values.set(name, *text, *name == "RootPassword");
    }
    Source { option, facts: Facts::gather(&attributes, values, "Web server 1").unwrap() }
}

fn text<'a>(seed: &'a Seed, name: &str) -> &'a str {
    &seed.files.iter().find(|file| file.name == name).unwrap().text
}

const GIVEN: [(&str, &str); 9] = [
    ("HostName", "web01"),
    ("SshKey", "ssh-ed25519 AAAA a@\"b\""),
    ("RootPassword", "$6$salt$hash"),
    ("NIC1.ipaddress", "10.0.0.5"),
    ("NIC1.netmask", "255.255.240.0"),
    ("NIC1.gateway", "10.0.0.1"),
    ("NIC1.dns1", "10.0.0.2"),
    ("NIC1.domain", "example.com"),
    ("NIC1.mac", "52-54-00-AA-BB-CC"),
];

#[test]
fn without_templates_attributes_make_the_files() {
    let seed = source(CloudInit::default(), &GIVEN).seed(VOLUME).unwrap();
    assert_eq!(text(&seed, "meta-data"), format!("instance-id: \"{VOLUME}\"\nlocal-hostname: \"web01\"\n"));
    let user = text(&seed, "user-data");
    assert!(user.starts_with("#cloud-config\nhostname: \"web01\"\nfqdn: \"web01.example.com\"\n"), "{user}");
    assert!(user.contains("  - \"ssh-ed25519 AAAA a@\\\"b\\\"\"\n"), "{user}");
    assert!(user.contains("password: \"$6$salt$hash\"\n"), "{user}");
    let network = text(&seed, "network-config");
    assert_eq!(
        network,
        "version: 2\nethernets:\n  nic1:\n    match:\n      macaddress: \"52:54:00:aa:bb:cc\"\n    dhcp4: false\n    \
         addresses:\n      - \"10.0.0.5/20\"\n    gateway4: \"10.0.0.1\"\n    nameservers:\n      addresses: [\"10.0.0.2\"]\n      \
         search: [\"example.com\"]\n"
    );
}

#[test]
fn a_machine_of_which_nothing_is_said_has_its_profiles_name_and_asks_for_an_address() {
    let seed = source(CloudInit::default(), &[("NIC1.dhcp", "none"), ("HostName", "")]).seed(VOLUME).unwrap();
    assert!(text(&seed, "meta-data").contains("local-hostname: \"web-server-1\""));
    assert!(seed.files.iter().all(|file| file.name != "network-config"));
}

#[test]
fn an_interface_may_ask_for_its_address_and_have_a_vlan() {
    let given = [
        ("NIC2.dhcp", "true"),
        ("NIC1.ipaddress", "10.0.0.5"),
        ("NIC1.netmask", "255.0.0.0"),
        ("NIC1.vlanid", "7"),
    ];
    let seed = source(CloudInit::default(), &given).seed(VOLUME).unwrap();
    assert_eq!(
        text(&seed, "network-config"),
        "version: 2\nethernets:\n  eth0:\n    dhcp4: false\n  eth1:\n    dhcp4: true\nvlans:\n  eth0.7:\n    id: 7\n    link: eth0\n    \
         dhcp4: false\n    addresses:\n      - \"10.0.0.5/8\"\n"
    );
}

#[test]
fn a_domain_is_searched_where_there_is_a_server_to_ask() {
    let given =
        [("NIC1.ipaddress", "10.0.0.5"), ("NIC1.netmask", "255.0.0.0"), ("NIC1.domain", "example.com")];
    let seed = source(CloudInit::default(), &given).seed(VOLUME).unwrap();
    let network = text(&seed, "network-config");
    assert!(network.ends_with("    addresses:\n      - \"10.0.0.5/8\"\n"), "{network}");
    assert!(text(&seed, "user-data").contains("fqdn: \"web-server-1.example.com\""));
}

fn user_data(template: &str, given: &[(&str, &str)]) -> Result<String, Fault> {
    let option = CloudInit { user_data: Some(format!("#cloud-config\n{template}")), ..CloudInit::default() };
    let seed = source(option, given).seed(VOLUME)?;
    Ok(text(&seed, "user-data").strip_prefix("#cloud-config\n").unwrap().to_owned())
}

#[test]
fn a_value_is_escaped_between_quotes() {
    let filled = |template: &str, value: &str| user_data(template, &[("A", value)]).unwrap();
    assert_eq!(filled("a: \"x @A@ y\"", r#"q"\z"#), r#"a: "x q\"\\z y""#);
    assert_eq!(filled("a: 'x @A@'", "it's"), "a: 'x it''s'");
    assert_eq!(filled("a: 'don''t @A@'", "it's"), "a: 'don''t it''s'");
    assert_eq!(filled("a: [\"@A@\", b]", "x, y"), "a: [\"x, y\", b]");
    assert_eq!(filled("it's: \"@A@\"", "a\"b"), "it's: \"a\\\"b\"");
}

#[test]
fn quotes_are_seen_behind_a_key_of_json_and_behind_a_tag() {
    let filled = |template: &str, value: &str| user_data(template, &[("A", value)]).unwrap();
    assert_eq!(filled(r#"{"a":"@A@","b":["@A@"]}"#, r#"x"\z"#), r#"{"a":"x\"\\z","b":["x\"\\z"]}"#);
    assert_eq!(filled("a: {'b':'@A@'}", "it's"), "a: {'b':'it''s'}");
    assert_eq!(filled("a: !!str \"@A@\"", "x\"y"), "a: !!str \"x\\\"y\"");
    assert_eq!(filled("- &n '@A@'", "it's"), "- &n 'it''s'");
    assert_eq!(filled("a: !!binary |\n  @A@", "x: y"), "a: !!binary |\n  x: y");
}

/// YAML 1.1, which cloud-init reads, ends lines at these two as well.
#[test]
fn a_line_end_of_unicode_is_refused_wherever_yaml_reads_it() {
    let templates = ["a: @A@", "a: |\n  @A@", "b: 1\n# @A@", "a: '@A@'", "a: \"@A@\"", "- x @A@ y"];
    for template in templates {
        for line_end in ['\u{2028}', '\u{2029}', '\u{85}'] {
            let value = format!("x{line_end}runcmd: [y]");
            let fault = user_data(template, &[("A", &value)]).unwrap_err();
            assert_eq!(fault.attribute.as_deref(), Some("A"), "{template} {line_end:?}");
        }
    }
}

#[test]
fn cloud_config_is_known_as_cloud_init_knows_it() {
    let yaml = [
        "#cloud-config",
        "#cloud-config \r\n",
        "\n  #cloud-config\n",
        "#Cloud-Config\n",
        "#cloud-config # ours\n",
        "#cloud-config-archive\n",
        "## template: jinja\n#cloud-config\n",
        "\n## Template: jinja\n\n#cloud-config\n",
    ];
    for text in yaml {
        assert_eq!(Language::of_user_data(text), Language::Yaml, "{text:?}");
        let option = CloudInit { user_data: Some(format!("{text}\na: \"@A@\"\n")), ..CloudInit::default() };
        let seed = source(option, &[("A", "x\"\\")]).seed(VOLUME).unwrap();
        assert!(super::tests::text(&seed, "user-data").ends_with("a: \"x\\\"\\\\\"\n"), "{text:?}");
    }
    for text in [
        "",
        "#!/bin/sh\n#cloud-config\n",
        "#cloud-boothook\n",
        "## template: jinja\n#!/bin/sh\n",
        "#include\n",
    ] {
        assert_eq!(Language::of_user_data(text), Language::Text, "{text:?}");
    }
    let option = CloudInit {
        user_data: Some("\n## Template: jinja\n#!/bin/sh\n@A@\n".into()),
        ..CloudInit::default()
    };
    assert!(source(option, &[("A", "{{ x }}")]).seed(VOLUME).is_err(), "a value is no part of the template");
}

#[test]
fn a_plain_value_that_yaml_would_take_for_something_else_is_refused_by_name() {
    for (template, value) in [
        ("a: @A@", "x: y"),
        ("a: @A@", "x #y"),
        ("a: @A@", "[x"),
        ("a: @A@", "*x"),
        ("- @A@", "- x"),
        ("- @A@", "&x"),
        ("a: [@A@]", "x, y"),
        ("a: [1,\n  @A@]", "x]"),
        ("a: b@A@", "#c: d"),
        ("a: @A@", " x"),
        ("a: @A@", "x\ny"),
        ("a: \"@A@\"", "x\u{7}"),
        ("a: |\n  @A@\nb: @A@", "x: y"),
    ] {
        let fault = user_data(template, &[("A", value)]).unwrap_err();
        assert_eq!(fault.attribute.as_deref(), Some("A"), "{template} {value}");
        assert!(!fault.to_string().contains(value), "{fault}");
    }
    for (template, value) in [
        ("a: @A@", "ssh-ed25519 AAAA me@host"),
        ("a: @A@", "$6$a$b/c."),
        ("a: x@A@", "*"),
        ("a: @A@", "-5"),
        ("a: @A@", "http://x:80/"),
    ] {
        assert_eq!(user_data(template, &[("A", value)]).unwrap(), template.replace("@A@", value));
    }
}

#[test]
fn a_block_scalar_takes_any_value_and_ends_where_yaml_says() {
    let value = "x: \"y' #z";
    let template =
        "write_files:\n- path: /a\n  content: |\n    one\n\n    k: @A@\n  owner: \"@A@\"\nlast: '@A@'";
    let filled = user_data(template, &[("A", value)]).unwrap();
    let wanted = "write_files:\n- path: /a\n  content: |\n    one\n\n    k: x: \"y' #z\n  owner: \"x: \\\"y' #z\"\nlast: 'x: \"y'' #z'";
    assert_eq!(filled, wanted);
    assert_eq!(
        user_data("- |\n @A@\n- >-\n @A@", &[("A", value)]).unwrap(),
        format!("- |\n {value}\n- >-\n {value}")
    );
}

#[test]
fn a_comment_needs_no_value_and_anything_else_does() {
    assert_eq!(user_data("# about @B@\na: 1 # @B@", &[]).unwrap(), "# about @B@\na: 1 # @B@");
    let fault = user_data("a: @B@", &[]).unwrap_err();
    assert_eq!((fault.attribute.as_deref(), fault.place.as_str()), (Some("B"), "userData, line 2"));
    assert_eq!(user_data("a: @B:x y@ @_Volume.id@", &[]).unwrap(), format!("a: x y {VOLUME}"));
}

#[test]
fn a_script_takes_values_as_they_are() {
    let option = CloudInit { user_data: Some("#!/bin/sh\necho '@A@'\n".into()), ..CloudInit::default() };
    let seed = source(option, &[("A", "x: 'y")]).seed(VOLUME).unwrap();
    assert_eq!(text(&seed, "user-data"), "#!/bin/sh\necho 'x: 'y'\n");
}

#[test]
fn ignition_gets_files_and_keys_and_templates_stay_json() {
    let option = CloudInit { datasource: Datasource::Ignition, ..CloudInit::default() };
    let seed = source(option.clone(), &GIVEN).seed(VOLUME).unwrap();
    let config: serde_json::Value = serde_json::from_str(text(&seed, "config.ign")).unwrap();
    assert_eq!(config["ignition"]["version"], "3.0.0");
    assert_eq!(config["passwd"]["users"][0]["sshAuthorizedKeys"][0], GIVEN[1].1);
    assert_eq!(config["storage"]["files"][0]["contents"]["source"], "data:,web01.example.com%0A");
    assert_eq!(config["storage"]["files"][1]["mode"], 0o600);
    let template = r#"{"ignition":{"version":"3.4.0"},"x":"@A@","n":@N@}"#;
    let with = CloudInit { user_data: Some(template.into()), ..option };
    let seed = source(with.clone(), &[("A", "a\"b\\"), ("N", "3")]).seed(VOLUME).unwrap();
    let config: serde_json::Value = serde_json::from_str(text(&seed, "config.ign")).unwrap();
    assert_eq!((&config["x"], &config["n"]), (&"a\"b\\".into(), &3.into()));
    let fault = source(with, &[("A", ""), ("N", "3,\"y\":4")]).seed(VOLUME).unwrap_err();
    assert_eq!(fault.attribute.as_deref(), Some("N"));
}

#[test]
fn a_disk_has_the_files_and_is_always_the_same() {
    let seed = source(CloudInit::default(), &GIVEN).seed(VOLUME).unwrap();
    let disk = seed.disk([7; 16]).unwrap();
    assert_eq!(disk.len(), 1 << 20);
    assert_eq!(disk, seed.disk([7; 16]).unwrap());
    assert_ne!(disk, seed.disk([8; 16]).unwrap(), "another volume's has another serial number");
    let system = fatfs::FileSystem::new(std::io::Cursor::new(disk), fatfs::FsOptions::new()).unwrap();
    assert_eq!(system.volume_label_as_bytes(), b"CIDATA");
    for file in &seed.files {
        let mut found = String::new();
        system.root_dir().open_file(&file.name).unwrap().read_to_string(&mut found).unwrap();
        assert_eq!(found, file.text);
    }
}

#[test]
fn a_step_writes_the_files_to_the_partition() {
    let option =
        CloudInit { attach: Attach::Esp, user_data: Some("END_OF_SEED\nx".into()), ..CloudInit::default() };
    let seed = source(option, &[]).seed(VOLUME).unwrap();
    let step = esp::step(&seed, 2);
    let lines: Vec<_> = step.content.lines().collect();
    assert_eq!(
        lines[..3],
        [
            "mount /dev/sda2 /",
            "mkdir-p /EFI/osvol/nocloud",
            "upload -<<END_OF_SEED /EFI/osvol/nocloud/meta-data"
        ]
    );
    assert!(
        step.content
            .contains("upload -<<END_OF_SEED_ /EFI/osvol/nocloud/user-data\nEND_OF_SEED\nx\nEND_OF_SEED_\n")
    );
    script::expand(&[step], &Values::new()).unwrap();
}

#[test]
fn the_partition_is_found_in_both_kinds_of_tables() {
    let mut disk = vec![0; 64 << 10];
    let find = |disk: &[u8]| {
        esp::partition(|offset, out: &mut [u8]| {
            let at = usize::try_from(offset).unwrap();
            out.copy_from_slice(disk.get(at..at + out.len()).ok_or(())?);
            Ok::<_, ()>(())
        })
    };
    assert_eq!(find(&disk), Ok(None));
    disk[510..512].copy_from_slice(&[0x55, 0xAA]);
    disk[446 + 16 + 4] = 0xEF;
    assert_eq!(find(&disk), Ok(Some(2)));
    disk[446 + 16 + 4] = 0;
    disk[446 + 4] = 0xEE;
    disk[512..520].copy_from_slice(b"EFI PART");
    disk[512 + 72] = 2;
    disk[512 + 80] = 128;
    disk[512 + 84] = 128;
    assert_eq!(find(&disk), Ok(None));
    disk[1024 + 2 * 128..1024 + 2 * 128 + 16].copy_from_slice(&[
        0x28, 0x73, 0x2A, 0xC1, 0x1F, 0xF8, 0xD2, 0x11, 0xBA, 0x4B, 0x00, 0xA0, 0xC9, 0x3E, 0xC9, 0x3B,
    ]);
    assert_eq!(find(&disk), Ok(Some(3)));
    // A table that claims to be far away is the disk's fault, told by whoever reads it.
    disk[512 + 72..512 + 80].fill(0xFF);
    assert_eq!(find(&disk), Ok(None));
}
