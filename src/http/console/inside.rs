//! Pages for people who are signed in: who they are, what they may see and change, and what every
//! such page shows.

use std::net::IpAddr;
use std::sync::Arc;

use askama::Template;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequestParts, OriginalUri};
use axum::http::request::Parts;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};

use super::account::answer_unless_live;
use super::links::Links;
use super::page::{Frame, render};
use super::posted::{Fields, Posted, posted};
use super::refused::{Failure, failed, no_page};
use super::visitor::Visitor;
use crate::admin::{self, Author, Catalog, Rejected};
use crate::app::App;
use crate::model::{Principal, Role, Snapshot};
use crate::people::ReturnTo;
use crate::people::session::{Fresh, Session, Write};
use crate::reason::Reason;

const CHANGED: &str = "It was changed meanwhile";
const NOT_CHANGED: &str = "Nothing was changed";

/// The answer that is sent instead of what was asked for.
#[derive(Debug)]
pub struct Instead(Box<Response>);

impl From<Response> for Instead {
    fn from(answer: Response) -> Self {
        Self(Box::new(answer))
    }
}

impl IntoResponse for Instead {
    fn into_response(self) -> Response {
        *self.0
    }
}

/// A person who is signed in, and the request.
#[derive(Debug)]
pub struct Inside {
    pub app: Arc<App>,
    pub session: Box<Session>,
    pub visitor: Visitor,
    pub links: Links,
    uri: Uri,
}

impl FromRequestParts<Arc<App>> for Inside {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Response> {
        let Ok(visitor) = Visitor::from_request_parts(parts, app).await;
        let whole = parts.extensions.get().cloned();
        let uri = whole.map_or_else(|| parts.uri.clone(), |OriginalUri(uri)| uri);
        let session = answer_unless_live(app, &visitor).await?;
        Ok(Self {
            app: app.clone(),
            session,
            visitor,
            links: Links::new(&app.config.own),
            uri,
        })
    }
}

/// A principal, and what the person may do there.
#[derive(Debug)]
pub struct Place {
    pub principal: Arc<Principal>,
    /// Whether the person writes the principal's rules.
    pub may_write: bool,
    /// The author who reads for the person.
    pub reader: Author,
}

impl Place {
    pub fn name(&self) -> &str {
        &self.principal.name
    }

    /// The author of what is tried or changed here, limited to the principal.
    pub fn author(&self) -> Author {
        self.reader.clone().limited_to(self.name())
    }
}

/// What the pages show around their content.
#[derive(Debug)]
pub struct Shell {
    pub csrf: String,
    /// The person, by the best name that the provider gave.
    pub who: String,
    /// The path to the page, from the first one: text and link.
    pub crumbs: Vec<(String, String)>,
}

/// Asks the person to prove anew who they are.
#[derive(Debug, Template)]
#[template(path = "confirm.html")]
struct ConfirmPage {
    frame: Frame,
    shell: Shell,
    /// Where the person wants to go.
    return_to: String,
}

/// Says what was not done, and why.
#[derive(Debug, Template)]
#[template(path = "not_done.html")]
struct NotDonePage {
    frame: Frame,
    shell: Shell,
    heading: &'static str,
    told: Vec<String>,
    back: String,
}

/// Whether a change needs a recent proof of identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    Recent,
    /// What only takes rights away needs none.
    Any,
}

impl Inside {
    pub fn address(&self) -> Option<IpAddr> {
        self.visitor.address
    }

    pub fn frame(&self) -> Frame {
        Frame::new(&self.app.config)
    }

    /// What stands around a page, below these pages.
    pub fn shell<const N: usize>(&self, crumbs: [(&str, String); N]) -> Shell {
        Shell {
            csrf: self.session.csrf.as_str().to_owned(),
            who: self.session.shown_name().to_owned(),
            crumbs: crumbs
                .into_iter()
                .map(|(text, link)| (text.to_owned(), link))
                .collect(),
        }
    }

    /// The author who reads for the person.
    pub fn reader(&self, rules: &Snapshot) -> Author {
        Author::reader(&self.session, rules, self.address())
    }

    /// The principal of this name. One that the person has no role at does not exist for them.
    pub async fn at(&self, name: &str) -> Result<Place, Instead> {
        let rules = self.app.rules();
        let held = &self.session.roles;
        let found = rules.principal(&name.to_ascii_lowercase());
        let found = found.filter(|_| held.may_read_rules_of(name));
        let Some(principal) = found.cloned() else {
            return Err(self.not_found().await);
        };
        let reader = self.reader(&rules);
        let reader = if held.may_read_all() {
            reader
        } else {
            reader.limited_to(&principal.name)
        };
        Ok(Place {
            may_write: held.may_write_rules_of(name),
            principal,
            reader,
        })
    }

    /// The author of a change to the rules of a principal. The author is limited to the principal for
    /// operators too: what they save here is not vouched for, unless they say so by a press of its
    /// own.
    pub fn writer(&self, place: &Place, proof: Proof) -> Result<Author, Instead> {
        if !place.may_write {
            return Err(self.forbidden());
        }
        let author = place.author();
        self.may_write_now(self.wanted_at(place), proof, &author)?;
        Ok(author)
    }

    /// The author of what is tried at a principal, which costs as much as a change.
    pub fn trier(&self, place: &Place) -> Result<Author, Instead> {
        let author = place.author();
        let taken = self.app.limits.take_write(&author.subject);
        taken.map_err(|refusal| self.failed(&refusal.into()))?;
        Ok(author)
    }

    /// What the rules of a principal may name.
    pub async fn catalog(&self, place: &Place) -> Result<Catalog, Instead> {
        let back = || self.links.home().to_owned();
        match admin::catalog(&self.app, &place.reader, place.name()) {
            Ok(catalog) => Ok(catalog),
            Err(rejected) => Err(self.rejected(rejected, back()).await),
        }
    }

    /// The author of a change to the server.
    pub fn operator(&self, proof: Proof) -> Result<Author, Instead> {
        if !self.session.roles.is_operator() {
            return Err(self.forbidden());
        }
        let author = Author::operator(&self.session, &self.app.rules(), self.address());
        self.may_write_now(Write::Operator, proof, &author)?;
        Ok(author)
    }

    /// Whether the proof of identity is recent enough for a change at a principal. It is asked for
    /// before anything is typed.
    pub fn freshness(&self, place: &Place) -> Fresh {
        self.session.freshness(&self.app, self.wanted_at(place))
    }

    fn wanted_at(&self, place: &Place) -> Write {
        match self.session.roles.at(place.name()) {
            Some(held) if held.role == Role::Owner => Write::Rules,
            _ => Write::Operator,
        }
    }

    /// The page that asks for a recent proof of identity, if there is none.
    pub fn ask_to_confirm(&self, fresh: Fresh) -> Result<(), Instead> {
        match fresh {
            Fresh::Until(_) => Ok(()),
            Fresh::StepUp => Err(self.confirm().into()),
            Fresh::Never(reason) => Err(self.failed(&Failure::of(reason))),
        }
    }

    fn may_write_now(&self, wanted: Write, proof: Proof, author: &Author) -> Result<(), Instead> {
        if proof == Proof::Recent {
            self.ask_to_confirm(self.session.freshness(&self.app, wanted))?;
        }
        let taken = self.app.limits.take_write(&author.subject);
        taken.map_err(|refusal| self.failed(&refusal.into()))
    }

    /// The page that asks for a new proof of identity, and leads back to this one, or to the page
    /// whose button was pressed.
    fn confirm(&self) -> Response {
        let path = self.uri.path();
        let below = path
            .strip_prefix(self.app.config.own.path())
            .unwrap_or(path);
        let pressed_at = ["/change", "/delete"]
            .iter()
            .find_map(|end| below.strip_suffix(end));
        let pressed_at = ReturnTo::read(pressed_at.unwrap_or(below));
        let is_page = self.visitor.here != ReturnTo::default();
        let return_to = if is_page {
            &self.visitor.here
        } else {
            &pressed_at
        };
        let page = ConfirmPage {
            frame: self.frame(),
            shell: self.shell([]),
            return_to: return_to.as_str().to_owned(),
        };
        render(&self.app, StatusCode::FORBIDDEN, &page, None)
    }

    /// The fields of a form of this session.
    pub fn fields(&self, body: Result<Bytes, BytesRejection>) -> Result<Fields, Instead> {
        match posted(&self.app, &self.visitor, &self.session, body)? {
            Posted::Now(fields) => Ok(fields),
            Posted::Before(_) => Err(self.failed(&Failure::of(Reason::CsrfInvalid))),
        }
    }

    pub fn failed(&self, failure: &Failure) -> Instead {
        Instead::from(failed(&self.app, &self.visitor, failure))
    }

    pub async fn not_found(&self) -> Instead {
        no_page(self.app.clone(), &self.visitor, self.uri.clone())
            .await
            .into()
    }

    /// The answer to a change that was not made, with a way back.
    pub async fn rejected(&self, rejected: Rejected, back: String) -> Instead {
        let (status, heading, mut told) = match &rejected {
            Rejected::NotFound => return self.not_found().await,
            Rejected::Forbidden => return self.forbidden(),
            Rejected::Limited(refusal) => return self.failed(&(**refusal).clone().into()),
            Rejected::Unavailable(why) => {
                return self.failed(&Failure {
                    detail: Some(why.clone()),
                    retry_after: Some(1),
                    ..Failure::of(Reason::DatabaseUnavailable)
                });
            }
            Rejected::Changed => (StatusCode::CONFLICT, CHANGED, Vec::new()),
            Rejected::InUse(_) => (StatusCode::CONFLICT, "It is still in use", Vec::new()),
            Rejected::Invalid(_)
            | Rejected::NoKeys(_)
            | Rejected::Exists(_)
            | Rejected::Ambiguous(_) => (StatusCode::BAD_REQUEST, NOT_CHANGED, Vec::new()),
        };
        match rejected.in_document() {
            Some(problems) => told.extend(
                problems
                    .iter()
                    .map(|problem| format!("{} {}", problem.pointer, problem.detail)),
            ),
            None => told.push(rejected.to_string()),
        }
        Instead::from(self.not_done(status, heading, told, back))
    }

    /// The answer to a change that the role of the person does not permit.
    pub fn forbidden(&self) -> Instead {
        self.app.limits.note_refusal(self.address());
        tracing::info!(person = %self.session.person.id, path = self.uri.path(), "a change is not permitted");
        let told = "None of your roles permits this change. An owner of the principal, or an operator, can make it.";
        let back = self.links.home().to_owned();
        let status = StatusCode::FORBIDDEN;
        Instead::from(self.not_done(status, "You may not do this", vec![told.to_owned()], back))
    }

    /// The page about what was not done.
    pub fn not_done(
        &self,
        status: StatusCode,
        heading: &'static str,
        told: Vec<String>,
        back: String,
    ) -> Response {
        let page = NotDonePage {
            frame: self.frame(),
            shell: self.shell([]),
            heading,
            told,
            back,
        };
        render(&self.app, status, &page, None)
    }
}
