//! `/api/v1/openapi.json`: the API described for programs, in OpenAPI 3.1.
//!
//! What can be asked stands in `openapi.json`; what is answered is made from the types that are. Must not know the board.

use std::sync::LazyLock;

use actix_web::HttpResponse;
use schemars::generate::SchemaSettings;
use serde_json::Value;

use super::summary::Summary;
use super::{Account, Sink, Subscription};
use crate::domain::event::Event;
use crate::http::health::Readiness;
use crate::metrics::history::Hour;

const PATHS: &str = include_str!("openapi.json");

/// The description.
pub async fn show() -> HttpResponse {
    static TEXT: LazyLock<String> = LazyLock::new(|| description().to_string());
    HttpResponse::Ok().content_type("application/json").body(TEXT.as_str())
}

/// The same as a value.
pub fn description() -> Value {
    let mut settings = SchemaSettings::draft2020_12();
    settings.definitions_path = "/components/schemas".into();
    settings.meta_schema = None;
    let mut schemas = settings.into_generator();
    schemas.subschema_for::<Account>();
    schemas.subschema_for::<Subscription>();
    schemas.subschema_for::<Sink>();
    schemas.subschema_for::<Summary>();
    schemas.subschema_for::<Hour>();
    schemas.subschema_for::<Readiness>();
    schemas.subschema_for::<Event>();
    // Compiled in, and parsed by a test.
    let mut description: Value = serde_json::from_str(PATHS).unwrap_or_default();
    description["info"]["version"] = env!("CARGO_PKG_VERSION").into();
    description["components"]["schemas"] = schemas.take_definitions(true).into();
    description
}
