//! The detail of an audit event: what the event of a token request holds beside its columns, as JSON.

use carnet_resource_server::Actor;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::super::GrantRequest;
use crate::assertion::AssertionContent;
use crate::audit::MAX_DETAIL_BYTES;
use crate::ids::CredentialId;
use crate::json::json_bytes;
use crate::refusal::Mismatch;
use crate::trust::{MatchedRule, visit_claims_read};

/// Claims that take more bytes than this as JSON are not stored.
const MAX_CLAIMS_BYTES: usize = 3 * 1024;
/// How many rules and mismatches remain when the detail has to be shortened.
const SHORTENED: usize = 10;
/// Initial capacity; the detail of most audit events fits into it.
const TYPICAL_DETAIL_BYTES: usize = 1024;

/// The JSON in the `detail` column of a token request's audit event.
#[derive(Default, Serialize)]
pub(super) struct EventDetail<'a> {
    pub(super) grant_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) workload: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) workload_url: Option<String>,
    /// See [`claims_read`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) claims: Option<ClaimsRead<'a>>,
    /// The `jti` of the token that was exchanged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) subject_token: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) act: Option<&'a Actor>,
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
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) detail: Option<&'a str>,
}

#[derive(Serialize)]
pub(super) struct GrantedBy {
    pub(super) credential: CredentialId,
    pub(super) revision: u32,
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub(super) pinned: Map<String, Value>,
}

impl EventDetail<'_> {
    pub(super) fn of(request: &GrantRequest<'_>) -> Self {
        Self {
            grant_type: request.grant_type.name(),
            ..Self::default()
        }
    }

    /// The JSON as it is stored, shortened if it exceeds [`MAX_DETAIL_BYTES`]. Claims are dropped
    /// and lists shortened first; if that is not enough, mismatches, workload and actors go as
    /// well.
    pub(super) fn into_json(mut self) -> String {
        let whole = self.json();
        if whole.len() <= MAX_DETAIL_BYTES {
            return whole;
        }
        self.claims = None;
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

/// The claims that these rules read beyond the workload description, so that the decision can be
/// explained again later. `None` if they exceed [`MAX_CLAIMS_BYTES`].
pub(super) fn claims_read<'a>(
    rules: &[MatchedRule],
    content: &'a AssertionContent,
) -> Option<ClaimsRead<'a>> {
    let profile = &content.issuer().profile;
    let mut read = ClaimsRead(Vec::new());
    for rule in rules {
        visit_claims_read(&rule.credential, profile, |path| {
            if let Some(value) = content
                .claims()
                .get(path)
                .filter(|_| !read.0.iter().any(|(known, _)| known == path))
            {
                read.0.push((path.to_owned(), value));
            }
        });
    }
    (!read.0.is_empty() && json_bytes(&read) <= MAX_CLAIMS_BYTES).then_some(read)
}

/// Claims by path, borrowing their values.
pub(super) struct ClaimsRead<'a>(Vec<(String, &'a Value)>);

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
