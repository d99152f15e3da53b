//! Reads the document of an identity provider and reports every mistake.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::{IdentityProviderDocument, ProviderSecret};
use crate::documents::ReadContext;
use crate::documents::reader::Reader;
use crate::documents::trusted_issuer::{algorithms, check_issuer, networks};
use crate::model::{ProviderAuth, SecondFactor};
use crate::trust::DocumentError;

/// Longest `issuer`, `client_id`, `client_secret` and `display_name`, in bytes.
const MAX_TEXT_BYTES: usize = 512;
/// Most scopes, and values of `second_factor`.
const MAX_VALUES: usize = 32;

/// Members that answers about identity providers add.
const READ_ONLY: [&str; 3] = ["redirect_uri", "has_secret", "writes"];

pub(super) fn read(
    given: &Map<String, Value>,
    context: ReadContext<'_>,
) -> Result<IdentityProviderDocument, Vec<DocumentError>> {
    let mut reader = Reader::new(given).ignoring(&READ_ONLY);
    let issuer = required(&mut reader, "issuer");
    if !issuer.is_empty()
        && let Err(detail) = check_issuer(&issuer, context)
    {
        reader.problem("issuer", detail);
    }
    let client_id = required(&mut reader, "client_id");
    let auth_method: Option<ProviderAuth> = choice(
        &mut reader,
        "auth_method",
        &ProviderAuth::ALL.map(ProviderAuth::as_str),
    );
    let document = IdentityProviderDocument {
        display_name: short(&mut reader, "display_name"),
        client_secret: secret(&mut reader, auth_method.unwrap_or_default()),
        scopes: scopes(&mut reader),
        claims_from: choice(&mut reader, "claims_from", &["id_token", "userinfo"]),
        algorithms: algorithms(&mut reader),
        profile: profile(&mut reader, context),
        second_factor: second_factor(&mut reader),
        freshness: choice(&mut reader, "freshness", &["auth_time", "new_sign_in"]),
        logout: choice(&mut reader, "logout", &["provider", "local"]),
        ca_pem: reader.parsed("ca_pem", |pem| {
            let checked = context.material.check_certificates(pem);
            checked.map(|()| pem.to_owned())
        }),
        allow_private: networks(&mut reader),
        enabled: reader.boolean("enabled").unwrap_or(true),
        issuer,
        client_id,
        auth_method,
    };
    reader.finish(document)
}

fn short(reader: &mut Reader<'_>, name: &'static str) -> Option<String> {
    let text = reader.text(name)?;
    if text.len() > MAX_TEXT_BYTES || text.contains(char::is_control) {
        let detail =
            format!("must be at most {MAX_TEXT_BYTES} bytes long, without control characters");
        reader.problem(name, detail);
    }
    Some(text)
}

fn required(reader: &mut Reader<'_>, name: &'static str) -> String {
    if reader.value(name).is_none() {
        reader.problem(name, "must be given");
    }
    short(reader, name).unwrap_or_default()
}

/// One of the words of an enum.
fn choice<T: DeserializeOwned>(
    reader: &mut Reader<'_>,
    name: &'static str,
    words: &[&str],
) -> Option<T> {
    let value = reader.value(name)?;
    let chosen = serde_json::from_value(value.clone()).ok();
    if chosen.is_none() {
        reader.problem(name, format!("must be one of {}", words.join(", ")));
    }
    chosen
}

fn secret(reader: &mut Reader<'_>, method: ProviderAuth) -> Option<ProviderSecret> {
    if matches!(reader.value("client_secret"), Some(Value::Object(_))) {
        let detail = "must be text: `carnet apply` alone resolves {env = \"NAME\"}, where it runs";
        reader.problem("client_secret", detail);
        return None;
    }
    let text = short(reader, "client_secret")?;
    if !method.has_secret() {
        let detail = format!("must not be given: {} has no secret", method.as_str());
        reader.problem("client_secret", detail);
    }
    Some(ProviderSecret::new(text))
}

fn scopes(reader: &mut Reader<'_>) -> Option<Vec<String>> {
    let scopes = reader.texts("scopes")?;
    let is_token = |scope: &String| {
        let mut bytes = scope.bytes();
        scope.len() <= MAX_TEXT_BYTES
            && bytes.all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\')
    };
    if !scopes.iter().all(is_token) || scopes.len() > MAX_VALUES {
        let detail = format!("must be at most {MAX_VALUES} scopes (RFC 6749 section 3.3)");
        reader.problem("scopes", detail);
    }
    if !scopes.iter().any(|scope| scope == "openid") {
        reader.problem(
            "scopes",
            "must hold openid, without which there is no ID token",
        );
    }
    if scopes.iter().any(|scope| scope == "offline_access") {
        let detail = "must not hold offline_access: this server keeps no refresh token of a person";
        reader.problem("scopes", detail);
    }
    Some(scopes)
}

fn profile(reader: &mut Reader<'_>, context: ReadContext<'_>) -> Option<String> {
    let name = reader.text("profile")?;
    let mut for_people = context.profiles.for_people();
    if !for_people.any(|profile| profile.name == name) {
        let known = context.profiles.for_people();
        let known: Vec<&str> = known.map(|profile| profile.name.as_str()).collect();
        let detail = format!("must be a profile for people: {}", known.join(", "));
        reader.problem("profile", detail);
    }
    Some(name)
}

fn second_factor(reader: &mut Reader<'_>) -> SecondFactor {
    const FORMS: &str = "must be {\"acr\": [...]}, {\"amr\": [...]} or \"enforced_by_provider\"";
    let Some(value) = reader.value("second_factor") else {
        let detail = format!(
            "must be given, since nobody without a second factor may change rules: it {FORMS}"
        );
        reader.problem("second_factor", detail);
        return SecondFactor::EnforcedByProvider;
    };
    let found: Option<SecondFactor> = serde_json::from_value(value.clone()).ok();
    let is_usable = |values: &Vec<String>| {
        (1..=MAX_VALUES).contains(&values.len())
            && values.iter().all(|value| {
                (1..=MAX_TEXT_BYTES).contains(&value.len())
                    && !value.contains(|c: char| c.is_control() || c.is_whitespace())
            })
    };
    match found {
        Some(SecondFactor::Acr(values) | SecondFactor::Amr(values)) if !is_usable(&values) => {
            let detail = format!("must name 1 to {MAX_VALUES} values without spaces");
            reader.problem("second_factor", detail);
            SecondFactor::EnforcedByProvider
        }
        Some(found) => found,
        None => {
            reader.problem("second_factor", FORMS);
            SecondFactor::EnforcedByProvider
        }
    }
}
