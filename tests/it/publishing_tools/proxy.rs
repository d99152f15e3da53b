//! The registry behind the nginx of the guide, which sends the paths of the front door to Carnet.

use carnet_stand_ins::Protocol;
use serde_json::json;
use tokio::net::TcpListener;

use super::super::documents::read;
use super::super::surroundings::{Program, is_installed, nginx, nginx_conf};
use super::Site;
use crate::support::{free_address, may_skip};

/// The server of the guide with these places in it, and its running.
async fn behind_nginx(protocol: Protocol) -> Option<(Site, Program)> {
    if !is_installed("nginx") {
        may_skip("nginx");
        return None;
    }
    let outside = free_address();
    let port = outside.rsplit_once(':').unwrap().1.parse().unwrap();
    let site = Site::at(protocol, "https", port).await;
    let registry = site.registry().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let inside = listener.local_addr().unwrap();
    tokio::spawn(async move { registry.serve(listener, None).await });

    let guide = read("docs/src/guides/tools.md");
    let block = guide.split("```nginx\n").nth(1).unwrap();
    let block = block.split("```").next().unwrap();
    let block = block.replace("/etc/ssl/registry.example.", "/etc/ssl/carnet.example.");
    let carnet = site.issuer.strip_prefix("http://").unwrap();
    let places = [
        ("listen 443 ssl", format!("listen {outside} ssl")),
        ("server 127.0.0.1:8080;", format!("server {carnet};")),
        ("server 127.0.0.1:9000;", format!("server {inside};")),
    ];
    let folder = site.folder("nginx");
    let conf = nginx_conf(&folder, &block, &places);
    std::fs::copy(folder.join("authority.pem"), site.authority()).unwrap();
    let mut nginx = nginx(&folder, &conf);
    let program = Program::start("nginx", &mut nginx, &outside).await?;
    Some((site, program))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_proxy_of_the_guide_sends_the_requests_for_keys_to_carnet_and_the_others_to_the_registry()
 {
    let Some((site, _nginx)) = behind_nginx(Protocol::Npm).await else {
        return;
    };
    // A scoped name arrives as it was sent.
    site.npm_publishes(&site.http(), "widgets", "1.0.0").await;
    for (protocol, name) in [
        (Protocol::CratesIo, "crates-io-auth-action-exchange"),
        (Protocol::Rubygems, "configure-rubygems-credentials"),
    ] {
        let Some((site, _nginx)) = behind_nginx(protocol).await else {
            return;
        };
        let answer = site.replay(name, &[("jwt", &site.runner.token(&site.host))]);
        assert!([200, 201].contains(&answer.status), "{answer:?}");
    }
    let Some((site, _nginx)) = behind_nginx(Protocol::Nuget).await else {
        return;
    };
    let pushed = site.dotnet_pushes(&site.nuget_key(), "widgets", "1.0.0");
    assert_eq!(pushed.status, 201, "{pushed:?}");
    let Some((site, _nginx)) = behind_nginx(Protocol::Pypi).await else {
        return;
    };
    let asked = site.http().get(format!("{}_/oidc/audience", site.url));
    let answer: serde_json::Value = asked.send().await.unwrap().json().await.unwrap();
    assert_eq!(answer, json!({ "audience": site.host }));
}
