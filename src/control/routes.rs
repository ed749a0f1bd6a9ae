//! The table of endpoints, and the router that is made of it.

use std::sync::Arc;

use api::{Code, Refusal};
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{Method, Uri};
use axum::middleware;

use super::answer::Refused;
use super::endpoint::Endpoint;
use super::state::Control;
use super::{
    attachments, auth, boot, build_plans, bundles, content, conventions, deployment_groups, deployment_plans,
    deployment_servers, doctor, enclosure_groups, events, hardware, hardware_types, image_adding, images,
    iscsi_sessions, logical_enclosures, login, openapi, plan_scripts, profiles, read_only_targets, revisions,
    scrub, snapshots, status, tasks, trials, users, volume_log, volumes,
};

/// Largest body that is read into memory. Uploads are streamed and have a limit of their own.
const BODY_BYTES_MAX: usize = 1 << 20;

/// Every endpoint there is, room by room.
pub(super) fn endpoints() -> Vec<Endpoint> {
    let rooms = [
        status::endpoints(),
        scrub::endpoints(),
        doctor::endpoints(),
        images::endpoints(),
        image_adding::endpoints(),
        plan_scripts::endpoints(),
        build_plans::endpoints(),
        deployment_plans::endpoints(),
        revisions::endpoints(),
        trials::endpoints(),
        deployment_groups::endpoints(),
        deployment_servers::endpoints(),
        bundles::endpoints(),
        volumes::endpoints(),
        volume_log::endpoints(),
        snapshots::endpoints(),
        attachments::endpoints(),
        read_only_targets::endpoints(),
        iscsi_sessions::endpoints(),
        content::endpoints(),
        login::endpoints(),
        users::endpoints(),
        tasks::endpoints(),
        events::endpoints(),
        boot::endpoints(),
        openapi::endpoints(),
        hardware_types::endpoints(),
        hardware::endpoints(),
        enclosure_groups::endpoints(),
        logical_enclosures::endpoints(),
        profiles::endpoints(),
    ];
    rooms.into_iter().flatten().collect()
}

/// All of the API. Whoever serves it must give each request its actor: `ControlSocket` and the TLS listener do.
pub fn router(control: Arc<Control>) -> Router {
    let table = endpoints();
    let paths = table.iter().flat_map(|endpoint| {
        let also = endpoint.also.map(|path| (path, endpoint.route()));
        std::iter::once((endpoint.path, endpoint.route())).chain(also)
    });
    paths
        .fold(Router::new(), |router, (path, route)| router.route(path, route))
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_method)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn_with_state(control.clone(), auth::identify))
        .layer(middleware::from_fn(conventions::keep))
        .with_state(control)
}

async fn no_such_path(uri: Uri) -> Refused {
    Refused(Refusal::new(Code::NotFound, format!("there is no {}", uri.path())))
}

async fn no_such_method(method: Method, uri: Uri) -> Refused {
    Refused(Refusal::new(Code::MethodNotAllowed, format!("{} cannot be asked for {method}", uri.path())))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_endpoint_is_in_the_table_twice_and_each_has_a_sentence() {
        let mut seen = HashSet::new();
        for endpoint in endpoints() {
            for path in std::iter::once(endpoint.path).chain(endpoint.also) {
                assert!(seen.insert((endpoint.method.clone(), path)), "{} {path}", endpoint.method);
            }
            let sentence = endpoint.sentence;
            assert!(sentence.starts_with(char::is_uppercase) && !sentence.ends_with('.'), "{sentence:?}");
        }
    }

    #[test]
    fn what_changes_something_is_never_open_to_those_who_only_look() {
        use super::super::endpoint::Access;
        for endpoint in endpoints() {
            let looks = matches!(endpoint.access, Access::Open | Access::View);
            let changes = endpoint.method != Method::GET;
            let exempt = endpoint.path.starts_with(api::LOGIN_SESSIONS)
                || endpoint.path == "/rest/users/{id}/password"
                || endpoint.path.starts_with("/rest/plan-scripts/differences");
            assert!(!(looks && changes) || exempt, "{} {}", endpoint.method, endpoint.path);
        }
    }
}
