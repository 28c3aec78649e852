//! What the document says of one endpoint. What follows from its need is added by [`super::document`].

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Value, json};

pub const JSON: &str = "application/json";

/// The shape of a body.
pub enum Shape {
    /// That of a type of the code.
    Of(fn(&mut SchemaGenerator) -> Schema),
    /// Written down, where the code reads or writes field by field.
    As(Value),
}

pub fn of<T: JsonSchema>() -> Shape {
    Shape::Of(SchemaGenerator::subschema_for::<T>)
}

impl From<Value> for Shape {
    fn from(schema: Value) -> Self {
        Self::As(schema)
    }
}

pub struct Body {
    pub media: &'static str,
    pub required: bool,
    pub shape: Shape,
    pub examples: Vec<(&'static str, Value)>,
}

pub struct Answer {
    pub status: u16,
    pub means: &'static str,
    pub media: &'static str,
    pub shape: Shape,
    pub example: Value,
}

pub struct Operation {
    pub method: &'static str,
    pub path: &'static str,
    /// Stable: generated clients name their functions after it.
    pub id: &'static str,
    pub summary: &'static str,
    pub description: &'static str,
    pub parameters: Vec<Value>,
    pub body: Option<Body>,
    pub answers: Vec<Answer>,
    /// Slugs of the problems it may answer with.
    pub problems: Vec<&'static str>,
    /// Headers of its good answers.
    pub headers: Vec<(&'static str, &'static str)>,
}

pub fn get(path: &'static str, id: &'static str, summary: &'static str) -> Operation {
    Operation::new("GET", path, id, summary)
}

pub fn post(path: &'static str, id: &'static str, summary: &'static str) -> Operation {
    Operation::new("POST", path, id, summary)
}

pub fn put(path: &'static str, id: &'static str, summary: &'static str) -> Operation {
    Operation::new("PUT", path, id, summary)
}

pub fn delete(path: &'static str, id: &'static str, summary: &'static str) -> Operation {
    Operation::new("DELETE", path, id, summary)
}

impl Operation {
    fn new(method: &'static str, path: &'static str, id: &'static str, summary: &'static str) -> Self {
        Self {
            method,
            path,
            id,
            summary,
            description: "",
            parameters: Vec::new(),
            body: None,
            answers: Vec::new(),
            problems: Vec::new(),
            headers: Vec::new(),
        }
    }

    pub fn about(mut self, description: &'static str) -> Self {
        self.description = description;
        self
    }

    /// A parameter in the path; `example` is one that a reader can copy.
    pub fn path(
        mut self,
        name: &'static str,
        schema: Value,
        means: &'static str,
        example: &'static str,
    ) -> Self {
        self.parameters.push(json!({
            "name": name, "in": "path", "required": true, "description": means, "schema": schema, "example": example,
        }));
        self
    }

    pub fn query(mut self, name: &'static str, schema: Value, means: &'static str) -> Self {
        self.parameters.push(json!({ "name": name, "in": "query", "description": means, "schema": schema }));
        self
    }

    /// A parameter in the query without which nothing is done.
    pub fn needs_query(mut self, name: &'static str, schema: Value, means: &'static str) -> Self {
        self.parameters.push(json!({
            "name": name, "in": "query", "required": true, "description": means, "schema": schema,
        }));
        self
    }

    pub fn header(mut self, name: &'static str, schema: Value, means: &'static str) -> Self {
        self.parameters.push(json!({ "name": name, "in": "header", "description": means, "schema": schema }));
        self
    }

    /// The caller's tenant: its own, or the one of several that the query names.
    pub fn of_a_tenant(self) -> Self {
        let what = "The tenant to act for. Needed only by a credential of several tenants.";
        self.query("tenant_id", json!({ "$ref": "#/components/schemas/TenantId" }), what)
            .problems(&["invalid-request", "foreign-tenant"])
    }

    /// Takes a JSON body.
    pub fn body(mut self, shape: impl Into<Shape>, examples: Vec<(&'static str, Value)>) -> Self {
        self.body = Some(Body { media: JSON, required: true, shape: shape.into(), examples });
        self.problems(&[
            "invalid-request",
            "malformed-json",
            "incomplete-body",
            "slow-body",
            "payload-too-large",
            "unsupported-media-type",
            "overloaded",
        ])
    }

    /// A body that may be left out.
    pub fn optional_body(self, shape: impl Into<Shape>, examples: Vec<(&'static str, Value)>) -> Self {
        let mut operation = self.body(shape, examples);
        if let Some(body) = &mut operation.body {
            body.required = false;
        }
        operation
    }

    pub fn answer(self, status: u16, means: &'static str, shape: impl Into<Shape>, example: Value) -> Self {
        self.answer_as(status, means, JSON, shape, example)
    }

    pub fn answer_as(
        mut self,
        status: u16,
        means: &'static str,
        media: &'static str,
        shape: impl Into<Shape>,
        example: Value,
    ) -> Self {
        self.answers.push(Answer { status, means, media, shape: shape.into(), example });
        self
    }

    pub fn answers_with(mut self, header: &'static str, means: &'static str) -> Self {
        self.headers.push((header, means));
        self
    }

    pub fn problems(mut self, slugs: &[&'static str]) -> Self {
        for slug in slugs {
            if !self.problems.contains(slug) {
                self.problems.push(slug);
            }
        }
        self
    }

    /// Asks Postgres.
    pub fn asks_the_database(self) -> Self {
        self.problems(&["database-unavailable"])
    }

    /// Counts against the tenant's limits.
    pub fn metered(self) -> Self {
        let what = "How many requests are left of the tenant's rate; only where a rate is set.";
        self.answers_with("RateLimit", what)
            .answers_with("RateLimit-Policy", "The tenant's rate; only where one is set.")
            .problems(&["rate-limited", "quota-exceeded", "unknown-tenant", "tenant-suspended"])
    }
}
