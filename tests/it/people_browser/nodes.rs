//! A browser whose requests come to one of two replicas.

use std::time::Duration;

use serde_json::json;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::Instant;

use super::{SESSION, Site, admin};
use crate::support::{ServerProcess, free_address};

/// Passes connections on to the replica that is chosen at the moment. Those to the one before are closed.
async fn passing(listener: TcpListener, to: [String; 2], chosen: watch::Receiver<usize>) {
    while let Ok((mut near, _)) = listener.accept().await {
        let (to, mut chosen) = (to.clone(), chosen.clone());
        tokio::spawn(async move {
            let now = *chosen.borrow_and_update();
            let Ok(mut far) = TcpStream::connect(&to[now]).await else {
                return;
            };
            tokio::select! {
                _ = copy_bidirectional(&mut near, &mut far) => {}
                _ = chosen.changed() => {}
            }
        });
    }
}

/// The status of the first page at a replica, for whoever has this cookie.
async fn status(site: &Site, address: &str, cookie: &str) -> u16 {
    let client = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .unwrap();
    let host = site.origin.strip_prefix("http://").unwrap();
    let request = client
        .get(format!("http://{address}/console"))
        .header("host", host)
        .header("cookie", format!("{SESSION}={cookie}"));
    request.send().await.unwrap().status().as_u16()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_sess_1__a_browser_works_at_two_replicas_and_is_signed_out_at_both() {
    // Replicas need a database that they share.
    if std::env::var_os("TEST_DATABASE_URL").is_none() {
        eprintln!("left out: TEST_DATABASE_URL is not set");
        return;
    }
    let Some(site) = Site::prepare().await else {
        return;
    };
    let folder = site.installed.db.folder();
    let mut settings = site.installed.settings();
    settings.retain(|(name, _)| *name != "CARNET_SERVER__LISTEN");
    let places = [free_address(), free_address()];
    let _first = ServerProcess::start_at(folder, &places[0], &settings).await;
    let _second = ServerProcess::start_at(folder, &places[1], &settings).await;
    let listener = TcpListener::bind(&site.installed.address).await.unwrap();
    let (choose, chosen) = watch::channel(0);
    let passing = tokio::spawn(passing(listener, places.clone(), chosen));
    let browser = &site.browser;
    let secret = || {
        let cookie = browser.cookie(SESSION).unwrap();
        cookie["value"].as_str().unwrap().to_owned()
    };

    // Begun at one, taken back by the other.
    browser.visit("/console/sign-in/corp");
    browser.shows("Log in at Corp");
    choose.send_replace(1);
    site.log_in("ada", &[super::TWO_FACTORS]);
    site.is_signed_in("Ada Lovelace");
    choose.send_replace(0);
    browser.visit("/console");
    site.is_signed_in("Ada Lovelace");
    let cookie = secret();
    assert_eq!(status(&site, &places[1], &cookie).await, 200);

    browser.press("Sign out");
    browser.shows("Do you want to sign-out from");
    assert_eq!(status(&site, &places[1], &cookie).await, 403);
    assert_eq!(status(&site, &places[0], &cookie).await, 403);
    choose.send_replace(1);
    browser.press("Yes, sign me out");
    browser.shows("You are signed out");

    // What an operator withdraws at one stops the page at the other.
    browser.open(true);
    site.sign_in("ada");
    site.is_signed_in("Ada Lovelace");
    let cookie = secret();
    assert_eq!(status(&site, &places[1], &cookie).await, 200);
    let withdrawn = json!({ "enabled": false });
    admin(&site, &places[0], "PATCH", "memberships/owners", withdrawn).await;
    let began = Instant::now();
    while status(&site, &places[1], &cookie).await != 403 {
        assert!(began.elapsed() < Duration::from_secs(2), "still let in");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    eprintln!("stopped after {} ms", began.elapsed().as_millis());
    browser.visit("/console");
    browser.shows("No membership lets you in");
    browser.has_no_complaints();
    passing.abort();
}
