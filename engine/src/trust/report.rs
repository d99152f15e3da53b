//! Which rules are judged for an assertion, and what is told of the verdicts. Permits, refusals, explanations, audit records and
//! offline evaluation are all read from it; there is no second matcher.

use std::collections::HashMap;
use std::sync::Arc;

use super::candidate::{Candidate, Rank};
use super::consent::Consent;
use crate::clock::Timestamp;
use crate::model::{FederatedCredential, Snapshot, State, TrustedIssuer};
use crate::profile::{Claims, Profile};
use crate::reason::Reason;
use crate::refusal::Refusal;

/// Rules that count for one assertion (decision D-33), and how large they may be together, in bytes: what judging them costs grows
/// with both. Of more, [`in_turn`] says which.
const MAX_CANDIDATES: usize = 1000;
const MAX_CANDIDATE_BYTES: usize = 1024 * 1024;
/// Rules that do not count and are shown all the same (contract, section 6): the closest ones.
const MAX_OTHERS: usize = 5;
/// How many of them are judged to find those.
const MAX_OTHERS_JUDGED: usize = 100;
/// Rules judged to find the nearest ones, and how many of those are shown.
const MAX_SEARCHED: usize = 2_000;
const MAX_NEAREST: usize = 10;
/// Mismatches that a refusal lists.
const MAX_MISMATCHES: usize = 50;
/// How long the values in them may be, in bytes.
const MAX_VALUE_BYTES: usize = 512;

/// What became of one assertion and the rules that might admit it.
#[derive(Debug, Default)]
pub struct MatchReport {
    /// Every candidate, oldest first.
    pub candidates: Vec<Candidate>,
    /// Whether a principal was asked for.
    names_principal: bool,
    /// How many rules were not judged, since those before them were as much as one request may cost.
    left_out: usize,
    /// How many rules more there are that do not count.
    others_left_out: usize,
}

/// Judges the rules that `claims` of `issuer` might match, that `may_count`, and that count by consent. Others take no place from
/// them, and little time: a few are judged, and the closest of those are shown.
pub fn match_credentials(
    snapshot: &Snapshot,
    issuer: &TrustedIssuer,
    claims: &Claims,
    now: Timestamp,
    consent: Consent<'_>,
    may_count: impl Fn(&FederatedCredential) -> bool,
) -> MatchReport {
    let asked = consent.folded();
    let found = snapshot.candidates(issuer, claims, consent.wanted(issuer, asked.as_deref()), may_count);
    let (counting, others): (Vec<_>, Vec<_>) =
        found.into_iter().partition(|credential| consent.rank(credential, issuer) != Rank::Other);
    let (counting, left_out) = within_budget(in_turn(snapshot, issuer, counting, (now, consent)));
    let judge = |credential| Candidate::judge(snapshot, issuer, claims, (now, consent), credential);
    let all_others = others.len();
    let mut shown: Vec<Candidate> = others.into_iter().take(MAX_OTHERS_JUDGED).map(judge).collect();
    shown.sort_by_key(|candidate| (candidate.closeness(), candidate.credential.age()));
    shown.truncate(MAX_OTHERS);
    let others_left_out = all_others.saturating_sub(shown.len());
    let mut candidates: Vec<Candidate> = counting.into_iter().map(judge).chain(shown).collect();
    candidates.sort_by_key(|candidate| candidate.credential.age());
    MatchReport { candidates, names_principal: consent.names_principal(), left_out, others_left_out }
}

/// As many of the first as one request may cost, and how many there are behind them.
fn within_budget(mut credentials: Vec<Arc<FederatedCredential>>) -> (Vec<Arc<FederatedCredential>>, usize) {
    let mut left = MAX_CANDIDATE_BYTES;
    let fits = |credential: &&Arc<FederatedCredential>| {
        let rest = left.checked_sub(credential.rule.size());
        left = rest.unwrap_or_default();
        rest.is_some()
    };
    let within = credentials.iter().take(MAX_CANDIDATES).take_while(fits).count();
    let beyond = credentials.len().saturating_sub(within);
    credentials.truncate(within);
    (credentials, beyond)
}

/// The order in which rules count when there are too many: first those that can give something, of these those that were asked for
/// or that somebody vouches for, of every principal its oldest, then of every principal its second, and so on. Anybody may write
/// rules for anybody's workload, so neither rules that are over nor the many rules of one principal may push out those of another.
fn in_turn(
    snapshot: &Snapshot,
    issuer: &TrustedIssuer,
    mut credentials: Vec<Arc<FederatedCredential>>,
    (now, consent): (Timestamp, Consent<'_>),
) -> Vec<Arc<FederatedCredential>> {
    let bytes: usize = credentials.iter().map(|credential| credential.rule.size()).fold(0, usize::saturating_add);
    if credentials.len() <= MAX_CANDIDATES && bytes <= MAX_CANDIDATE_BYTES {
        return credentials;
    }
    credentials.sort_by_key(|credential| credential.age());
    let mut before: HashMap<(bool, Arc<str>), usize> = HashMap::new();
    let mut placed: Vec<_> = credentials
        .into_iter()
        .map(|credential| {
            let gives_nothing = matches!(credential.state(now), State::Expired | State::Disabled)
                || snapshot.principal(&credential.principal).is_none_or(|principal| !principal.enabled)
                || !issuer.is_open_to(&credential.principal);
            let earlier = before.entry((gives_nothing, credential.principal.clone())).or_default();
            let turn = *earlier;
            *earlier = turn.saturating_add(1);
            ((gives_nothing, consent.rank(&credential, issuer), turn, credential.age()), credential)
        })
        .collect();
    placed.sort_unstable_by_key(|(place, _)| *place);
    placed.into_iter().map(|(_, credential)| credential).collect()
}

/// The rules of `issuer` that come closest to claims under which none was found, for whoever may see them and looks for the
/// mistake in one: a name that is misspelt is not found by the name.
pub fn nearest_credentials(
    snapshot: &Snapshot,
    issuer: &TrustedIssuer,
    claims: &Claims,
    now: Timestamp,
    consent: Consent<'_>,
    may_see: impl Fn(&str) -> bool,
) -> MatchReport {
    let seen = snapshot.credentials_of(issuer.id).filter(|credential| may_see(&credential.principal));
    let judged = seen.take(MAX_SEARCHED);
    let judged =
        judged.map(|credential| Candidate::judge(snapshot, issuer, claims, (now, consent), credential.clone()));
    let mut candidates: Vec<Candidate> = judged.collect();
    candidates.sort_by_key(|candidate| (candidate.unmet().count(), candidate.credential.created_at));
    let mut others = 0usize;
    candidates.retain(|candidate| {
        others = others.saturating_add(usize::from(candidate.rank == Rank::Other));
        candidate.rank != Rank::Other || others <= MAX_OTHERS
    });
    candidates.truncate(MAX_NEAREST);
    MatchReport { candidates, names_principal: consent.names_principal(), ..MatchReport::default() }
}

impl MatchReport {
    /// The rules that match, oldest first.
    pub fn matching(&self) -> impl DoubleEndedIterator<Item = &Candidate> {
        self.candidates.iter().filter(|candidate| candidate.matches())
    }

    /// The one reason to answer with, and what may be shown of the rules that the caller has proved to be meant
    /// (contract, section 4: disclosure by proof).
    pub fn refusal(&self, issuer: &TrustedIssuer, claims: &Claims) -> Refusal {
        let mut meant: Vec<&Candidate> =
            self.candidates.iter().filter(|candidate| candidate.is_proved_to_be_meant(&issuer.profile)).collect();
        meant.sort_by_key(|candidate| candidate.rank);
        // Of several the one that comes closest is the likeliest to be the one the caller wants to use.
        let closest = meant.iter().min_by_key(|candidate| candidate.closeness());
        let reason = closest.and_then(|candidate| self.told_of(candidate, &issuer.profile));
        // One of those that were not judged might have been the one.
        let reason = if self.left_out > 0 { Some(Reason::RulesTooLarge) } else { reason };
        let mismatches = meant.iter().flat_map(|candidate| candidate.mismatches(issuer, claims));
        let mismatches = mismatches.take(MAX_MISMATCHES).map(|mismatch| mismatch.brief(MAX_VALUE_BYTES)).collect();
        Refusal::no_match(reason.unwrap_or(Reason::NoMatchingCredential), mismatches)
    }

    /// What a caller is told whose workload a rule is meant for. That strangers wrote rules for it is nobody's concern: without
    /// consent there is no rule.
    fn told_of(&self, candidate: &Candidate, profile: &Profile) -> Option<Reason> {
        match candidate.rank {
            Rank::Vouched if self.names_principal => Some(Reason::PrincipalMismatch),
            Rank::Other if self.names_principal => None,
            Rank::Other => candidate.reason(profile).filter(|reason| *reason != Reason::PrincipalRequired),
            Rank::Named | Rank::Vouched | Rank::Visiting => candidate.reason(profile),
        }
    }

    /// Why the rule that came closest does not match, for whoever may see all of these rules.
    pub fn closest_reason(&self, profile: &Profile) -> Option<Reason> {
        self.closest()?.reason(profile)
    }

    /// How many rules there are that do not count and are not shown: for those to know who manage rules.
    pub fn others_left_out(&self) -> usize {
        self.others_left_out
    }

    /// The rule that came closest, whoever may see it.
    pub fn closest(&self) -> Option<&Candidate> {
        self.candidates.iter().min_by_key(|candidate| candidate.closeness())
    }
}
