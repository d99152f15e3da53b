//! The page on which a person sees what a client asks for, and the one that leads back to it.

use askama::Template;
use url::Url;

use super::page::{Frame, span};
use crate::app::App;
use crate::authorization::{AuthorizationRequest, Of, Question, RedirectTo};
use crate::people::session::Session;
use crate::principal::Choice;
use crate::scope::{
    ADMIN, ADMIN_CREDENTIALS, ADMIN_CREDENTIALS_OF, ADMIN_READ, ScopeSet, limited_scope,
};

/// What the client could do for one principal.
#[derive(Debug)]
pub struct ForPrincipal {
    pub name: String,
    pub entries: Vec<Entry>,
    pub chosen: bool,
}

/// Actions on packages.
#[derive(Debug)]
pub struct Entry {
    pub actions: Vec<String>,
    pub packages: Vec<String>,
    /// Whether a pattern covers every package.
    pub is_all: bool,
    pub version: Option<String>,
    pub digest: Option<String>,
}

#[derive(Debug, Template)]
#[template(path = "consent.html")]
pub struct ConsentPage {
    pub frame: Frame,
    pub csrf: String,
    /// The path of the form.
    pub action: String,
    /// The request, sealed.
    pub request: String,
    /// Where a new proof of identity leads back to, if one is needed first.
    pub step_up: Option<String>,
    pub who: String,
    pub provider: String,
    pub client: String,
    pub client_id: String,
    pub homepage: Option<Url>,
    pub returns_to: String,
    /// Whether any program on the person's machine could be the client.
    pub is_native: bool,
    /// The resource of the registry.
    pub registry: Option<String>,
    pub principals: Vec<ForPrincipal>,
    /// What the client could do at this server, in words.
    pub admin: Vec<String>,
    /// What the client learns of the person.
    pub learns: Vec<&'static str>,
    pub lifetime: String,
    pub error: Option<&'static str>,
}

/// Leads back to the client, which the browser does by itself.
#[derive(Debug, Template)]
#[template(path = "return.html")]
pub struct ReturnPage {
    pub frame: Frame,
    pub location: RedirectTo,
    /// The host of the client.
    pub to: String,
}

impl ConsentPage {
    /// What is shown of a request, sealed as `request`. With `step_up`, the person first has to prove
    /// again who they are.
    pub fn new(
        app: &App,
        session: &Session,
        (asked, question): (&AuthorizationRequest, &Question),
        (request, step_up, error): (String, Option<String>, Option<&'static str>),
    ) -> Self {
        let client = &asked.client;
        let preselected = asked.asked.access.principal.as_deref();
        let (registry, principals, admin) = match &question.of {
            Of::Registry { server, choices } => {
                let only = choices.len() == 1;
                let chosen = |choice: &Choice| {
                    let name = &choice.principal.name;
                    only || preselected.is_some_and(|wanted| wanted.eq_ignore_ascii_case(name))
                };
                let shown = choices.iter().map(|choice| ForPrincipal {
                    chosen: chosen(choice),
                    ..for_principal(choice)
                });
                (Some(server.resource.clone()), shown.collect(), Vec::new())
            }
            Of::Admin(held) => (None, Vec::new(), in_words(&held.scope)),
            Of::Userinfo => (None, Vec::new(), Vec::new()),
        };
        let openid = asked.asked.openid;
        // The client can read its token, which names the person to the registry or the admin API.
        let is_named = !matches!(question.of, Of::Userinfo);
        let learns = [
            (
                openid.openid || is_named,
                "who you are: an id of this server, and how you signed in",
            ),
            (openid.profile || is_named, "your name and user name"),
            (openid.email, "your e-mail address"),
        ];
        let name = client.display_name.as_ref();
        Self {
            frame: Frame::new(&app.config),
            csrf: session.csrf.as_str().to_owned(),
            action: format!("{}/authorize/consent", app.config.own.path()),
            request,
            step_up,
            who: session.shown_name().to_owned(),
            provider: session.provider.display_name.clone(),
            client: name.unwrap_or(&client.client_id).clone(),
            client_id: client.client_id.clone(),
            homepage: client
                .homepage
                .as_ref()
                .and_then(|url| Url::parse(url).ok()),
            returns_to: asked.answer.shown_host(),
            is_native: asked.answer.is_native(),
            registry,
            principals,
            admin,
            learns: learns
                .into_iter()
                .filter_map(|(is_asked, what)| is_asked.then_some(what))
                .collect(),
            lifetime: span(question.token_lifetime_seconds),
            error,
        }
    }
}

fn for_principal(choice: &Choice) -> ForPrincipal {
    let entries = choice.details.iter().map(|detail| Entry {
        actions: detail.actions.clone(),
        is_all: detail.packages.iter().any(|pattern| pattern == "*"),
        packages: detail.packages.clone(),
        version: detail.version.clone(),
        digest: detail.digest.clone(),
    });
    ForPrincipal {
        name: choice.principal.name.clone(),
        entries: entries.collect(),
        chosen: false,
    }
}

/// What the scopes of the admin API let a client do.
fn in_words(scope: &ScopeSet) -> Vec<String> {
    let words = scope.tokens().map(|token| match limited_scope(token) {
        Some((ADMIN_CREDENTIALS_OF, name)) => {
            format!("read and change the rules of {name}, and read its runs")
        }
        Some((_, name)) => format!("read the rules and runs of {name}"),
        None => match token {
            ADMIN => "read and change everything on this server",
            ADMIN_READ => "read everything on this server",
            ADMIN_CREDENTIALS => "read and change the rules of all principals",
            other => other,
        }
        .to_owned(),
    });
    words.collect()
}
