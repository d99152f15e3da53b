//! A router that holds the `OpenAPI` 3.1 description of each route: a route of the admin API cannot
//! be added without one.

use std::sync::Arc;

use axum::Router;
use axum::handler::Handler;
use axum::routing::{MethodFilter, on};
use serde_json::{Map, Value, json};

use crate::app::App;

/// Routes of the admin API, and the `paths` of the `OpenAPI` document that describe them.
#[derive(Debug, Default)]
pub struct DescribedRoutes {
    router: Router<Arc<App>>,
    paths: Map<String, Value>,
}

#[derive(Clone, Copy, Debug)]
pub enum Method {
    Get,
    Post,
    Put,
    Patch,
    Delete,
}

impl Method {
    fn parts(self) -> (MethodFilter, &'static str) {
        match self {
            Self::Get => (MethodFilter::GET, "get"),
            Self::Post => (MethodFilter::POST, "post"),
            Self::Put => (MethodFilter::PUT, "put"),
            Self::Patch => (MethodFilter::PATCH, "patch"),
            Self::Delete => (MethodFilter::DELETE, "delete"),
        }
    }
}

impl DescribedRoutes {
    /// Adds a route below `/admin/v1`. `{name}` segments of `path` become described parameters.
    #[must_use]
    pub fn route<H, T>(
        mut self,
        method: Method,
        path: &str,
        handler: H,
        operation: Operation,
    ) -> Self
    where
        H: Handler<T, Arc<App>>,
        T: 'static,
    {
        let (filter, name) = method.parts();
        self.router = self.router.route(path, on(filter, handler));
        let described = self.paths.entry(path).or_insert_with(|| json!({}));
        if let Value::Object(described) = described {
            let variables = path
                .split('/')
                .filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'));
            let parameters = variables.map(
                |variable| json!({ "name": variable, "in": "path", "required": true, "schema": { "type": "string" } }),
            );
            let parameters: Vec<Value> = parameters.collect();
            if !parameters.is_empty() {
                described.insert("parameters".to_owned(), parameters.into());
            }
            described.insert(name.to_owned(), operation.into_json());
        }
        self
    }

    /// Adds the routes of `others`, whose paths must be new: their descriptions replace equal ones.
    #[must_use]
    pub fn merge(mut self, others: Self) -> Self {
        self.router = self.router.merge(others.router);
        self.paths.extend(others.paths);
        self
    }

    /// The `paths` member of the `OpenAPI` document.
    pub fn paths(&self) -> &Map<String, Value> {
        &self.paths
    }

    pub fn into_router(self) -> Router<Arc<App>> {
        self.router
    }
}

/// An `OpenAPI` operation: the description of one method of a path.
#[derive(Debug)]
pub struct Operation {
    summary: String,
    is_open: bool,
    parameters: Vec<Value>,
    body: Option<Value>,
    responses: Map<String, Value>,
}

impl Operation {
    /// An operation that requires a bearer token and answers errors as problem details.
    pub fn new(summary: impl Into<String>) -> Self {
        let problem = response(
            "A problem (RFC 9457).",
            "application/problem+json",
            &reference("Problem"),
        );
        let responses = ["429", "default"].map(|status| (status.to_owned(), problem.clone()));
        Self {
            responses: responses.into_iter().collect(),
            is_open: false,
            ..Self::open(summary)
        }
    }

    /// An operation that needs no token.
    pub fn open(summary: impl Into<String>) -> Self {
        Self {
            summary: summary.into(),
            is_open: true,
            parameters: Vec::new(),
            body: None,
            responses: Map::new(),
        }
    }

    /// Adds an optional query parameter.
    #[must_use]
    pub fn query(mut self, name: &str, schema: &Value, description: &str) -> Self {
        let parameter =
            json!({ "name": name, "in": "query", "schema": schema, "description": description });
        self.parameters.push(parameter);
        self
    }

    /// Requires a JSON body.
    #[must_use]
    pub fn body(mut self, schema: &Value) -> Self {
        self.body = Some(
            json!({ "required": true, "content": { "application/json": { "schema": schema } } }),
        );
        self
    }

    /// Accepts a JSON body, which may be absent.
    #[must_use]
    pub fn optional_body(mut self, schema: &Value) -> Self {
        self.body = Some(json!({ "content": { "application/json": { "schema": schema } } }));
        self
    }

    /// Requires a merge patch (RFC 7396) as the body.
    #[must_use]
    pub fn merge_patch(mut self) -> Self {
        let content = json!({ "application/merge-patch+json": { "schema": { "type": "object" } } });
        self.body = Some(json!({ "required": true, "content": content }));
        self
    }

    /// Adds a JSON answer with this status.
    #[must_use]
    pub fn answer(mut self, status: &str, description: &str, schema: &Value) -> Self {
        self.responses.insert(
            status.to_owned(),
            response(description, "application/json", schema),
        );
        self
    }

    /// Adds the answer 204.
    #[must_use]
    pub fn no_content(mut self, description: &str) -> Self {
        self.responses
            .insert("204".to_owned(), json!({ "description": description }));
        self
    }

    fn into_json(self) -> Value {
        let mut operation = Map::from_iter([("summary".to_owned(), self.summary.into())]);
        if self.is_open {
            operation.insert("security".to_owned(), json!([]));
        }
        if !self.parameters.is_empty() {
            operation.insert("parameters".to_owned(), self.parameters.into());
        }
        operation.extend(self.body.map(|body| ("requestBody".to_owned(), body)));
        operation.insert("responses".to_owned(), self.responses.into());
        Value::Object(operation)
    }
}

fn response(description: &str, media_type: &str, schema: &Value) -> Value {
    json!({ "description": description, "content": { media_type: { "schema": schema } } })
}

/// A reference to a schema of the document, by the schema's name.
pub fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

/// The schema of one page of a list.
pub fn page(item: &Value) -> Value {
    json!({
        "type": "object", "required": ["items", "next_cursor"],
        "properties": { "items": { "type": "array", "items": item }, "next_cursor": { "type": ["string", "null"] } },
    })
}

/// The schema of the query parameter `limit`.
pub fn page_size() -> Value {
    json!({ "type": "integer", "minimum": 1, "maximum": 500, "default": 50 })
}
