//! `GET /openapi.json`: everything that the server answers, as OpenAPI. Each route's description is
//! next to its handler.

use axum::body::Bytes;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Router};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{ComponentsBuilder, InfoBuilder, License, OpenApi, OpenApiBuilder};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::error::Refusal;
use crate::server::SharedBody;

/// Requests from proxies.
pub(crate) const PROXIES: &str = "proxies";
/// Operations on keys.
pub(crate) const ADMIN: &str = "admin";
/// The server itself.
pub(crate) const SERVER: &str = "server";

const ABOUT: &str = "\
What is refused gets a JSON body with `error`, a code to branch on, and mostly a `message` for \
people. A path that the server does not know is 400 `unknown_route`, not 404, which is a verdict \
on a key hash; a method that a path does not have is 405 `method_not_allowed`, with `allow`. Where \
there is GET, there is HEAD. What is not HTTP gets a 4xx without a body. With \
`serve --admin-listen` or `--metrics-listen`, each listener answers its own paths alone, beside \
`/healthz` and `/readyz`.";

const ADMIN_API: &str = "\
What operators do with keys. Off where the server has no token in `KEYSTILE_ADMIN_TOKEN`: then \
every answer here is 404 `admin_api_off`.";

pub(crate) fn routes() -> OpenApiRouter {
    OpenApiRouter::new().routes(routes!(openapi))
}

/// Returns the document without its paths.
pub(crate) fn document() -> OpenApi {
    let mut license = License::new(env!("CARGO_PKG_LICENSE"));
    license.identifier = Some(env!("CARGO_PKG_LICENSE").to_owned());
    let info = InfoBuilder::new()
        .title("Keystile registry")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(ABOUT))
        .license(Some(license));
    let tag = |name, description| {
        TagBuilder::new()
            .name(name)
            .description(Some(description))
            .build()
    };
    let components = ComponentsBuilder::new()
        // No handler's signature mentions it.
        .schema_from::<Refusal>()
        .security_scheme(
            "service_token",
            bearer("The token in `KEYSTILE_SERVICE_TOKEN`, where the server has one"),
        )
        .security_scheme("admin_token", bearer("The token in `KEYSTILE_ADMIN_TOKEN`"));
    OpenApiBuilder::new()
        .info(info)
        .components(Some(components.build()))
        .tags(Some([
            tag(PROXIES, "What the filter asks"),
            tag(ADMIN, ADMIN_API),
            tag(SERVER, "The server itself, for whoever reaches its port"),
        ]))
        .build()
}

/// Adds the document to the routes, for the handler that returns it.
pub(crate) fn serving(document: &OpenApi, routes: Router) -> Router {
    // This cannot fail: the document contains only strings, numbers and maps with string keys.
    let document = serde_json::to_vec(document).unwrap_or_default();
    routes.layer(Extension(Document(document.into())))
}

#[derive(Clone)]
struct Document(Bytes);

/// Returns this document.
#[utoipa::path(
    get,
    path = "/openapi.json",
    operation_id = "openapi",
    tag = SERVER,
    responses((status = 200, description = "OpenAPI 3.1", body = Object)),
)]
async fn openapi(Extension(Document(document)): Extension<Document>) -> Response {
    let kind = [(CONTENT_TYPE, "application/json")];
    (kind, Extension(SharedBody), document).into_response()
}

fn bearer(description: &str) -> SecurityScheme {
    let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer);
    SecurityScheme::Http(scheme.description(Some(description)).build())
}
