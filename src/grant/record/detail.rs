//! The detail of an audit event: what the event of a token request holds beside its columns, as JSON.

use std::borrow::Cow;

use carnet_resource_server::{Actor, Confirmation};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::super::GrantRequest;
use crate::assertion::AssertionContent;
use crate::audit::MAX_DETAIL_BYTES;
use crate::ids::{self, CredentialId, EventId};
use crate::json::{element_bytes, json_bytes};
use crate::principal::{AccessRequest, DetailRequest};
use crate::refusal::{Mismatch, Refusal};
use crate::trust::{MatchedRule, visit_claims_read};

/// Claims that take more bytes than this as JSON are not stored.
const MAX_CLAIMS_BYTES: usize = 3 * 1024;
/// Limit of each list that a request asked for, and of each value of a refusal, in bytes of JSON.
const MAX_REQUESTED_BYTES: usize = 1024;
const MAX_FACT_BYTES: usize = 512;
/// How many rules and mismatches remain when the detail has to be shortened.
const SHORTENED: usize = 10;
/// Initial capacity; the detail of most audit events fits into it.
const TYPICAL_DETAIL_BYTES: usize = 1024;

/// The JSON in the `detail` column of a token request's audit event.
#[derive(Default, Serialize)]
pub(super) struct EventDetail<'a> {
    pub(super) grant_type: &'static str,
    /// What the request asked for beside the resource.
    #[serde(skip_serializing_if = "Requested::is_empty")]
    pub(super) requested: Requested<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) workload: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) workload_url: Option<String>,
    /// See [`claims_read`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) claims: Option<ClaimsRead<'a>>,
    /// Whether `claims` were left out because of their size.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) claims_left_out: bool,
    /// For a used assertion: its first use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) first_use: Option<FirstUse>,
    /// The `jti` of the token that was exchanged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) subject_token: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) act: Option<&'a Actor>,
    /// The key that the token is bound to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cnf: Option<&'a Confirmation>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) scope: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) expires_at: Option<String>,
    /// How many permissions did not fit into the token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) entries_left_out: Option<usize>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) credentials: Vec<GrantedBy>,
    /// How many more rules granted the token than `credentials` lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) credentials_left_out: Option<usize>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) mismatches: Vec<Mismatch>,
    /// The value of the request that was refused, and the values that would be accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) received: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) permitted: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) detail: Option<&'a str>,
}

/// Parameters of the request that have no column of their own.
#[derive(Default, Serialize)]
pub(super) struct Requested<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    principal: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
    /// The resource server whose front door the request came through, and the package that it asked
    /// a key for.
    #[serde(skip_serializing_if = "Option::is_none")]
    front_door: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    package: Option<&'a str>,
    /// All of them, if there are several.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    resource: &'a [String],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    audience: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    authorization_details: Option<Vec<Map<String, Value>>>,
    /// Parameters that the request had and that are not kept.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    left_out: Vec<&'static str>,
}

impl<'a> Requested<'a> {
    fn of(access: &'a AccessRequest) -> Self {
        let at = access.front_door.as_ref();
        Self {
            principal: access.principal.as_deref(),
            scope: access.scope.as_ref().map(ToString::to_string),
            front_door: at.map(|at| at.resource_server.as_str()),
            package: at.and_then(|at| at.package.as_deref()),
            left_out: access
                .details
                .iter()
                .map(|_| "authorization_details")
                .collect(),
            ..Self::default()
        }
    }

    /// Adds the parameters that only events of refusals keep, those that are not too long.
    fn keep_lists(&mut self, access: &'a AccessRequest) {
        self.left_out.clear();
        let several = |list: &[String]| list.len() > 1;
        for (name, kept, list) in [
            ("resource", &mut self.resource, &access.resources),
            ("audience", &mut self.audience, &access.audiences),
        ] {
            if json_bytes(list) > MAX_REQUESTED_BYTES {
                self.left_out.push(name);
            } else if name == "audience" || several(list) {
                *kept = list;
            }
        }
        let details: Option<Vec<Map<String, Value>>> = access
            .details
            .as_ref()
            .map(|details| details.iter().map(as_requested).collect());
        let fits = details
            .as_ref()
            .is_none_or(|details| json_bytes(details) <= MAX_REQUESTED_BYTES);
        if fits {
            self.authorization_details = details;
        } else {
            self.left_out.push("authorization_details");
        }
    }

    /// Drops what [`keep_lists`](Self::keep_lists) added.
    fn drop_lists(&mut self) {
        for (name, list) in [
            ("resource", &mut self.resource),
            ("audience", &mut self.audience),
        ] {
            if !list.is_empty() {
                *list = &[];
                self.left_out.push(name);
            }
        }
        if self.authorization_details.take().is_some() {
            self.left_out.push("authorization_details");
        }
    }

    fn is_empty(&self) -> bool {
        self.principal.is_none()
            && self.scope.is_none()
            && self.front_door.is_none()
            && self.resource.is_empty()
            && self.audience.is_empty()
            && self.authorization_details.is_none()
            && self.left_out.is_empty()
    }
}

/// An entry of `authorization_details` as it was requested.
fn as_requested(entry: &DetailRequest) -> Map<String, Value> {
    let members = [
        ("type", json!(entry.kind)),
        ("actions", json!(entry.actions)),
        ("packages", json!(entry.packages)),
        ("owner", json!(entry.owner)),
        ("version", json!(entry.version)),
        ("digest", json!(entry.digest)),
        ("locations", json!(entry.locations)),
    ];
    members
        .into_iter()
        .filter(|(_, value)| !value.is_null())
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

/// A value of a refusal in at most [`MAX_FACT_BYTES`]: of a list the first elements.
fn brief(value: &Value) -> Value {
    if json_bytes(value) <= MAX_FACT_BYTES {
        return value.clone();
    }
    let Value::Array(elements) = value else {
        return json!({ "bytes": json_bytes(value) });
    };
    let mut room = MAX_FACT_BYTES;
    let fits = |element: &&Value| {
        let left = room.checked_sub(element_bytes(*element));
        room = left.unwrap_or_default();
        left.is_some()
    };
    let mut kept: Vec<Value> = elements.iter().take_while(fits).cloned().collect();
    let more = elements.len().saturating_sub(kept.len());
    kept.push(format!("... ({more} more)").into());
    Value::Array(kept)
}

/// The first use of an assertion that was presented again.
#[derive(Serialize)]
pub(super) struct FirstUse {
    event: EventId,
    at: String,
}

impl FirstUse {
    pub(super) fn new(event: EventId) -> Self {
        Self {
            event,
            at: ids::time_of(event.0).to_string(),
        }
    }
}

#[derive(Serialize)]
pub(super) struct GrantedBy {
    pub(super) credential: CredentialId,
    pub(super) revision: u32,
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub(super) pinned: Map<String, Value>,
}

impl<'a> EventDetail<'a> {
    pub(super) fn of(request: &'a GrantRequest<'_>) -> Self {
        let requested = request.access().map(Requested::of);
        Self {
            grant_type: request.grant_type.name(),
            requested: requested.unwrap_or_default(),
            ..Self::default()
        }
    }

    /// The detail of a refused request: with everything that the request asked for, and the values
    /// that were refused and that would be accepted.
    pub(super) fn of_refusal(request: &'a GrantRequest<'_>, refusal: &'a Refusal) -> Self {
        let mut detail = Self::of(request);
        if let Some(access) = request.access() {
            detail.requested.keep_lists(access);
        }
        let facts = refusal.facts.as_deref();
        Self {
            detail: refusal.detail.as_deref(),
            first_use: facts.and_then(|facts| facts.used_in).map(FirstUse::new),
            received: facts.and_then(|facts| facts.received.as_ref()).map(brief),
            permitted: facts.and_then(|facts| facts.permitted.as_ref()).map(brief),
            ..detail
        }
    }

    /// Adds the claims of an assertion that explaining it again needs ([`claims_read`]).
    pub(super) fn keep_claims(&mut self, rules: &[MatchedRule], content: &'a AssertionContent) {
        self.claims = Some(claims_read(rules, content));
    }

    /// The JSON as it is stored, without claims that take more than [`MAX_CLAIMS_BYTES`], and
    /// shortened if it exceeds [`MAX_DETAIL_BYTES`]: claims are dropped and lists shortened first;
    /// if that is not enough, mismatches, workload, actors and the lists of the request go as well.
    pub(super) fn into_json(mut self) -> String {
        let mut whole = self.json();
        // Nearly every event is this small, and then its claims are as well.
        if whole.len() <= MAX_CLAIMS_BYTES {
            return whole;
        }
        let too_many = |claims: &ClaimsRead<'_>| json_bytes(claims) > MAX_CLAIMS_BYTES;
        if self.claims.as_ref().is_some_and(too_many) {
            self.claims_left_out = self.claims.take().is_some();
            whole = self.json();
        }
        if whole.len() <= MAX_DETAIL_BYTES {
            return whole;
        }
        self.claims_left_out |= self.claims.take().is_some();
        self.mismatches
            .truncate(self.mismatches.len().min(SHORTENED));
        self.credentials_left_out =
            Some(self.credentials.len().saturating_sub(SHORTENED)).filter(|more| *more > 0);
        self.credentials.truncate(SHORTENED);
        let shorter = self.json();
        if shorter.len() <= MAX_DETAIL_BYTES {
            return shorter;
        }
        (self.mismatches, self.workload, self.act) = (Vec::new(), None, None);
        self.requested.drop_lists();
        self.json()
    }

    fn json(&self) -> String {
        let mut json = Vec::with_capacity(TYPICAL_DETAIL_BYTES);
        match serde_json::to_writer(&mut json, self) {
            Ok(()) => String::from_utf8(json).unwrap_or_default(),
            Err(_) => "{}".to_owned(),
        }
    }
}

/// The claims beyond the workload description that decide about this assertion: all that its
/// profile declares, so that rules of later days can be judged too, and those that only these rules
/// read.
fn claims_read<'a>(rules: &[MatchedRule], content: &'a AssertionContent) -> ClaimsRead<'a> {
    let issuer = content.issuer();
    let mut read = ClaimsRead(Vec::new());
    let declared = issuer
        .profile
        .claims
        .iter()
        .filter(|spec| !spec.forward && spec.path != "sub");
    for path in declared
        .map(|spec| spec.path.as_str())
        .chain(issuer.terms.issuer_claim.as_deref())
    {
        if let Some(value) = content.claims().get(path) {
            read.0.push((path.into(), value));
        }
    }
    for rule in rules {
        visit_claims_read(&rule.credential, &issuer.profile, |path| {
            if let Some(value) = content
                .claims()
                .get(path)
                .filter(|_| path != "sub" && !read.0.iter().any(|(known, _)| known == path))
            {
                read.0.push((path.to_owned().into(), value));
            }
        });
    }
    read
}

/// Claims by path, borrowing their values.
pub(super) struct ClaimsRead<'a>(Vec<(Cow<'a, str>, &'a Value)>);

impl Serialize for ClaimsRead<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(path, value)| (path, value)))
    }
}

pub(super) fn workload_url(assertion: &AssertionContent) -> Option<String> {
    let issuer = assertion.issuer();
    issuer
        .profile
        .workload_url(&issuer.issuer, assertion.claims())
}
