//! The pages, as HTML without a style.

use carnet_resource_server::AccessToken;

use super::super::markup::escaped;

/// What somebody who signed in sees.
pub(super) struct Account<'a> {
    pub token: &'a AccessToken,
    pub csrf: &'a str,
    pub packages: Vec<Package>,
}

/// A package of the principal.
pub(super) struct Package {
    pub name: String,
    pub files: Vec<String>,
    /// Whether the token of the session allows to publish it.
    pub may_publish: bool,
}

fn page(content: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width, initial-scale=1\"><meta name=\"color-scheme\" content=\"light dark\">\
         <title>Example registry</title></head>\n<body>\n<main>\n{content}\n</main>\n</body>\n</html>\n"
    )
}

pub(super) fn signed_out(issuer: &str) -> String {
    page(&format!(
        "<h1>Example registry</h1>\n<p>You are not signed in.</p>\n<p><a href=\"/account/sign-in\">Sign in \
         with Carnet</a>, at {}</p>",
        escaped(issuer)
    ))
}

pub(super) fn failed(why: &str) -> String {
    page(&format!(
        "<h1>You are not signed in</h1>\n<p>{}.</p>\n<p><a href=\"/account\">Back to the page</a></p>",
        escaped(why)
    ))
}

pub(super) fn account(account: &Account<'_>) -> String {
    let token = account.token;
    let person = token.person.as_ref();
    let name = person.and_then(|person| person.name.as_ref().or(person.username.as_ref()));
    let name = name.or(person.map(|person| &person.id)).map(String::as_str);
    let principal = token.principal.as_ref();
    let principal = principal.map_or("nobody", |principal| principal.name.as_str());
    page(&format!(
        "<h1>Signed in as {}</h1>\n<p>You act for {}.</p>\n<h2>Packages of {1}</h2>\n{}\n\
         <form method=\"post\" action=\"/account/sign-out\"><input type=\"hidden\" name=\"csrf\" \
         value=\"{}\"><button>Sign out</button></form>",
        escaped(name.unwrap_or_default()),
        escaped(principal),
        packages(&account.packages),
        escaped(account.csrf),
    ))
}

fn packages(packages: &[Package]) -> String {
    if packages.is_empty() {
        return "<p>There is none yet.</p>".to_owned();
    }
    let rows = packages.iter().map(|package| {
        let may = if package.may_publish {
            "this page may publish it"
        } else {
            "this page may not publish it"
        };
        format!(
            "<li>{}, with {}: {may}</li>\n",
            escaped(&package.name),
            escaped(&package.files.join(", "))
        )
    });
    format!("<ul>\n{}</ul>", rows.collect::<String>())
}
