// A registry with one protected upload path, and its own metadata (RFC 9728).
use axum::extract::{Extension, Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use axum::{Router, body::Body};
use carnet_resource_server::{
    AccessToken, Operation, PackageNames, ProtectedResource, Realm, RegistryState, RequireToken,
    Verifier, allows,
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (issuer, resource) = ("https://carnet.example", "https://registry.example/");
    let about = ProtectedResource::new(resource, issuer)?.actions(["create", "publish"]);
    let (realm, path) = (
        Realm::new("registry").described_by(&about),
        about.path().to_owned(),
    );
    let router = Router::new()
        .route("/packages/{name}/{version}", put(publish))
        .route_layer(RequireToken::new(
            Verifier::new(issuer, resource)?,
            realm.clone(),
        ))
        .route(&path, get(async move || about.answer::<Body>()))
        .with_state(realm);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:8090").await?;
    Ok(axum::serve(listener, router).await?)
}

async fn publish(
    State(realm): State<Realm>,
    Extension(token): Extension<AccessToken>,
    Path((name, version)): Path<(String, String)>,
) -> Response {
    let operation = Operation {
        action: "publish",
        package: &name,
        version: Some(&version),
        digest: None,
    };
    let state = RegistryState {
        exists: true,                                        // these three
        owned_by: &|owner| owner == "octo-org",              // from your database,
        may_act_for: &|principal, owner| principal == owner, // in the transaction of the upload
    };
    match allows(
        &token.authorization_details,
        PackageNames::Exact,
        &operation,
        &state,
    ) {
        Ok(allowed) => {
            format!("{} publishes for {}", allowed.principal, allowed.owner).into_response()
        }
        Err(denied) => realm.deny(&token, denied, &operation),
    }
}
