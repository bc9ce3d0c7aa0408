//! Which operation refuses what, for the OpenAPI document. Statuses, codes and messages are those of
//! the errors themselves.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, VARY};
use serde_json::json;
use utoipa::IntoResponses;
use utoipa::openapi::example::ExampleBuilder;
use utoipa::openapi::header::{Header, HeaderBuilder};
use utoipa::openapi::schema::{AllOfBuilder, ObjectBuilder, Type};
use utoipa::openapi::{ContentBuilder, Ref, RefOr, Response, ResponseBuilder};

use super::error::{ApiError, Refusal};
use crate::defaults::{CHANGES_AT_ONCE, KEYS_AT_ONCE};
use crate::keys::Failure;
use crate::lookup::handler::KEY_HASH;

type Responses = BTreeMap<String, RefOr<Response>>;

/// For each name, a type that stands for these refusals.
macro_rules! refusals {
    ($($name:ident: $responses:expr),+ $(,)?) => {
        $(pub(crate) struct $name;

        impl IntoResponses for $name {
            fn responses() -> Responses {
                $responses
            }
        })+
    };
}

refusals! {
    Lookup: service([ApiError::InvalidKeyHash, ApiError::NoRecord]),
    Changes: service([ApiError::InvalidQuery, ApiError::InvalidLimit(CHANGES_AT_ONCE)]),
    Create: admin([
        body("missing field `account_id`"),
        ApiError::KeyExists,
        ApiError::BodyTooLarge,
        failed(),
    ]),
    List: admin([
        ApiError::InvalidQuery,
        ApiError::InvalidLimit(KEYS_AT_ONCE),
        ApiError::InvalidCursor,
    ]),
    Get: admin([ApiError::NoKey]),
    Update: admin([
        body("name: it has 0 characters; it must have from 1 to 256"),
        ApiError::NoKey,
        ApiError::BodyTooLarge,
        failed(),
    ]),
    Revoke: admin([ApiError::NoKey, failed()]),
    Delete: admin([ApiError::NoKey, failed()]),
    Rotate: admin([
        body("unknown field `days`, expected `grace` or `expires_at`"),
        ApiError::NoKey,
        ApiError::KeyRevoked,
        ApiError::BodyTooLarge,
        failed(),
    ]),
    Ready: responses([unavailable()]),
    Metrics: responses([ApiError::NoMetrics]),
}

/// The refusals of an operation behind a token and the limits, and its own.
fn service(own: impl IntoIterator<Item = ApiError>) -> Responses {
    let guards = [
        ApiError::Unauthorized,
        ApiError::Overloaded,
        ApiError::TooSlow,
        unavailable(),
    ];
    responses(guards.into_iter().chain(own))
}

fn admin(own: impl IntoIterator<Item = ApiError>) -> Responses {
    let mut responses = service([ApiError::AdminOff].into_iter().chain(own));
    for (status, response) in &mut responses {
        let value = match &status[..] {
            "503" => "`no-store`, with `unavailable`",
            _ => "`no-store`",
        };
        if let RefOr::T(response) = response {
            let name = CACHE_CONTROL.to_string();
            response.headers.insert(name, header(value));
        }
    }
    responses
}

fn unavailable() -> ApiError {
    ApiError::Unavailable(sqlx::Error::PoolTimedOut)
}

fn failed() -> ApiError {
    ApiError::Failed(Failure::Clock)
}

fn body(problem: &str) -> ApiError {
    ApiError::InvalidBody(problem.to_owned())
}

fn responses(errors: impl IntoIterator<Item = ApiError>) -> Responses {
    let mut by_status: BTreeMap<StatusCode, Vec<ApiError>> = BTreeMap::new();
    for error in errors {
        by_status.entry(error.parts().0).or_default().push(error);
    }
    let of_status = |(status, errors): (StatusCode, Vec<ApiError>)| {
        (status.as_str().to_owned(), RefOr::T(response(&errors)))
    };
    by_status.into_iter().map(of_status).collect()
}

/// The response of a status: its codes and no others, with an example of each.
fn response(errors: &[ApiError]) -> Response {
    let codes: Vec<_> = errors.iter().map(|error| error.parts().1).collect();
    let code = ObjectBuilder::new()
        .schema_type(Type::String)
        .enum_values(Some(codes.clone()));
    let of_these = ObjectBuilder::new().property("error", code);
    let schema = AllOfBuilder::new()
        .item(Ref::from_schema_name("Refusal"))
        .item(of_these);
    let examples = errors.iter().map(|error| {
        let example = ExampleBuilder::new().value(Some(json!(Refusal::of(error))));
        (error.parts().1.to_owned(), example.build())
    });
    let content = ContentBuilder::new()
        .schema(Some(schema))
        .examples_from_iter(examples)
        .build();
    let codes: Vec<_> = codes.iter().map(|code| format!("`{code}`")).collect();
    let response = ResponseBuilder::new()
        .description(codes.join(", "))
        .content("application/json", content);
    let mut response = response.build();
    for (name, value) in errors.iter().filter_map(ApiError::header) {
        let header = header(&format!("`{value}`"));
        response.headers.insert(name.to_string(), header);
    }
    if errors
        .iter()
        .any(|error| matches!(error, ApiError::NoRecord))
    {
        let said = [
            (
                CACHE_CONTROL.as_str(),
                "`max-age=N`, with `serve --max-age-not-found`",
            ),
            (VARY.as_str(), "`x-keystile-environment`"),
            (KEY_HASH, "The hash that the answer is about"),
        ];
        let said = said.map(|(name, value)| (name.to_owned(), header(value)));
        response.headers.extend(said);
    }
    response
}

fn header(description: &str) -> RefOr<Header> {
    let header = HeaderBuilder::new().description(Some(description));
    RefOr::T(header.build())
}
