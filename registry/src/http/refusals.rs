//! The refusals of each operation, for the OpenAPI document. Statuses, codes and messages come from
//! the errors themselves.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use axum::http::header::CACHE_CONTROL;
use serde_json::json;
use utoipa::openapi::example::ExampleBuilder;
use utoipa::openapi::header::{Header, HeaderBuilder};
use utoipa::openapi::schema::{AllOfBuilder, ObjectBuilder, Type};
use utoipa::openapi::{ContentBuilder, Ref, RefOr, Response, ResponseBuilder};

use super::error::{ApiError, Refusal};

pub(crate) type Responses = BTreeMap<String, RefOr<Response>>;

/// Declares a type for each name, which stands for these refusals.
macro_rules! refusals {
    ($($name:ident: $responses:expr),+ $(,)?) => {
        $(pub(crate) struct $name;

        impl utoipa::IntoResponses for $name {
            fn responses() -> $crate::http::refusals::Responses {
                $responses
            }
        })+
    };
}
pub(crate) use refusals;

refusals! {
    Ready: responses([unavailable()]),
    Metrics: responses([ApiError::NoMetrics]),
}

/// Returns the refusals of an operation with a token and limits, and its own refusals.
pub(crate) fn service(own: impl IntoIterator<Item = ApiError>) -> Responses {
    let guards = [
        ApiError::Unauthorized,
        ApiError::Overloaded,
        ApiError::TooSlow,
        unavailable(),
    ];
    responses(guards.into_iter().chain(own))
}

/// The same for the admin API, whose answers must not be cached.
pub(crate) fn admin(own: impl IntoIterator<Item = ApiError>) -> Responses {
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

/// Adds headers, each with its description, to the responses with a status.
pub(crate) fn with_headers<const N: usize>(
    mut responses: Responses,
    status: StatusCode,
    headers: [(&str, &str); N],
) -> Responses {
    if let Some(RefOr::T(response)) = responses.get_mut(status.as_str()) {
        let headers = headers.map(|(name, value)| (name.to_owned(), header(value)));
        response.headers.extend(headers);
    }
    responses
}

fn unavailable() -> ApiError {
    ApiError::Unavailable(sqlx::Error::PoolTimedOut)
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

/// Returns the response for a status: exactly these codes, with an example of each.
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
    response
}

fn header(description: &str) -> RefOr<Header> {
    let header = HeaderBuilder::new().description(Some(description));
    RefOr::T(header.build())
}
