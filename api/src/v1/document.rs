//! The OpenAPI document: made from the tables that requests are read by, and from the types that
//! answers are written from.

use schemars::generate::{SchemaGenerator, SchemaSettings};
use schemas::filter::Filter;
use schemas::json::FlowJson;
use serde_json::{Map, Value, json};

use super::{Operation, endpoints, explain, graph, hints, policies, statistics, stream};
use crate::parameter::{Parameter, Takes};
use crate::problem::{PROBLEM_JSON, Problem};
use crate::query;
use crate::status::Status;
use crate::whisker::item::Item;

const FLOWS: Operation = Operation {
    path: "/api/v1/flows",
    what: "Flows, one JSON object a line, newest first; a `Link` header names the next page. Where \
           `from` is older than the memory, the Parquet files answer; without any, the header \
           `whyflow-history-from` says from when on there is something.",
    parameters: query::PARAMETERS,
    media: "application/jsonl",
    answer: "Row",
    may_be_absent: false,
};

const STATUS: Operation = Operation {
    path: "/api/v1/status",
    what: "How the daemon is: hooks, features, losses, lag.",
    parameters: &[],
    media: "application/json",
    answer: "Status",
    may_be_absent: false,
};

const OPERATIONS: &[Operation] = &[
    FLOWS,
    stream::OPERATION,
    hints::OPERATION,
    statistics::OPERATION,
    policies::OPERATION,
    endpoints::OPERATION,
    explain::OPERATION,
    graph::OPERATION,
    STATUS,
];

/// The document, as it is served and checked in.
#[must_use]
pub fn openapi_text() -> String {
    let mut text = serde_json::to_string_pretty(&document()).unwrap_or_default();
    text.push('\n');
    text
}

fn document() -> Value {
    let paths: Map<String, Value> = OPERATIONS
        .iter()
        .map(|operation| (operation.path.to_owned(), json!({ "get": of(operation) })))
        .collect();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "whyflow",
            "description": "How and why traffic moves in a Kubernetes cluster.",
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "paths": paths,
        "components": { "schemas": components() },
    })
}

/// Schemas by name: of what is written, and of the one thing that is read.
fn components() -> Map<String, Value> {
    let settings = || {
        let mut settings = SchemaSettings::draft2020_12();
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
        settings
    };
    let mut written = settings().for_serialize().into_generator();
    register::<hints::Hints>(&mut written);
    register::<statistics::Statistics>(&mut written);
    register::<policies::PolicyList>(&mut written);
    register::<endpoints::EndpointList>(&mut written);
    register::<policy::Explanation>(&mut written);
    register::<graph::Graph>(&mut written);
    register::<FlowJson>(&mut written);
    register::<Item>(&mut written);
    register::<Status>(&mut written);
    register::<Problem>(&mut written);
    let mut read = settings().into_generator();
    register::<Filter>(&mut read);
    let mut all = written.take_definitions(true);
    all.extend(read.take_definitions(true));
    all
}

fn register<T: schemars::JsonSchema>(generator: &mut SchemaGenerator) {
    // Kept among the definitions, which are what is wanted.
    drop(generator.subschema_for::<T>());
}

fn of(operation: &Operation) -> Value {
    let problem = |what: &str| {
        let schema = json!({ "$ref": "#/components/schemas/Problem" });
        json!({ "description": what, "content": { PROBLEM_JSON: { "schema": schema } } })
    };
    let schema = json!({ "$ref": format!("#/components/schemas/{}", operation.answer) });
    let mut responses = Map::new();
    let answer = json!({ "description": "The answer.", "content": { operation.media: {
        "schema": schema,
    } } });
    responses.insert("200".to_owned(), answer);
    if !operation.parameters.is_empty() {
        responses.insert("400".to_owned(), problem("A parameter cannot be meant."));
        responses.insert("500".to_owned(), problem("What is older could not be read."));
    }
    if operation.may_be_absent {
        responses.insert("404".to_owned(), problem("An end of the connection is not known."));
    }
    responses.insert("503".to_owned(), problem("As many requests are being answered as may be."));
    let name = operation.path.rsplit('/').next().unwrap_or_default();
    json!({
        "operationId": name,
        "summary": operation.what,
        "parameters": operation.parameters.iter().copied().flatten().map(parameter)
            .collect::<Vec<Value>>(),
        "responses": responses,
    })
}

fn parameter(parameter: &Parameter) -> Value {
    let mut written = json!({
        "name": parameter.name,
        "in": "query",
        "description": parameter.what,
        "required": parameter.is_required,
    });
    let described = match (parameter.takes.schema(), parameter.takes) {
        (None, _) | (_, Takes::Filters) => {
            let schema = json!({ "$ref": "#/components/schemas/Filter" });
            ("content", json!({ "application/json": { "schema": schema } }))
        }
        (Some(schema), _) if parameter.is_repeated => {
            written["explode"] = true.into();
            ("schema", json!({ "type": "array", "items": schema }))
        }
        (Some(schema), _) => ("schema", schema),
    };
    written[described.0] = described.1;
    written
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn references(value: &Value, all: &mut BTreeSet<String>) {
        match value {
            Value::Object(fields) => {
                if let Some(Value::String(reference)) = fields.get("$ref") {
                    all.insert(reference.clone());
                }
                fields.values().for_each(|value| references(value, all));
            }
            Value::Array(items) => items.iter().for_each(|value| references(value, all)),
            _ => {}
        }
    }

    #[test]
    fn every_reference_of_the_document_leads_somewhere() {
        let document = document();
        let mut all = BTreeSet::new();
        references(&document, &mut all);
        assert!(all.len() > 20, "{all:?}");
        for reference in all {
            let pointer = reference.trim_start_matches('#');
            assert!(document.pointer(pointer).is_some(), "{reference}");
        }
    }
}
