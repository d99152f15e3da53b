//! Selects the rules to judge for an assertion, and decides what the caller is told of the
//! verdicts.
//!
//! Permits, refusals, explanations, audit records and offline evaluation all read the
//! [`MatchReport`]; there is no second matcher.

use std::collections::HashMap;
use std::sync::Arc;

use super::candidate::{Candidate, Rank};
use super::consent::Consent;
use crate::clock::Timestamp;
use crate::model::{
    FederatedCredential, IdentityProvider, Membership, Snapshot, State, TrustedIssuer,
};
use crate::profile::{Claims, Profile};
use crate::reason::Reason;
use crate::refusal::{Mismatch, Refusal};

/// Most rules with consent that are judged for one assertion (decision D-33), and their total size
/// in bytes: the cost of judging grows with both. [`in_turn`] decides which of more are judged.
const MAX_CANDIDATES: usize = 1000;
const MAX_CANDIDATE_BYTES: usize = 1024 * 1024;
/// Rules without consent that are shown: the closest ones (`docs/src/reference/limits.md`).
const MAX_OTHERS: usize = 5;
/// Rules without consent that are judged to find the closest ones.
const MAX_OTHERS_JUDGED: usize = 100;
/// Rules that are judged to find the nearest ones, and how many of the nearest are shown.
const MAX_SEARCHED: usize = 2_000;
const MAX_NEAREST: usize = 10;
/// Most mismatches in a refusal.
const MAX_MISMATCHES: usize = 50;
/// The longest value in such a mismatch, in bytes; longer ones are cut.
const MAX_VALUE_BYTES: usize = 512;

/// The verdicts on one assertion of the rules that might admit it.
#[derive(Debug, Default)]
pub struct MatchReport {
    /// The judged rules: oldest first, or closest first from [`nearest_credentials`].
    pub candidates: Vec<Candidate>,
    /// The principal that the request names.
    asked: Option<String>,
    /// How many rules with consent were not judged, because the rules before them used up the
    /// budget.
    left_out: usize,
    /// How many rules were not judged that only visit ([`Rank::Visiting`]): any principal can write
    /// such rules for any workload, so they must not hide what is wrong with the others.
    visitors_left_out: usize,
    /// How many rules without consent are not among `candidates`.
    others_left_out: usize,
}

/// Judges the rules that the claims of `issuer` lead to and that `may_count` accepts.
///
/// Rules without consent use nothing of the budget of the others: a limited number is judged, and
/// only the closest of these are in the report.
pub fn match_credentials(
    snapshot: &Snapshot,
    issuer: &TrustedIssuer,
    claims: &Claims,
    now: Timestamp,
    consent: Consent<'_>,
    may_count: impl Fn(&FederatedCredential) -> bool,
) -> MatchReport {
    let asked = consent.folded();
    let found = snapshot.candidates(
        issuer,
        claims,
        consent.wanted(issuer, asked.as_deref()),
        may_count,
    );
    let (counting, others): (Vec<_>, Vec<_>) = found
        .into_iter()
        .partition(|credential| consent.rank(credential, issuer) != Rank::Other);
    let (counting, beyond) = within_budget(in_turn(snapshot, issuer, counting, (now, consent)));
    let visitors = beyond
        .iter()
        .filter(|credential| consent.rank(credential, issuer) == Rank::Visiting);
    let visitors_left_out = visitors.count();
    let left_out = beyond.len().saturating_sub(visitors_left_out);
    let judge = |credential| Candidate::judge(snapshot, issuer, claims, (now, consent), credential);
    let all_others = others.len();
    let mut shown: Vec<Candidate> = others
        .into_iter()
        .take(MAX_OTHERS_JUDGED)
        .map(judge)
        .collect();
    shown.sort_by_key(|candidate| (candidate.closeness(), candidate.credential.age()));
    shown.truncate(MAX_OTHERS);
    let others_left_out = all_others.saturating_sub(shown.len());
    let mut candidates: Vec<Candidate> = counting.into_iter().map(judge).chain(shown).collect();
    candidates.sort_by_key(|candidate| candidate.credential.age());
    MatchReport {
        candidates,
        asked: consent.asked().map(str::to_owned),
        left_out,
        visitors_left_out,
        others_left_out,
    }
}

/// Judges the memberships that may give a person of `provider` a role: those that the claims lead
/// to, or with `about` every one of the principal with this folded name.
///
/// Administrators alone write memberships, so there is no budget.
pub fn match_memberships(
    snapshot: &Snapshot,
    provider: &IdentityProvider,
    claims: &Claims,
    now: Timestamp,
    about: Option<&str>,
) -> MatchReport {
    let judged_as = provider.as_issuer();
    let found = if about.is_none() {
        snapshot.memberships_for(provider, claims)
    } else {
        let all = snapshot.memberships_of(provider.id);
        let mut named: Vec<_> = all
            .filter(|membership| membership.principal.as_deref() == about)
            .cloned()
            .collect();
        named.sort_unstable_by_key(|membership| membership.id);
        named
    };
    let judge = |membership: &Arc<Membership>| {
        Candidate::judge_membership(snapshot, &judged_as, claims, now, membership)
    };
    MatchReport {
        candidates: found.iter().map(judge).collect(),
        ..MatchReport::default()
    }
}

/// The first rules that fit the budget of one request, and the rules after them, which are left out.
fn within_budget(
    mut credentials: Vec<Arc<FederatedCredential>>,
) -> (Vec<Arc<FederatedCredential>>, Vec<Arc<FederatedCredential>>) {
    let mut left = MAX_CANDIDATE_BYTES;
    let fits = |credential: &&Arc<FederatedCredential>| {
        let rest = left.checked_sub(credential.rule.size());
        left = rest.unwrap_or_default();
        rest.is_some()
    };
    let within = credentials
        .iter()
        .take(MAX_CANDIDATES)
        .take_while(fits)
        .count();
    let beyond = credentials.split_off(within.min(credentials.len()));
    (credentials, beyond)
}

/// The order in which rules are judged if there are more than the budget allows: rules that can
/// give something come first, then rules with the stronger consent, then the oldest rule of each
/// principal, then the second of each, and so on.
///
/// Any principal can write rules for any workload, so neither expired rules nor the many rules of
/// one principal may push out those of another.
fn in_turn(
    snapshot: &Snapshot,
    issuer: &TrustedIssuer,
    mut credentials: Vec<Arc<FederatedCredential>>,
    (now, consent): (Timestamp, Consent<'_>),
) -> Vec<Arc<FederatedCredential>> {
    let bytes: usize = credentials
        .iter()
        .map(|credential| credential.rule.size())
        .fold(0, usize::saturating_add);
    if credentials.len() <= MAX_CANDIDATES && bytes <= MAX_CANDIDATE_BYTES {
        return credentials;
    }
    credentials.sort_by_key(|credential| credential.age());
    let mut before: HashMap<(bool, Arc<str>), usize> = HashMap::new();
    let mut placed: Vec<_> = credentials
        .into_iter()
        .map(|credential| {
            let gives_nothing = matches!(credential.state(now), State::Expired | State::Disabled)
                || snapshot
                    .principal(&credential.principal)
                    .is_none_or(|principal| !principal.enabled)
                || !issuer.is_open_to(&credential.principal);
            let earlier = before
                .entry((gives_nothing, credential.principal.clone()))
                .or_default();
            let turn = *earlier;
            *earlier = turn.saturating_add(1);
            (
                (
                    gives_nothing,
                    consent.rank(&credential, issuer),
                    turn,
                    credential.age(),
                ),
                credential,
            )
        })
        .collect();
    placed.sort_unstable_by_key(|(place, _)| *place);
    placed
        .into_iter()
        .map(|(_, credential)| credential)
        .collect()
}

/// The rules of `issuer` that come closest to claims under which the index finds none, limited to
/// those that `may_see` accepts. This helps to find a mistake in a rule: the index cannot find a
/// name that is misspelt.
pub fn nearest_credentials(
    snapshot: &Snapshot,
    issuer: &TrustedIssuer,
    claims: &Claims,
    now: Timestamp,
    consent: Consent<'_>,
    may_see: impl Fn(&str) -> bool,
) -> MatchReport {
    let seen = snapshot
        .credentials_of(issuer.id)
        .filter(|credential| may_see(&credential.principal));
    let judged = seen.take(MAX_SEARCHED);
    let judged = judged.map(|credential| {
        Candidate::judge(snapshot, issuer, claims, (now, consent), credential.clone())
    });
    let mut candidates: Vec<Candidate> = judged.collect();
    candidates
        .sort_by_key(|candidate| (candidate.unmet().count(), candidate.credential.created_at));
    let mut others = 0usize;
    candidates.retain(|candidate| {
        others = others.saturating_add(usize::from(candidate.rank == Rank::Other));
        candidate.rank != Rank::Other || others <= MAX_OTHERS
    });
    candidates.truncate(MAX_NEAREST);
    MatchReport {
        candidates,
        asked: consent.asked().map(str::to_owned),
        ..MatchReport::default()
    }
}

impl MatchReport {
    /// The rules that match, oldest first.
    pub fn matching(&self) -> impl DoubleEndedIterator<Item = &Candidate> {
        self.candidates
            .iter()
            .filter(|candidate| candidate.matches())
    }

    /// The refusal of an assertion that no rule matches. Details of a rule are only for a caller
    /// whose assertion proves that the rule is meant for it (`docs/src/explanation/disclosure.md`).
    pub fn refusal(&self, issuer: &TrustedIssuer, claims: &Claims) -> Refusal {
        let mut meant: Vec<&Candidate> = self
            .candidates
            .iter()
            .filter(|candidate| candidate.is_proved_to_be_meant(&issuer.profile))
            .collect();
        meant.sort_by_key(|candidate| candidate.rank);
        // The closest rule is most likely the one that the caller wants to use.
        let closest = meant.iter().min_by_key(|candidate| candidate.closeness());
        let reason = closest.and_then(|candidate| self.told_of(candidate, &issuer.profile));
        // A rule that was not judged might have matched.
        let is_hidden = self.left_out > 0 || (self.visitors_left_out > 0 && reason.is_none());
        let reason = if is_hidden {
            Some(Reason::RulesTooLarge)
        } else {
            reason
        };
        let mismatches = meant
            .iter()
            .flat_map(|candidate| candidate.mismatches(issuer, claims, self.asked()));
        let mismatches: Vec<Mismatch> = mismatches
            .take(MAX_MISMATCHES)
            .map(|mismatch| mismatch.brief(MAX_VALUE_BYTES))
            .collect();
        // The caller is told that nothing matches, and shown that the rule lacks consent alone.
        let lacks_consent = mismatches
            .first()
            .map(|mismatch| mismatch.reason)
            .filter(|first| {
                let consent = [Reason::PrincipalRequired, Reason::PrincipalMismatch];
                reason.is_none() && consent.contains(first)
            });
        let refusal = Refusal::no_match(reason.unwrap_or(Reason::NoMatchingCredential), mismatches)
            .on_platform(&issuer.profile);
        match lacks_consent {
            None => refusal,
            Some(reason) => refusal.mended_by(reason.remedy()),
        }
    }

    /// The principal that the request names.
    pub fn asked(&self) -> Option<&str> {
        self.asked.as_deref()
    }

    /// The reason to tell the caller of a rule that is proved to be meant for it. A rule that lacks
    /// only consent gives none, because the answer must not reveal that another principal wrote it;
    /// a rule without consent gives none at all if the request names a principal.
    fn told_of(&self, candidate: &Candidate, profile: &Profile) -> Option<Reason> {
        match candidate.rank {
            Rank::Vouched if self.asked.is_some() => Some(Reason::PrincipalMismatch),
            Rank::Other if self.asked.is_some() => None,
            Rank::Other => candidate
                .reason(profile)
                .filter(|reason| *reason != Reason::PrincipalRequired),
            Rank::Named | Rank::Vouched | Rank::Visiting => candidate.reason(profile),
        }
    }

    /// Why the closest rule does not match, for a reader who may see all of these rules.
    pub fn closest_reason(&self, profile: &Profile) -> Option<Reason> {
        self.closest()?.reason(profile)
    }

    /// How many rules without consent are not shown, for readers who manage rules.
    pub fn others_left_out(&self) -> usize {
        self.others_left_out
    }

    /// The closest rule, whether or not the caller may see it.
    pub fn closest(&self) -> Option<&Candidate> {
        self.candidates
            .iter()
            .min_by_key(|candidate| candidate.closeness())
    }
}
