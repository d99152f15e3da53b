//! What is asked of the audit log, and the filter that it means.

use std::borrow::Cow;
use std::net::IpAddr;
use std::str::FromStr;

use serde::Deserialize;

use super::super::{Author, Rejected, find};
use super::AuditRefused;
use crate::app::App;
use crate::audit::Outcome;
use crate::clock::Timestamp;
use crate::documents::FederatedCredentialDocument;
use crate::ids::{CredentialId, EventId, PersonId};
use crate::own_tokens::FEDERATED;
use crate::reason::Reason;
use crate::store::AuditFilter;

const PAGE: u64 = 50;
const LARGEST_PAGE: u64 = 500;

/// A question to the audit log, as text: the parameters of `GET /admin/v1/audit-events`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditQuery {
    pub credential: Option<String>,
    pub principal: Option<String>,
    pub outcome: Option<String>,
    pub reason: Option<String>,
    pub repository: Option<String>,
    pub error_id: Option<String>,
    pub token_id: Option<String>,
    pub address: Option<String>,
    pub trusted_issuer: Option<String>,
    pub resource: Option<String>,
    pub client_id: Option<String>,
    pub person: Option<String>,
    pub assertion: Option<String>,
    pub since: Option<String>,
    pub until: Option<String>,
    pub limit: Option<u64>,
    pub cursor: Option<String>,
    /// Only events of tokens and publications. The pages about runs ask for it.
    #[serde(skip)]
    pub of_runs: bool,
}

/// A parsed query.
#[derive(Debug)]
pub(super) struct Search {
    pub filter: AuditFilter,
    /// The id before which the page begins.
    pub before: Option<EventId>,
    pub limit: usize,
    /// The name of the principal that the list is for, if the token is limited to principals.
    pub reader: Option<String>,
}

impl AuditQuery {
    /// Checks the query, and looks up the rule and the principal that it names.
    pub(super) async fn into_search(
        mut self,
        app: &App,
        author: &Author,
    ) -> Result<Search, AuditRefused> {
        if let Some(principals) = &author.principals {
            // A token limited to principals lists the events of one of them.
            if let (None, [only]) = (&self.principal, principals.as_slice()) {
                self.principal = Some(only.clone());
            }
            let named = self.principal.as_deref();
            if !named.is_some_and(|principal| author.may_act_for(principal)) {
                return Err(AuditRefused::query(
                    "principal must be one of the principals that the token is limited to",
                ));
            }
        }
        let limit = self.limit.unwrap_or(PAGE);
        if !(1..=LARGEST_PAGE).contains(&limit) {
            return Err(AuditRefused::query("limit must be 1 to 500"));
        }
        let before = parsed(
            self.cursor.as_deref(),
            "cursor must be the next_cursor of another page of this list",
        )
        .map_err(AuditRefused::Query)?;
        let credential = self.credential(app, author).await?;
        Ok(Search {
            before,
            limit: usize::try_from(limit).unwrap_or(usize::MAX),
            reader: self
                .principal
                .clone()
                .filter(|_| author.principals.is_some()),
            filter: self
                .filter(app, author, credential)
                .map_err(AuditRefused::Query)?,
        })
    }

    /// The rule that is named; an id also finds the events of a deleted rule.
    async fn credential(
        &self,
        app: &App,
        author: &Author,
    ) -> Result<Option<CredentialId>, AuditRefused> {
        let Some(name) = &self.credential else {
            return Ok(None);
        };
        if let Ok(id) = name.parse() {
            return Ok(Some(id));
        }
        match find::<FederatedCredentialDocument>(app, name, author).await {
            Ok(stored) => Ok(stored.id.parse().ok()),
            Err(Rejected::NotFound) => Err(AuditRefused::Query(format!(
                "credential: there is no federated credential {name}, or the token may not read it; one that was deleted is found by its id"
            ).into())),
            Err(other) => Err(other.into()),
        }
    }

    /// The id of the principal that is named. A query for a rule alone, or for the client that is
    /// named after it, means its principal, because events are indexed by principal.
    fn principal_id(&self, app: &App, credential: Option<CredentialId>) -> Option<String> {
        let rules = app.rules();
        let id_of = |name: &str| {
            rules
                .principal(&name.to_ascii_lowercase())
                .map(|principal| principal.id.clone())
        };
        // By name, or by the id, which also finds a deleted principal.
        if let Some(name) = &self.principal {
            return Some(id_of(name).unwrap_or_else(|| name.clone()));
        }
        let client = self.client_id.as_deref();
        let named_after = client.and_then(|id| id.strip_prefix(FEDERATED)?.parse().ok());
        let rule = rules.credential(credential.or(named_after)?)?;
        id_of(&rule.principal)
    }

    /// The filter; an error says which parameter must be changed and how.
    fn filter(
        self,
        app: &App,
        author: &Author,
        credential: Option<CredentialId>,
    ) -> Result<AuditFilter, Cow<'static, str>> {
        let outcome = match &self.outcome {
            None => None,
            Some(word) => {
                let words = || Outcome::ALL.map(Outcome::as_str).join(", ");
                let found = Outcome::from_word(word);
                Some(found.ok_or_else(|| format!("outcome must be one of {}", words()))?)
            }
        };
        let principal = self.principal_id(app, credential);
        Ok(AuditFilter {
            credential,
            principal,
            outcome,
            since: time(self.since.as_deref(), "since")?,
            until: time(self.until.as_deref(), "until")?,
            error_id: parsed(
                self.error_id.as_deref(),
                "error_id must be the id of an event or the error_id of a refusal: ev_ and 26 characters",
            )?,
            reason: parsed::<Reason>(
                self.reason.as_deref(),
                "reason must be a reason code of a token request, for example env_mismatch; what the gateway refused has the outcome publication_refused",
            )?,
            repository: self.repository,
            token_id: self.token_id,
            address: parsed::<IpAddr>(
                self.address.as_deref(),
                "address must be an IP address, for example 192.0.2.1",
            )?,
            trusted_issuer: self.trusted_issuer,
            resource: self.resource,
            client_id: self.client_id,
            person: parsed::<PersonId>(
                self.person.as_deref(),
                "person must be the id of a person: ps_ and 26 characters",
            )?,
            assertion: self.assertion,
            of_runs: self.of_runs,
            of_credentials: !author.sees_everything,
            for_principal: author.principals.is_some(),
        })
    }
}

fn parsed<T: FromStr>(
    text: Option<&str>,
    problem: &'static str,
) -> Result<Option<T>, Cow<'static, str>> {
    text.map(str::parse)
        .transpose()
        .map_err(|_| Cow::Borrowed(problem))
}

fn time(text: Option<&str>, name: &str) -> Result<Option<Timestamp>, Cow<'static, str>> {
    let Some(text) = text else {
        return Ok(None);
    };
    let time = Timestamp::parse_rfc3339(text);
    time.map(Some).ok_or_else(|| {
        format!("{name} must be a time in RFC 3339, for example 2027-01-31T00:00:00Z").into()
    })
}
