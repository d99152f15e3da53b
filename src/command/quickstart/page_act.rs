//! The act of a registry's web site: it is a client of Carnet, with which a person signs in there and
//! lets it act for them.

use std::path::{Path, PathBuf};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::CommandError;
use super::browser::{Browser, Shown};
use super::call::Call;
use super::certificate::create;
use super::tour::{PRINCIPAL, Tour, heading};

/// The id of the registry's site as a client.
pub const CLIENT: &str = "registry-site";

/// The file with the client secret, in the folder of the tour.
pub fn secret_file(folder: &Path) -> PathBuf {
    folder.join("registry-site-secret")
}

/// Signs the person of this browser in at the registry's page; he is signed in at Carnet.
pub async fn run(tour: &Tour, folder: &Path, browser: &mut Browser) -> Result<(), CommandError> {
    heading(
        "A registry's web site signs people in with Carnet: the operator registers it as a client",
    );
    set_up(tour, folder).await?;
    heading(
        "He opens the registry's page. It sends him to Carnet, which asks him what the page may do",
    );
    let begin = Call::new(Method::GET, format!("{}/sign-in", page(tour))).shows_location();
    let asked = browser
        .visit(begin, |line| println!("$ ASKED=$({line})"))
        .await?;
    let consent = Call::new(Method::GET, asked.leads_to()?.to_string()).at_variable("ASKED");
    let consent = browser
        .visit(consent, |line| {
            println!("$ CONSENT=$({line}); printf '%s\\n' \"$CONSENT\" | text");
        })
        .await?;
    consent.print(200, "Let The example registry act for you?")?;
    heading("He agrees, and is back at the registry, which trades its code for a token");
    let back = agree(tour, browser, &consent).await?;
    let back = Call::new(Method::GET, back).at_variable("CODE");
    let back = browser.visit(back, |line| println!("$ {line}")).await?;
    println!("{}, to {}", back.status, back.leads_to()?);
    println!("The page shows his packages, and asks the token what it may do, as an upload would:");
    let shown = browser
        .visit(Call::new(Method::GET, page(tour)), |line| {
            println!("$ {line} | text");
        })
        .await?;
    shown.print(200, "widgets, with 1.0.0: this page may publish it")
}

/// The registry's page.
pub fn page(tour: &Tour) -> String {
    format!("{}/account", tour.registry())
}

/// Registers the site, and says what owners may let software do at the registry.
async fn set_up(tour: &Tour, folder: &Path) -> Result<(), CommandError> {
    let registry = json!({
        "resource": format!("{}/", tour.registry()), "actions": ["create", "publish"],
        "people": { "owner": ["publish"] },
    });
    tour.put("resource-servers/registry", &registry, StatusCode::OK)
        .await?;
    let client = json!({
        "auth_method": "client_secret_basic", "grant_types": ["authorization_code"],
        "redirect_uris": [format!("{}/callback", page(tour))], "display_name": "The example registry",
        "scopes": ["openid", "profile"],
        "permissions": [{ "resource_server": "registry", "actions": ["publish"], "packages": ["*"] }],
    });
    let path = format!("clients/{CLIENT}");
    let saved = tour.put(&path, &client, StatusCode::CREATED).await?;
    let secret = saved.get("client_secret").and_then(Value::as_str);
    let secret = secret
        .ok_or_else(|| CommandError::Other("the answer holds no client secret".to_owned()))?;
    let file = secret_file(folder);
    create(&file, secret.as_bytes())
        .map_err(|error| CommandError::File(file.display().to_string(), error))?;
    println!("The answer has the client secret, which the registry reads from a file.");
    Ok(())
}

/// Agrees on the page of consent, and returns the URL to which it leads.
async fn agree(
    tour: &Tour,
    browser: &mut Browser,
    consent: &Shown,
) -> Result<String, CommandError> {
    let (csrf, request) = (consent.hidden("csrf")?, consent.hidden("request")?);
    for (variable, name) in [("CSRF", "csrf"), ("REQUEST", "request")] {
        println!(
            "$ {variable}=$(printf '%s\\n' \"$CONSENT\" | sed -n 's/.*name=\"{name}\" value=\"\\([^\"]*\\)\".*/\\1/p' | sed -n 1p)"
        );
    }
    let call = Call::new(Method::POST, format!("{}/authorize/consent", tour.carnet()))
        .variable("csrf", "CSRF", &csrf)
        .variable("request", "REQUEST", &request)
        .field("principal", PRINCIPAL)
        .field("decision", "allow");
    let answer = browser
        .visit(call, |line| {
            println!(
                "$ CODE=$({line} | sed -n 's/.*http-equiv=\"refresh\" content=\"0; url=\\([^\"]*\\)\".*/\\1/p' | sed 's/&#38;/\\&/g')"
            );
        })
        .await?;
    let to = answer.page.split_once("content=\"0; url=");
    let to = to.and_then(|(_, rest)| rest.split_once('"'));
    let to = to.map(|(to, _)| to.replace("&#38;", "&"));
    to.ok_or_else(|| {
        CommandError::Other(format!(
            "no page that leads back, but {}: {}",
            answer.status,
            answer.text()
        ))
    })
}
