//! CHAP through a socket: with our own small initiator, and with libiscsi's where it is installed.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr};

use iscsi::LoginStatus;
use iscsi::auth::{AuthenticationPolicy, ChapAlgorithm, ChapCredential, ChapPolicy};
use iscsi::text::{binary_to_hex, decode_binary};
use tokio::process::Command;

use super::client::Client;
use super::{Rig, TARGET, name};
use crate::exports::{Access, Redirect};

const USER: &str = "alice";
const SECRET: &str = "alice-secret-12";

fn rig(mutual: bool) -> Rig {
    let credential = |name: &str, secret: &str| ChapCredential {
        name: name.to_owned(),
        secret: secret.as_bytes().to_vec(),
    };
    let policy = ChapPolicy {
        users: vec![credential(USER, SECRET)],
        mutual: mutual.then(|| credential("osvol", "osvol-secret-34")),
        algorithms: Vec::new(),
    };
    let access = Access { authentication: AuthenticationPolicy::Chap(policy), ..Access::default() };
    Rig::with_access(IpAddr::V4(Ipv4Addr::LOCALHOST), access)
}

/// The first half of a CHAP login: identifier and challenge.
async fn challenge(client: &mut Client) -> (u8, Vec<u8>) {
    let keys = [("TargetName", TARGET), ("AuthMethod", "CHAP,None"), ("CHAP_A", "5")];
    let (status, answer) = client.security(&keys, false).await;
    assert_eq!(status, LoginStatus::Success.class_and_detail());
    let answer = iscsi::text::Pairs::parse(answer.as_bytes()).unwrap();
    let identifier = answer.value("CHAP_I").unwrap().parse().unwrap();
    (identifier, decode_binary(answer.value("CHAP_C").unwrap()).unwrap())
}

async fn prove(client: &mut Client, secret: &str) -> [u8; 2] {
    let (identifier, challenge) = challenge(client).await;
    let answer = binary_to_hex(&ChapAlgorithm::Md5.answer(identifier, secret.as_bytes(), &challenge));
    client.security(&[("CHAP_N", USER), ("CHAP_R", &answer)], true).await.0
}

#[tokio::test(flavor = "multi_thread")]
async fn the_right_secret_lets_in_and_a_wrong_one_does_not() {
    let rig = rig(false);
    let mut client = Client::connect(rig.address).await;
    assert_eq!(prove(&mut client, SECRET).await, LoginStatus::Success.class_and_detail());
    client.clear_attention().await;
    assert_eq!(client.read(0, 512).await, [0; 512]);
    let mut client = Client::connect(rig.address).await;
    assert_eq!(prove(&mut client, "wrong").await, LoginStatus::AuthenticationFailure.class_and_detail());
    let mut client = Client::connect(rig.address).await;
    assert_eq!(client.log_in(TARGET, 1).await, LoginStatus::AuthenticationFailure.class_and_detail());
}

/// COMPAT L7.
#[tokio::test(flavor = "multi_thread")]
async fn no_challenge_comes_twice() {
    let rig = rig(false);
    let mut seen = HashSet::new();
    for _ in 0..500 {
        let mut client = Client::connect(rig.address).await;
        assert!(seen.insert(challenge(&mut client).await.1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn libiscsi_one_way_and_mutual() {
    if Command::new("iscsi-inq").arg("--help").output().await.is_err() {
        eprintln!("SKIPPED: iscsi-inq (libiscsi-bin) is not installed");
        return;
    }
    for mutual in [false, true] {
        let rig = rig(mutual);
        let query = if mutual { "?target_user=osvol&target_password=osvol-secret-34" } else { "" };
        for (secret, succeeds) in [(SECRET, true), ("wrong-secret-99", false)] {
            let url = format!("iscsi://{USER}%{secret}@{}/{TARGET}/0{query}", rig.address);
            let output = Command::new("iscsi-inq").arg(&url).output().await.unwrap();
            let text = String::from_utf8_lossy(&output.stdout).into_owned()
                + &String::from_utf8_lossy(&output.stderr);
            assert_eq!(text.contains("DIRECT_ACCESS"), succeeds, "{url}: {text}");
        }
    }
}

/// Between the challenge and its answer somebody says that another may log in, or that another secret is asked for.
#[tokio::test(flavor = "multi_thread")]
async fn a_login_is_admitted_on_the_terms_that_it_was_let_in_on_or_not_at_all() {
    let rig = rig(false);
    let mut client = Client::connect(rig.address).await;
    let (identifier, challenge) = challenge(&mut client).await;
    rig.directory.set_terms(&name(TARGET), |terms| terms.access.addresses.clear()).unwrap();
    let answer = binary_to_hex(&ChapAlgorithm::Md5.answer(identifier, SECRET.as_bytes(), &challenge));
    let (status, _) = client.security(&[("CHAP_N", USER), ("CHAP_R", &answer)], true).await;
    assert_eq!(status, LoginStatus::ServiceUnavailable.class_and_detail());
    let mut client = Client::connect(rig.address).await;
    assert_eq!(prove(&mut client, SECRET).await, LoginStatus::Success.class_and_detail());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_is_sent_on_before_it_proves_anything_and_only_if_it_may_log_in() {
    let rig = rig(false);
    let redirect = |to, permanent| {
        rig.directory.set_terms(&name(TARGET), |terms| terms.redirect = Some(Redirect { to, permanent }));
    };
    let status = async || Client::connect(rig.address).await.log_in(TARGET, 1).await;
    redirect("192.0.2.1:3260".parse().unwrap(), false);
    assert_eq!(status().await, LoginStatus::TargetMovedTemporarily.class_and_detail());
    redirect("192.0.2.1:3260".parse().unwrap(), true);
    assert_eq!(status().await, LoginStatus::TargetMovedPermanently.class_and_detail());
    redirect(rig.address, true);
    assert_eq!(status().await, LoginStatus::AuthenticationFailure.class_and_detail());
    redirect("192.0.2.1:3260".parse().unwrap(), false);
    let addresses = vec!["192.0.2.0/24".parse().unwrap()];
    rig.directory.set_terms(&name(TARGET), |terms| terms.access.addresses = addresses.clone());
    assert_eq!(status().await, LoginStatus::AuthorizationFailure.class_and_detail());
}
