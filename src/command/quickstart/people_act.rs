//! The act of people: they sign in at an OpenID provider, a stand-in, and memberships decide what each
//! may do.

use std::path::Path;
use std::sync::Arc;

use carnet_jose::base64url;
use carnet_stand_ins::{StandInClient, StandInPerson, StandInProvider};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::browser::{Browser, Shown, TEXT};
use super::call::Call;
use super::page_act;
use super::shell::quoted;
use super::tour::{PRINCIPAL, Tour, heading};
use super::{CommandError, listen};
use crate::clock::SystemClock;
use crate::http::{self, Serving};
use crate::ids::random;

/// The name of the identity provider.
const PROVIDER: &str = "corp";
/// The id of Carnet at the provider.
const CLIENT: &str = "carnet";
const OPERATOR: StandInPerson = StandInProvider::PEOPLE[0];
const OWNER: StandInPerson = StandInProvider::PEOPLE[1];
const VIEWER: StandInPerson = StandInProvider::PEOPLE[2];

/// The stand-in, which runs until this is closed.
#[derive(Debug)]
pub struct Desk {
    serving: Serving,
    url: String,
}

/// Signs people in, also at the registry's page. The folder of the tour gets the cookies of the
/// printed lines and the registry's secret.
pub async fn run(tour: &Tour, folder: &Path) -> Result<Desk, CommandError> {
    heading(
        "People sign in too: the operator names the company's OpenID provider, and says whom it lets in",
    );
    let secret = base64url(random::<32>());
    let desk = Desk::open(tour, &secret).await?;
    set_up(tour, &desk, &secret).await?;
    let jar = folder.join("cookies");
    println!("$ JAR={}\n$ {TEXT}", quoted(&jar.to_string_lossy()));

    heading(&format!(
        "{} signs in with his browser, and sees whom he may act for",
        OWNER.name
    ));
    let mut browser = Browser::new()?;
    sign_in(tour, &desk, &mut browser, &OWNER).await?;
    let page = account(tour, &mut browser).await?;
    page.print(200, &format!("Signed in as {}", OWNER.name))?;
    page_act::run(tour, folder, &mut browser).await?;
    sign_out(tour, &mut browser, &page).await?;

    heading(&format!(
        "{}'s membership is switched off: she gets no session, but the claims that the operator needs",
        VIEWER.name
    ));
    let mut browser = Browser::new()?;
    let refused = sign_in(tour, &desk, &mut browser, &VIEWER).await?;
    refused.print(403, "no_membership")?;
    heading("The operator switches it on: that counts at once, as does every change");
    tour.put("memberships/joel-viewers", &viewers(true), StatusCode::OK)
        .await?;
    Ok(desk)
}

/// Names the provider, and the memberships of its three people.
async fn set_up(tour: &Tour, desk: &Desk, secret: &str) -> Result<(), CommandError> {
    let created = StatusCode::CREATED;
    let provider = json!({
        "display_name": "Example Corp (stand-in)", "issuer": desk.url, "client_id": CLIENT, "client_secret": secret,
        "second_factor": { "acr": ["mfa"] },
    });
    let path = format!("identity-providers/{PROVIDER}");
    let saved = tour.put(&path, &provider, created).await?;
    if saved.get("redirect_uri").and_then(Value::as_str) != Some(&redirect_uri(tour)) {
        return Err(CommandError::Other(format!(
            "another redirect_uri than the one that is registered: {saved:#}"
        )));
    }
    println!(
        "The answer has the redirect_uri to register at the provider: {}",
        redirect_uri(tour)
    );
    let owners = membership("owner", Some(PRINCIPAL), &OWNER, true);
    let operators = membership("operator", None, &OPERATOR, true);
    for (name, membership) in [
        ("operators", operators),
        ("joel-owners", owners),
        ("joel-viewers", viewers(false)),
    ] {
        let path = format!("memberships/{name}");
        tour.put(&path, &membership, created).await?;
    }
    Ok(())
}

/// A membership of the groups of a person.
fn membership(role: &str, principal: Option<&str>, who: &StandInPerson, enabled: bool) -> Value {
    json!({
        "identity_provider": PROVIDER, "match": { "groups": who.groups }, "role": role,
        "principal": principal, "enabled": enabled,
    })
}

fn viewers(enabled: bool) -> Value {
    membership("viewer", Some(PRINCIPAL), &VIEWER, enabled)
}

fn redirect_uri(tour: &Tour) -> String {
    format!("{}/console/sign-in/{PROVIDER}/callback", tour.carnet())
}

/// Signs a person in with a second factor, and returns the answer to what the provider sends back.
async fn sign_in(
    tour: &Tour,
    desk: &Desk,
    browser: &mut Browser,
    who: &StandInPerson,
) -> Result<Shown, CommandError> {
    let assigned = |variable: &'static str| move |line: String| println!("$ {variable}=$({line})");
    println!("Carnet sends the browser to the provider:");
    let begin = format!("{}/console/sign-in/{PROVIDER}", tour.carnet());
    let begin = Call::new(Method::GET, begin).shows_location();
    let asked = browser.visit(begin, assigned("LOGIN")).await?;
    let query = asked.leads_to()?.query().unwrap_or_default();
    println!("The provider asks who it is, and sends the browser back with a code:");
    let log_in = Call::new(Method::POST, format!("{}/log-in", desk.url))
        .field("person", who.sub)
        .field("second_factor", "yes")
        .variable("request", "{LOGIN#*\\?}", query)
        .shows_location();
    let answered = browser.visit_apart(&log_in, assigned("BACK")).await?;
    println!("Carnet trades the code for an ID token, and judges it:");
    let back = answered.leads_to()?.to_string();
    let back = Call::new(Method::GET, back).at_variable("BACK");
    let shown = browser
        .visit(back, |line| println!("$ {line} | text"))
        .await?;
    if shown.status.is_redirection() {
        println!("{}, to {}", shown.status, shown.leads_to()?);
    }
    Ok(shown)
}

/// The first page of somebody who is signed in.
async fn account(tour: &Tour, browser: &mut Browser) -> Result<Shown, CommandError> {
    let home = Call::new(Method::GET, format!("{}/console", tour.carnet()));
    browser
        .visit(home, |line| {
            println!("$ PAGE=$({line}); printf '%s\\n' \"$PAGE\" | text");
        })
        .await
}

/// Signs out with the form of this page, and sees that the session is over.
async fn sign_out(tour: &Tour, browser: &mut Browser, page: &Shown) -> Result<(), CommandError> {
    heading("He signs out. Forms hold a token of the session, so that no other site can send them");
    let csrf = page.hidden("csrf")?;
    println!(
        "$ CSRF=$(printf '%s\\n' \"$PAGE\" | sed -n 's/.*name=\"csrf\" value=\"\\([^\"]*\\)\".*/\\1/p' | sed -n 1p)"
    );
    let out = format!("{}/console/sign-out", tour.carnet());
    let out = Call::new(Method::POST, out).variable("csrf", "CSRF", &csrf);
    let left = browser
        .visit(out, |line| println!("$ {line} | text"))
        .await?;
    left.print(200, "You are signed out here")?;
    println!("The session is over:");
    let home = Call::new(Method::GET, format!("{}/console", tour.carnet())).shows_location();
    let home = browser
        .visit(home, |line| println!("$ {line}; echo"))
        .await?;
    let to = home.leads_to()?;
    println!("{}, to {to}", home.status);
    if to.path() == "/console/sign-in" {
        Ok(())
    } else {
        Err(CommandError::Other("the session goes on".to_owned()))
    }
}

impl Desk {
    /// Serves the stand-in, which knows Carnet by this secret.
    async fn open(tour: &Tour, secret: &str) -> Result<Self, CommandError> {
        let other = |error: &dyn std::fmt::Display| CommandError::Other(error.to_string());
        let (listener, url) = listen_apart().await?;
        println!("provider {url} (a stand-in for the company's: three people, no passwords)");
        let client = StandInClient {
            id: CLIENT.to_owned(),
            secret: Some(secret.to_owned()),
            redirect_uris: vec![redirect_uri(tour)],
            post_logout_redirect_uris: vec![format!("{}/console/signed-out", tour.carnet())],
        };
        let provider = StandInProvider::new(&url, client, Arc::new(SystemClock));
        let provider = provider.map_err(|error| other(&error))?;
        Ok(Self {
            serving: http::serve_on(provider.router(), listener),
            url,
        })
    }

    /// Says what to try in a browser.
    pub fn invite(tour: &Tour) {
        println!(
            "\nIn a browser: {}/console\nThe registry's page, on which people sign in with Carnet: {}\nThe provider lets you be {} (operator), {} (owner of {PRINCIPAL}) or {} (viewer of {PRINCIPAL}).",
            tour.carnet(),
            page_act::page(tour),
            OPERATOR.name,
            OWNER.name,
            VIEWER.name
        );
    }

    pub async fn close(self) {
        self.serving.stop().await;
    }
}

/// A listener on a free port of another loopback address than that of the other servers, if this
/// machine has one, and its URL. Cookies ignore ports: at the same address each would get those of
/// the other.
async fn listen_apart() -> Result<(TcpListener, String), CommandError> {
    for address in ["127.0.0.2:0", "[::1]:0"] {
        if let Ok(listener) = TcpListener::bind(address).await
            && let Ok(address) = listener.local_addr()
        {
            return Ok((listener, format!("http://{address}")));
        }
    }
    listen().await
}
