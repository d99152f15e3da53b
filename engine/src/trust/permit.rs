use super::candidate::{Candidate, Finding};
use super::consent::Consent;
use super::report::{MatchReport, match_credentials};
use crate::assertion::Assertion;
use crate::clock::Timestamp;
use crate::model::{FederatedCredential, Snapshot};
use crate::reason::Reason;
use crate::refusal::Refusal;

/// A yes: an assertion, and a report in which at least one rule matches. Only [`Permit::new`] makes one.
#[derive(Debug)]
pub struct Permit<A> {
    assertion: A,
    report: MatchReport,
}

/// A no, with the verdicts it comes from.
#[derive(Debug)]
pub struct Denial {
    /// Why, as far as whoever asks may know.
    pub refusal: Refusal,
    /// Why, as the caller of the token endpoint is told.
    pub told: Reason,
    /// The verdicts.
    pub report: MatchReport,
}

impl Denial {
    /// A no that is the same to everybody.
    pub fn new(refusal: Refusal, report: MatchReport) -> Box<Self> {
        Box::new(Self { told: refusal.reason, refusal, report })
    }

    /// A no to something that no rule was held against.
    pub fn bare(refusal: Refusal) -> Box<Self> {
        Self::new(refusal, MatchReport::default())
    }
}

impl<A: Assertion> Permit<A> {
    /// Matches the assertion against the rules of `snapshot`.
    ///
    /// Only candidates that `may_count` are looked at: a request may be limited to some of the rules.
    ///
    /// What was verified for an older form of the trusted issuer proves nothing to newer rules: then nothing matches, and the
    /// assertion has to be verified again.
    pub fn new(
        assertion: A,
        snapshot: &Snapshot,
        now: Timestamp,
        consent: Consent<'_>,
        may_count: impl Fn(&FederatedCredential) -> bool,
    ) -> Result<Self, Box<Denial>> {
        let (issuer, claims) = (assertion.content().issuer(), assertion.content().claims());
        if !snapshot.is_current(issuer) {
            return Err(Denial::bare(Refusal::later(Reason::Busy, 1)));
        }
        let report = match_credentials(snapshot, issuer, claims, now, consent, may_count);
        if report.matching().next().is_none() {
            let refusal = report.refusal(issuer, claims);
            return Err(Denial::new(refusal, report));
        }
        Ok(Self { assertion, report })
    }

    /// Holds one condition more against the rules that match, and says whether any is left; what a rule lacks stands in its
    /// verdicts like every other condition.
    #[must_use]
    pub fn narrow(&mut self, mut condition: impl FnMut(&Candidate) -> Finding) -> bool {
        for candidate in self.report.candidates.iter_mut().filter(|candidate| candidate.matches()) {
            let finding = condition(candidate);
            candidate.findings.push(finding);
        }
        self.report.matching().next().is_some()
    }

    /// The assertion.
    pub fn assertion(&self) -> &A {
        &self.assertion
    }

    /// The verdicts.
    pub fn report(&self) -> &MatchReport {
        &self.report
    }

    /// Turns the yes into a no for a reason that lies in the request.
    pub fn deny(self, refusal: Refusal) -> Box<Denial> {
        Denial::new(refusal, self.report)
    }
}
