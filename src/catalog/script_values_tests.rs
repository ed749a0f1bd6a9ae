use api::CustomAttribute;
use serde_json::json;

use super::*;
use crate::catalog::Envelope;

const CARDS: [&str; 2] = ["52:54:00:00:00:01", "52:54:00:00:00:02"];

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

fn plan(attributes: Vec<CustomAttribute>) -> DeploymentPlan {
    DeploymentPlan {
        envelope: Envelope {
            id: Uuid::nil(),
            name: "p".into(),
            description: String::new(),
            created_ms: 1,
            modified_ms: 1,
            revision: 1,
        },
        build_plan: Uuid::nil(),
        golden_image: Some(Uuid::nil()),
        keep_generations: 0,
        attributes,
        read_only: false,
        imported: false,
        cloud_init: None,
    }
}

/// The values of a plan with these attributes, values of a profile, and defaults of a script.
fn filled(
    attributes: Vec<CustomAttribute>,
    given: &[(&str, &str)],
    script: &str,
    extra: &Value,
) -> Result<Values> {
    let plan = plan(attributes);
    let effective = plan.effective(given.iter().map(|(name, value)| (*name, Some(*value))))?;
    let step = Step { name: "s".into(), content: script.into(), has_attributes: true };
    let cards: Vec<String> = CARDS.iter().map(|mac| (*mac).to_owned()).collect();
    fill(&plan, &effective, &defaults(&[step]), &Network::of(extra.as_object().unwrap(), &cards))
}

fn value(values: &Values, name: &str) -> Option<String> {
    values.get(name).map(|value| value.text.clone())
}

#[test]
fn each_type_is_filled_in_with_its_value_and_without_one_as_its_type_asks_for() {
    use AttributeType::*;
    for (kind, good, when_empty) in [
        (String, "a b", Some("")),
        (Password, "s3cret", Some("")),
        (Number, "1.5", None),
        (Option, "x", None),
        (Fqdn, "a.example", None),
        (Hostname, "web", None),
        (Ipv4, "10.0.0.1", None),
        (Nic, "", Some("none")),
    ] {
        // Hidden: profiles are not asked for it, so that an empty one is no fault of theirs.
        let hidden = |value| CustomAttribute { visible: Some(false), ..attribute("A", kind, value) };
        if kind != Nic {
            let values = filled(vec![hidden(Some(good))], &[], "", &json!({})).unwrap();
            assert_eq!(value(&values, "a").as_deref(), Some(good), "{kind}");
            assert_eq!(values.get("A").unwrap().secret, kind == Password, "{kind}");
        }
        for empty in [None, Some("")] {
            let values = filled(vec![hidden(empty)], &[], "", &json!({})).unwrap();
            assert_eq!(value(&values, "A").as_deref(), when_empty, "{kind} {empty:?}");
        }
    }
}

#[test]
fn the_profile_goes_before_the_plan_and_an_empty_text_is_a_value() {
    let plan = || vec![attribute("A", AttributeType::String, Some("plan"))];
    for (given, expected) in [(&[][..], "plan"), (&[("a", "profile")][..], "profile"), (&[("A", "")][..], "")]
    {
        let values = filled(plan(), given, "echo @A:script@", &json!({})).unwrap();
        assert_eq!(value(&values, "A").as_deref(), Some(expected));
    }
}

#[test]
fn an_interface_that_is_not_used_is_none_with_all_its_members() {
    let interface = || vec![attribute("NIC1", AttributeType::Nic, None)];
    let idle =
        [("NIC1.dhcp", "False"), ("NIC1.vlanid", "0"), ("NIC1.constraint", "auto"), ("NIC1.networkuri", "")];
    for given in [&[][..], &idle[..]] {
        let values = filled(interface(), given, "echo @NIC1.gateway:10.0.0.1@", &json!({})).unwrap();
        for name in ["NIC1", "NIC1.ipaddress", "nic1.MAC", "NIC1.gateway", "NIC1.broadcast"] {
            assert_eq!(value(&values, name).as_deref(), Some("none"), "{name}");
        }
    }
}

#[test]
fn an_interface_that_must_be_there_has_no_value_where_nobody_gives_it_one() {
    let constraints = r#"{"ipv4static":true,"ipv4disable":false}"#.to_owned();
    let must = CustomAttribute { constraints, ..attribute("NIC1", AttributeType::Nic, None) };
    let values = filled(vec![must], &[], "", &json!({})).unwrap();
    assert_eq!((value(&values, "NIC1"), value(&values, "NIC1.mac")), (None, None));
}

#[test]
fn a_static_interface_has_all_that_is_known_and_none_for_the_rest() {
    let given =
        [("NIC1.ipaddress", "10.1.2.3"), ("nic1.NETMASK", "255.255.255.0"), ("NIC1.dns1", "10.1.2.9")];
    let script = "echo @NIC1.domain:example.com@";
    let interfaces =
        vec![attribute("NIC0", AttributeType::Nic, None), attribute("NIC1", AttributeType::Nic, None)];
    let values = filled(interfaces, &given, script, &json!({})).unwrap();
    for (member, expected) in [
        ("ipaddress", "10.1.2.3"),
        ("ipaddress1", "10.1.2.3"),
        ("netmask", "255.255.255.0"),
        ("network", "10.1.2.0"),
        ("broadcast", "10.1.2.255"),
        ("gateway", "none"),
        ("dns1", "10.1.2.9"),
        ("dns2", "none"),
        ("domain", "example.com"),
        ("dhcp", "False"),
        ("ipv4disable", "False"),
        ("vlanid", "0"),
        ("constraint", "userspecified"),
        // The second interface of the plan, so the second card of the server.
        ("mac", CARDS[1]),
        ("mac1", CARDS[1]),
        ("mac2", "none"),
        ("connectionid", "none"),
    ] {
        assert_eq!(value(&values, &format!("NIC1.{member}")).as_deref(), Some(expected), "{member}");
    }
    assert_eq!(value(&values, "NIC1").as_deref(), Some(CARDS[1]));
    assert_eq!(value(&values, "NIC0").as_deref(), Some("none"));
}

#[test]
fn an_interface_with_dhcp_has_no_address_of_its_connection() {
    let extra =
        json!({"connections": [{"id": 3, "mac": "52:54:00:00:00:33", "ipv4": {"ipAddress": "10.0.0.3"}}]});
    for given in [("NIC1.dhcp", "true"), ("NIC1.constraint", "dhcp")] {
        let given = [("NIC1.connectionid", "3"), given];
        let values = filled(vec![attribute("NIC1", AttributeType::Nic, None)], &given, "", &extra).unwrap();
        for (member, expected) in [
            ("dhcp", "True"),
            ("constraint", "dhcp"),
            ("ipaddress", "none"),
            ("mac", "52:54:00:00:00:33"),
            ("connectionid", "3"),
        ] {
            assert_eq!(value(&values, &format!("NIC1.{member}")).as_deref(), Some(expected), "{member}");
        }
    }
}

#[test]
fn an_address_of_a_pool_is_that_of_the_connection_or_there_is_none() {
    let given = [("NIC1.connectionid", "3"), ("NIC1.constraint", "auto")];
    let interface = || vec![attribute("NIC1", AttributeType::Nic, None)];
    let extra =
        json!({"connections": [{"id": 3, "ipv4": {"ipAddress": "10.0.0.3", "subnetMask": "255.0.0.0"}}]});
    let values = filled(interface(), &given, "", &extra).unwrap();
    assert_eq!(value(&values, "NIC1.ipaddress").as_deref(), Some("10.0.0.3"));
    assert_eq!(value(&values, "NIC1.broadcast").as_deref(), Some("10.255.255.255"));
    let values = filled(interface(), &given, "", &json!({})).unwrap();
    assert_eq!((value(&values, "NIC1.ipaddress"), value(&values, "NIC1.netmask")), (None, None));
    assert_eq!(value(&values, "NIC1.gateway").as_deref(), Some("none"));
}

#[test]
fn the_systems_own_names_are_known_by_connections_and_cards_or_not_at_all() {
    let extra = json!({"connectionSettings": {"connections": [
        {"id": 1, "boot": {"priority": "Primary"}, "ipv4": {"ipAddress": "10.0.0.1", "subnetMask": "255.0.0.0"}}]}});
    let values = filled(Vec::new(), &[], "", &extra).unwrap();
    assert_eq!(value(&values, "_Initiator1.mac").as_deref(), Some(CARDS[0]));
    assert_eq!(value(&values, "_Initiator1.ip").as_deref(), Some("10.0.0.1"));
    assert_eq!(value(&values, "_Initiator1.netmask").as_deref(), Some("255.0.0.0"));
    assert_eq!(value(&values, "_Initiator2.mac"), None);
    let values = filled(Vec::new(), &[], "", &json!({})).unwrap();
    assert_eq!(value(&values, "_Initiator2.mac").as_deref(), Some(CARDS[1]));
    assert_eq!(value(&values, "_Initiator1.ip"), None);
}

#[test]
fn a_plans_value_that_no_line_holds_is_refused_by_name_and_not_repeated() {
    for kind in [AttributeType::String, AttributeType::Password] {
        let broken = vec![attribute("A", kind, Some("x\nEND\n!reboot"))];
        let error = filled(broken, &[], "", &json!({})).unwrap_err().to_string();
        assert!(error.contains("\"A\"") && !error.contains("reboot"), "{error}");
    }
}

#[test]
fn the_size_of_a_volume_is_a_value_like_others() {
    let size = vec![attribute("VolumeSize", AttributeType::Number, Some("100"))];
    assert_eq!(value(&filled(size, &[], "", &json!({})).unwrap(), "volumesize").as_deref(), Some("100"));
}
