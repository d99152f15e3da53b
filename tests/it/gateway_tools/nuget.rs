//! NuGet through the gateway to the example registry, with keys that `NuGet/login` asks for.

use carnet_stand_ins::Protocol;

use super::Gated;
use crate::publishing_tools::nuget::nuget_5_tools;

/// Over plain http, since Mono has its own store of authorities.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nuget_5_publishes_through_the_gateway() {
    let Some(tools) = nuget_5_tools() else {
        return;
    };
    let gated = Gated::before_example(Protocol::Nuget, false).await;
    let push =
        |key: &str, name: &str, version: &str| gated.nuget_5_pushes(tools, key, name, version);
    let key = gated.nuget_key();
    push(&key, "widgets", "1.0.0").succeeded();
    gated.nuget_5_installs(tools, "widgets", "1.0.0");
    push(&key, "widgets", "1.0.0").failed_saying(&["409"]);
    push(&key, "gadgets", "1.0.0").failed_saying(&["403", "Octo.gadgets", "package_out_of_scope"]);

    let jwt = gated.runner.token(&format!("https://{}", gated.host));
    gated.logs_in_with("joel", &jwt).says(200, &["apiKey"]);
    gated.logs_in_with("joel", &jwt).says(401, &["replay"]);
    gated.wrong_workflow();
    gated.logs_in("joel").says(401, &["workflow_mismatch"]);

    gated.has_packages_of_another("widgets-acme").await;
    push(&gated.nuget_key_of("acme"), "widgets-acme", "1.0.0").succeeded();
    gated.right_workflow();
    push(&gated.nuget_key(), "widgets-acme", "1.1.0").failed_saying(&[
        "403",
        "widgets-acme",
        "owner_lost",
    ]);
    push(&gated.nuget_key(), "widgets", "1.1.0").succeeded();
    gated.nuget_5_installs(tools, "widgets", "1.1.0");
}

/// It comes in chunks, without a length.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_request_of_dotnet_nuget_push_passes_the_gateway() {
    let gated = Gated::before_example(Protocol::Nuget, true).await;
    let key = gated.nuget_key();
    let pushed = gated.dotnet_pushes(&key, "widgets", "1.0.0");
    assert_eq!(pushed.status, 201, "{pushed:?}");
    let exists = gated.dotnet_pushes(&key, "widgets", "1.0.0");
    assert_eq!(exists.status, 409, "{exists:?}");
    // dotnet prints the phrase of the status line, and nothing else of the answer.
    let outside = gated.dotnet_pushes(&key, "gadgets", "1.0.0");
    assert_eq!(outside.status, 403, "{outside:?}");
    assert!(outside.phrase.contains("Octo.gadgets"), "{outside:?}");
}
