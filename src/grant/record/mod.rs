//! What a token request leaves in the database: the issuance, which the ledger writes in one
//! transaction, and the audit events of issued and refused requests.

mod detail;
mod refusal;
mod workload;

use std::collections::BTreeSet;

use carnet_dpop::Proof;
use carnet_engine::code_grant::CodeGrant;
use carnet_jose::base64url;
use carnet_resource_server::AccessToken;

use self::detail::{EventDetail, GrantedBy, workload_url};
use self::workload::names;
use super::{GrantRequest, Judged};
use crate::assertion::{AcceptedAssertion, Assertion as _, AssertionContent, SingleUseKey};
use crate::audit::{AssertionRef, AuditEvent, AuditPart, Outcome};
use crate::clock::Timestamp;
use crate::decision::{Authorization, Decision, Grounds, Presented, Subject};
use crate::ids::{CredentialId, MembershipId, PersonId};
use crate::model::{DecisionContext, Snapshot};
use crate::principal::AccessRequest;
use crate::reason::Reason;
use crate::store::{Dependencies, Exchanged, Issuance, Pin, TokenRecord};
use crate::token::Minted;
use crate::trust::{Door, MatchedRule};

pub(super) use self::refusal::refused;
pub use self::workload::names_of;

/// Collects what the ledger writes for a token.
pub(super) fn issuance(
    context: &DecisionContext<'_>,
    request: &GrantRequest<'_>,
    judged: &Judged,
    minted: &Minted,
) -> Issuance {
    let Judged {
        subject,
        proof,
        decision,
        ..
    } = judged;
    let admitting = subject.client.rules();
    let (granting, lent): (&[MatchedRule], &[MatchedRule]) = match decision {
        Decision::Registry(authorization) => (
            &authorization.entitlement().credentials,
            authorization
                .delegation()
                .map(|delegation| delegation.rules.as_slice())
                .unwrap_or_default(),
        ),
        Decision::Admin(_) | Decision::Userinfo(_) => (&[], &[]),
    };
    let rules = MatchedRule::distinct(granting.iter().chain(lent).chain(admitting).cloned());
    let of_others = lent
        .iter()
        .chain(admitting)
        .filter_map(|rule| context.rules.principal(&rule.credential.principal));
    let mut principals: Vec<String> = of_others.map(|principal| principal.name.clone()).collect();
    let mut resource_server = None;
    if let Decision::Registry(authorization) = decision {
        let entitlement = authorization.entitlement();
        principals.extend(
            entitlement
                .details
                .iter()
                .map(|detail| detail.principal.clone()),
        );
        resource_server = Some(entitlement.resource_server.name.clone());
    }
    let presented = subject.assertions().map(|assertion| assertion.issuer().id);
    Issuance {
        consumed: consumed(subject)
            .into_iter()
            .chain(proof.as_ref().map(spent))
            .collect(),
        version: context.rules.version,
        dependencies: Dependencies {
            trusted_issuers: presented
                .chain(rules.iter().map(|rule| rule.credential.trusted_issuer))
                .collect(),
            resource_server,
            credentials: rules.iter().map(|rule| rule.credential.id).collect(),
            principals,
            client: subject.client.identity().id().map(str::to_owned),
            memberships: memberships(decision),
        },
        pins: rules
            .iter()
            .filter(|rule| !rule.pins.is_empty())
            .map(pin)
            .collect(),
        token: TokenRecord {
            exchanged: exchanged(subject, minted),
            opaque: minted.opaque.clone(),
        },
        event: match decision {
            Decision::Registry(authorization) => issued(context, request, authorization, minted),
            Decision::Admin(_) => {
                issued_at_own(context.own.admin_resource(), request, judged, minted)
            }
            Decision::Userinfo(_) => issued_at_own(context.own.userinfo(), request, judged, minted),
        },
        now: context.now,
    }
}

fn pin(rule: &MatchedRule) -> Pin {
    Pin {
        credential: rule.credential.id,
        revision: rule.credential.revision,
        ids: rule.pins.clone(),
    }
}

/// The memberships that a token rests on.
fn memberships(decision: &Decision<AcceptedAssertion>) -> Vec<MembershipId> {
    match decision {
        Decision::Registry(authorization) => {
            let entries = authorization.entitlement().details.iter();
            let named = entries.filter_map(|entry| entry.credential.parse().ok());
            let mut named: Vec<MembershipId> = named.collect();
            named.dedup();
            named
        }
        Decision::Admin(grant) => {
            let grounds = grant.rests_on.iter();
            grounds
                .filter_map(|ground| ground.id.parse().ok())
                .collect()
        }
        Decision::Userinfo(_) => Vec::new(),
    }
}

/// The keys of all that a token uses up: the assertions of subject, actor and client, and the
/// authorization code.
pub(super) fn consumed(subject: &Subject<AcceptedAssertion>) -> Vec<(SingleUseKey, Timestamp)> {
    let presented = subject.assertions();
    let keys = presented.filter_map(|assertion| {
        assertion
            .key()
            .map(|key| (*key, assertion.remembered_until()))
    });
    // Here client assertion and subject are one token: consume it once.
    let is_subject = matches!(subject.presented, Presented::ClientAssertion(_));
    keys.chain(subject.client.identity().consumed().filter(|_| !is_subject))
        .chain(subject.code().map(|code| (code.key, code.until)))
        .collect()
}

/// The key of a DPoP proof, and until when its use has to be remembered.
fn spent(proof: &Proof) -> (SingleUseKey, Timestamp) {
    let until = Timestamp::from_seconds(proof.in_force_until());
    (SingleUseKey::of_proof(proof.key()), until)
}

/// The parents of a token: its subject token and its actor token, where this server issued them, or
/// the authorization code.
fn exchanged(subject: &Subject<AcceptedAssertion>, minted: &Minted) -> Vec<Exchanged> {
    let tokens = subject.tokens().map(|token| token.claims().jti.clone());
    let code = subject.code().map(|code| code.id.to_string());
    let parents: BTreeSet<String> = tokens.chain(code).collect();
    let child = |parent: String| Exchanged {
        child: minted.token_id.clone(),
        parent,
        expires_at: minted.expires_at,
    };
    parents.into_iter().map(child).collect()
}

fn issued(
    context: &DecisionContext<'_>,
    request: &GrantRequest<'_>,
    authorization: &Authorization<AcceptedAssertion>,
    minted: &Minted,
) -> AuditEvent {
    let entitlement = authorization.entitlement();
    let granted = |rule: &MatchedRule| GrantedBy {
        credential: rule.credential.id,
        revision: rule.credential.revision,
        pinned: rule.pins.clone(),
    };
    let (mut detail, mut trusted_issuer) = (EventDetail::of(request), None);
    let (mut assertion, mut workload) = (None, Vec::new());
    match authorization.grounds() {
        Grounds::Workload(permit) => {
            let presented = permit.assertion().content();
            detail.workload_url = workload_url(presented);
            detail.keep_claims(&entitlement.credentials, presented);
            workload = names(presented);
            trusted_issuer = Some(presented.issuer().name.clone());
            assertion = reference(presented);
        }
        Grounds::Token(token) => detail.subject_token = Some(&token.claims().jti),
        Grounds::Client(_) | Grounds::Person(_) => {}
    }
    detail.workload = minted.workload.as_deref();
    detail.scope = Some(&minted.scope);
    detail.expires_at = Some(minted.expires_at.to_string());
    detail.credentials = entitlement.credentials.iter().map(granted).collect();
    detail.entries_left_out = Some(entitlement.left_out).filter(|left_out| *left_out > 0);
    detail.act = authorization.act();
    detail.cnf = minted.confirmation.as_ref();
    AuditEvent {
        trusted_issuer,
        assertion,
        workload,
        parts: parts_of(context, request, authorization),
        credential: entitlement
            .credentials
            .first()
            .map(|rule| rule.credential.id),
        principal: entitlement
            .principal
            .as_ref()
            .map(|principal| principal.name.clone()),
        resource: Some(entitlement.resource_server.resource.clone()),
        client_id: Some(minted.client_id.clone()),
        token_id: Some(minted.token_id.clone()),
        person: person_behind(authorization.grounds()),
        address: request.address,
        detail: detail.into_json(),
        ..AuditEvent::with_id(request.id, Outcome::Issued)
    }
}

/// The person on whose behalf one of our access tokens was issued.
pub fn person_of(claims: &AccessToken) -> Option<PersonId> {
    claims.person.as_ref()?.id.parse().ok()
}

/// The person on whose behalf a token is issued.
fn person_behind(grounds: &Grounds<AcceptedAssertion>) -> Option<PersonId> {
    match grounds {
        Grounds::Person(permit) => Some(permit.person().id),
        Grounds::Token(token) => person_of(token.claims()),
        Grounds::Workload(_) | Grounds::Client(_) => None,
    }
}

/// The event of a code that was presented again, by which its token ends.
pub(super) fn revoked_code(
    request: &GrantRequest<'_>,
    code: &CodeGrant,
    now: Timestamp,
) -> AuditEvent {
    AuditEvent {
        reason: Some(Reason::CodeUsed),
        person: Some(code.person.id),
        token_id: Some(code.id.to_string()),
        principal: code.request.access.principal.clone(),
        resource: code.request.access.resources.first().cloned(),
        address: request.address,
        ..AuditEvent::new(now, Outcome::Revoked)
    }
}

/// The event of a token for one of our own endpoints.
fn issued_at_own(
    resource: String,
    request: &GrantRequest<'_>,
    judged: &Judged,
    minted: &Minted,
) -> AuditEvent {
    let detail = EventDetail {
        scope: Some(&minted.scope),
        expires_at: Some(minted.expires_at.to_string()),
        cnf: minted.confirmation.as_ref(),
        ..EventDetail::of(request)
    };
    AuditEvent {
        resource: Some(resource),
        client_id: judged.subject.client.identity().id().map(str::to_owned),
        person: judged.subject.code().map(|code| code.person.id),
        token_id: Some(minted.token_id.clone()),
        address: request.address,
        detail: detail.into_json(),
        ..AuditEvent::with_id(request.id, Outcome::Issued)
    }
}

/// The principals that may see the event of an issued token: those of its entries, the one that the
/// request names, and those of the actor's rules.
fn parts_of(
    context: &DecisionContext<'_>,
    request: &GrantRequest<'_>,
    authorization: &Authorization<AcceptedAssertion>,
) -> Vec<AuditPart> {
    let rules = &context.rules;
    let by_name = |name: &str| rules.principal(&name.to_ascii_lowercase());
    let part = |rule: &MatchedRule, sees_claims: bool| {
        Some(AuditPart {
            // `FederatedCredential::principal` is in lower case already, unlike the names
            // elsewhere.
            principal_id: rules.principal(&rule.credential.principal)?.id.clone(),
            credential: Some(rule.credential.id),
            revision: Some(rule.credential.revision),
            sees_claims,
        })
    };
    let entitlement = authorization.entitlement();
    let asked = request
        .access()
        .and_then(|access| access.principal.as_deref());
    // Whether the rules of the token count without being vouched for or named: then their principals
    // learn nothing of the run.
    let is_nameless = match authorization.grounds() {
        Grounds::Token(token) => may_be_nameless(rules, token.claims()),
        // A person agreed to the client and the principal.
        Grounds::Person(_) => false,
        Grounds::Workload(_) | Grounds::Client(_) => {
            request.access().map_or(Door::Token, AccessRequest::door) == Door::Nameless
        }
    };
    let granting = entitlement.credentials.iter().filter_map(|rule| {
        let issuer = rules.issuer(rule.credential.trusted_issuer);
        let is_vouched = issuer.is_some_and(|issuer| rule.credential.is_vouched_under(issuer));
        let is_asked =
            asked.is_some_and(|name| name.eq_ignore_ascii_case(&rule.credential.principal));
        part(rule, is_vouched || is_asked || !is_nameless)
    });
    let acting = authorization
        .delegation()
        .into_iter()
        .flat_map(|delegation| &delegation.rules);
    let mut parts: Vec<AuditPart> = granting
        .chain(acting.filter_map(|rule| part(rule, false)))
        .collect();
    let owners = entitlement
        .details
        .iter()
        .map(|entry| entry.principal.as_str());
    for principal in owners.chain(asked).filter_map(by_name) {
        see(&mut parts, &principal.id);
    }
    parts.sort_by(|left, right| left.principal_id.cmp(&right.principal_id));
    parts
}

/// Lets a principal without a part in the event see it, including the assertion's claims.
fn see(parts: &mut Vec<AuditPart>, principal_id: &str) {
    if !parts.iter().any(|part| part.principal_id == principal_id) {
        parts.push(AuditPart {
            principal_id: principal_id.to_owned(),
            credential: None,
            revision: None,
            sees_claims: true,
        });
    }
}

/// Digest and `jti` of an assertion, by which it is found again.
fn reference(content: &AssertionContent) -> Option<AssertionRef> {
    let digest = base64url(content.digest()?);
    Some(AssertionRef {
        digest,
        jti: content.id().map(str::to_owned),
    })
}

/// The principals that may see what happens to one of our access tokens: those of its entries.
pub fn parts_of_token(rules: &Snapshot, claims: &AccessToken) -> Vec<AuditPart> {
    let entries = claims.authorization_details.iter().filter_map(|entry| {
        Some(AuditPart {
            principal_id: rules
                .principal(&entry.principal.to_ascii_lowercase())?
                .id
                .clone(),
            credential: entry.credential.parse().ok(),
            revision: Some(entry.revision),
            sees_claims: (claims.principal.is_some() && !may_be_nameless(rules, claims))
                || is_invited(rules, &entry.credential),
        })
    });
    let mut parts: Vec<AuditPart> = entries.collect();
    parts.sort_by(|left, right| {
        (&left.principal_id, left.credential).cmp(&(&right.principal_id, right.credential))
    });
    parts.dedup_by(|left, right| {
        left.principal_id == right.principal_id && left.credential == right.credential
    });
    parts
}

/// Whether the principal of an entry may see the claims of the workload behind a token: one that was
/// named, or whose rule is vouched for.
pub fn sees_claims(rules: &Snapshot, aud: &str, credential: &str) -> bool {
    !is_nameless(rules, aud) || is_invited(rules, credential)
}

/// Whether a token may come from a front door that cannot name a principal, or from a key of one. The
/// key does not say so, and a key for one principal looks like a named token.
fn may_be_nameless(rules: &Snapshot, claims: &AccessToken) -> bool {
    is_nameless(rules, &claims.aud)
}

/// Whether a registry has a front door that cannot name a principal.
fn is_nameless(rules: &Snapshot, aud: &str) -> bool {
    let server = rules.resource_server_of(aud);
    // Of a registry that is disabled or gone it is not known.
    server.is_none_or(|server| {
        let door = server.front_door.as_ref();
        door.is_some_and(|door| !door.kind.names_principal())
    })
}

/// Whether an entry's principal may see the claims behind a token that named nobody: its rule
/// is vouched for, or the entry comes from a client's own permissions.
fn is_invited(rules: &Snapshot, credential: &str) -> bool {
    let Ok(id) = credential.parse::<CredentialId>() else {
        return true;
    };
    let rule = rules.credential(id);
    rule.is_some_and(|rule| {
        rules
            .issuer(rule.trusted_issuer)
            .is_some_and(|issuer| rule.is_vouched_under(issuer))
    })
}
