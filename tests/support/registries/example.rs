//! The example registry, which accepts Carnet's access tokens: its operator has one of its own client, as another registry gives out
//! keys.

use carnet_resource_server::{Introspection, Verifier};
use carnet_stand_ins::{Protocol, Registry};
use serde_json::json;
use tokio::net::TcpListener;

use super::{OPERATOR, OperatorCredential, Upstream};
use crate::support::{TestClient, World};

/// How the tools of a protocol send this token.
pub fn credential_of_example(protocol: Protocol, token: String) -> OperatorCredential {
    match protocol {
        Protocol::Nuget => OperatorCredential::Header("X-NuGet-ApiKey", token),
        _ => OperatorCredential::Bearer(token),
    }
}

/// A registry of this protocol. It accepts the tokens of the server that answers at this issuer identifier.
pub async fn example(
    protocol: Protocol,
    listener: TcpListener,
    world: &World,
    issuer: &str,
) -> Upstream {
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = &world.server;
    let resource_server = json!({
        "resource": format!("{url}/"), "actions": ["create", "publish"], "token_lifetime_seconds": 3600,
    });
    server
        .put("resource-servers/upstream", resource_server)
        .await;
    let basic = "client_secret_basic";
    let members = json!({ "resource_server": "upstream" });
    let registry = TestClient::register(server, "upstream-registry", basic, members).await;
    server
        .put("principals/operator", json!({ "kind": "service" }))
        .await;
    let everything = json!({
        "resource_server": "upstream", "actions": ["create", "publish"], "packages": ["*"], "owner": OPERATOR,
    });
    let members = json!({ "permissions": [everything] });
    let operator = TestClient::register(server, "upstream-operator", basic, members).await;
    let token = operator.ask(server, &[]).await.token();

    let verifier = Verifier::new(issuer, &format!("{url}/"))
        .unwrap()
        .introspecting(Introspection::new(&registry.id, registry.secret()));
    let folder = server.db.folder().join("upstream");
    std::fs::create_dir(&folder).unwrap();
    let registry = Registry::speaking(protocol, verifier, folder);
    tokio::spawn(async move { registry.serve(listener, None).await });
    let credential = credential_of_example(protocol, token);
    Upstream {
        url,
        credential,
        _running: None,
    }
}
