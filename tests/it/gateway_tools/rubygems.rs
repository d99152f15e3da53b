//! gem through the gateway to the example registry, with keys that `configure-rubygems-credentials` asks for.

use carnet_stand_ins::Protocol;

use super::Gated;
use crate::publishing_tools::rubygems::has_gem;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gem_publishes_through_the_gateway() {
    if !has_gem() {
        return;
    }
    let gated = Gated::before_example(Protocol::Rubygems, true).await;
    let key = gated.gem_key();
    gated.gem_push(&key, "widgets", "1.0.0").succeeded();
    gated.gem_installs("widgets", "1.0.0");
    let exists = gated.gem_push(&key, "widgets", "1.0.0");
    exists.failed_saying(&["Repushing of gem versions is not allowed"]);
    let outside = gated.gem_push(&key, "gadgets", "1.0.0");
    outside.failed_saying(&["gadgets", "package_out_of_scope"]);

    let jwt = gated.runner.token(&gated.host);
    gated
        .sends_for_a_gem_key(&jwt)
        .says(201, &["rubygems_api_key"]);
    gated.sends_for_a_gem_key(&jwt).says(404, &["replay"]);
    gated.wrong_workflow();
    let wrong = gated.asks_for_a_gem_key();
    wrong.says(404, &[]);
    let text = wrong.json()["error"].as_str().unwrap().to_owned();
    gated.prints_as_shown("tools-gem", "wrong workflow", &text);

    gated.has_packages_of_another("widgets-acme").await;
    gated
        .gem_push(&gated.gem_key(), "widgets-acme", "1.0.0")
        .succeeded();
    gated.right_workflow();
    let stolen = gated.gem_push(&gated.gem_key(), "widgets-acme", "1.1.0");
    stolen.failed_saying(&["widgets-acme", "owner_lost"]);
    gated
        .gem_push(&gated.gem_key(), "widgets", "1.1.0")
        .succeeded();
    gated.gem_installs("widgets", "1.1.0");
}
