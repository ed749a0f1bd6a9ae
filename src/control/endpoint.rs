//! What an entry of the table of endpoints is. `routes` puts the table together.
//!
//! An endpoint is made by [`get`], [`post`], [`put`], [`patch`] or [`delete`], which all ask for the access that it
//! takes: a route that nobody thought about cannot exist. The router, the authorization and the OpenAPI document are
//! made of the same entry, so they agree.

use std::sync::Arc;

use axum::extract::DefaultBodyLimit;
use axum::handler::Handler;
use axum::http::Method;
use axum::middleware;
use axum::routing::{MethodFilter, MethodRouter, on};
use schemars::{JsonSchema, Schema, SchemaGenerator};

use super::auth;
use super::state::Control;

/// What a caller must be allowed to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Access {
    /// Nothing: whoever reaches the socket may ask.
    Open,
    /// See what there is.
    View,
    /// Change artifacts: golden images, plan scripts, build plans, deployment plans, bundles.
    EditArtifacts,
    /// Change profiles, servers and volumes.
    EditProfiles,
    /// Change users and the daemon itself.
    Administer,
}

/// Makes the schema of a type.
pub(super) type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// What a body is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Content {
    /// JSON of a schema.
    Json(SchemaOf),
    /// Bytes of a media type.
    Media(&'static str),
}

/// A query parameter: its name, and a sentence.
pub(super) type Parameter = (&'static str, &'static str);

/// One method of one path.
pub(super) struct Endpoint {
    pub(super) method: Method,
    /// As axum writes it: `/rest/os-volumes/{id}`.
    pub(super) path: &'static str,
    /// Another path for the same.
    pub(super) also: Option<&'static str>,
    pub(super) access: Access,
    /// What it does, as a sentence.
    pub(super) sentence: &'static str,
    pub(super) query: Vec<Parameter>,
    /// Bodies that are taken, by media type.
    pub(super) takes: Vec<Content>,
    /// Answers, by status.
    pub(super) answers: Vec<(u16, Content)>,
    route: MethodRouter<Arc<Control>>,
}

/// An endpoint that gives something.
pub(super) fn get<H: Handler<T, Arc<Control>>, T: 'static>(
    path: &'static str,
    access: Access,
    sentence: &'static str,
    handler: H,
) -> Endpoint {
    Endpoint::new((Method::GET, MethodFilter::GET), path, access, sentence, handler)
}

/// An endpoint that makes or begins something.
pub(super) fn post<H: Handler<T, Arc<Control>>, T: 'static>(
    path: &'static str,
    access: Access,
    sentence: &'static str,
    handler: H,
) -> Endpoint {
    Endpoint::new((Method::POST, MethodFilter::POST), path, access, sentence, handler)
}

/// An endpoint that replaces something.
pub(super) fn put<H: Handler<T, Arc<Control>>, T: 'static>(
    path: &'static str,
    access: Access,
    sentence: &'static str,
    handler: H,
) -> Endpoint {
    Endpoint::new((Method::PUT, MethodFilter::PUT), path, access, sentence, handler)
}

/// An endpoint that changes a part of something.
pub(super) fn patch<H: Handler<T, Arc<Control>>, T: 'static>(
    path: &'static str,
    access: Access,
    sentence: &'static str,
    handler: H,
) -> Endpoint {
    Endpoint::new((Method::PATCH, MethodFilter::PATCH), path, access, sentence, handler)
}

/// An endpoint that removes something.
pub(super) fn delete<H: Handler<T, Arc<Control>>, T: 'static>(
    path: &'static str,
    access: Access,
    sentence: &'static str,
    handler: H,
) -> Endpoint {
    Endpoint::new((Method::DELETE, MethodFilter::DELETE), path, access, sentence, handler)
}

impl Endpoint {
    fn new<H: Handler<T, Arc<Control>>, T: 'static>(
        (method, filter): (Method, MethodFilter),
        path: &'static str,
        access: Access,
        sentence: &'static str,
        handler: H,
    ) -> Self {
        let authorize = middleware::from_fn(move |request, next| auth::authorize(access, request, next));
        let route = on(filter, handler).route_layer(authorize);
        Self {
            method,
            path,
            also: None,
            access,
            sentence,
            query: Vec::new(),
            takes: Vec::new(),
            answers: Vec::new(),
            route,
        }
    }

    /// Paging, filters and sort of a collection.
    pub(super) fn paged(mut self) -> Self {
        self.query.extend([
            ("start", "Index of the first member wanted, from 0"),
            ("count", "Number of members wanted; -1 for all"),
            (
                "filter",
                "For instance \"name='web01'\", with or without its quotes; may be given several times",
            ),
            ("sort", "For instance name:ascending or created:descending"),
        ]);
        self
    }

    /// A query parameter.
    pub(super) fn query(mut self, name: &'static str, about: &'static str) -> Self {
        self.query.push((name, about));
        self
    }

    /// Takes JSON of a type.
    pub(super) fn takes<T: JsonSchema>(self) -> Self {
        self.takes_content(Content::Json(schema_of::<T>))
    }

    /// Takes bytes of a media type.
    pub(super) fn takes_media(self, media_type: &'static str) -> Self {
        self.takes_content(Content::Media(media_type))
    }

    fn takes_content(mut self, content: Content) -> Self {
        self.takes.push(content);
        self
    }

    /// Answers 200 with JSON of a type.
    pub(super) fn answers<T: JsonSchema>(self) -> Self {
        self.answers_with(200, Content::Json(schema_of::<T>))
    }

    /// Answers 201 with JSON of a type, and the path of what was made as `Location`.
    pub(super) fn creates<T: JsonSchema>(self) -> Self {
        self.answers_with(201, Content::Json(schema_of::<T>))
    }

    /// Answers 200 with bytes of a media type.
    pub(super) fn answers_media(self, media_type: &'static str) -> Self {
        self.answers_with(200, Content::Media(media_type))
    }

    /// Answers with a status and a body. An endpoint that says nothing of its answers answers 204.
    pub(super) fn answers_with(mut self, status: u16, content: Content) -> Self {
        self.answers.push((status, content));
        self
    }

    /// The same at another path.
    pub(super) fn also_at(mut self, path: &'static str) -> Self {
        self.also = Some(path);
        self
    }

    /// Largest body, where the limit of all others is not the right one.
    pub(super) fn body_bytes_max(mut self, bytes: usize) -> Self {
        self.route = self.route.layer(DefaultBodyLimit::max(bytes));
        self
    }

    /// Its handler, with the authorization before it.
    pub(super) fn route(&self) -> MethodRouter<Arc<Control>> {
        self.route.clone()
    }
}

/// The schema of a type, by reference to where all schemas are.
pub(super) fn schema_of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}
