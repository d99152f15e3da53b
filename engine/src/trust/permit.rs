//! The result of matching: a [`Permit`], or a [`Denial`] with its reason.

use super::candidate::{Candidate, Finding};
use super::consent::Consent;
use super::report::{MatchReport, match_credentials};
use crate::assertion::Assertion;
use crate::clock::Timestamp;
use crate::model::{FederatedCredential, Snapshot};
use crate::reason::Reason;
use crate::refusal::Refusal;

/// An assertion and a report in which at least one rule matches. Only [`Permit::new`] makes one.
#[derive(Debug)]
pub struct Permit<A> {
    assertion: A,
    report: MatchReport,
}

/// A refusal, with the verdicts it comes from.
#[derive(Debug)]
pub struct Denial {
    /// The refusal for the reader of the result: a reader of an explanation may see more than the
    /// caller.
    pub refusal: Refusal,
    /// The reason that the caller of the token endpoint is told.
    pub told: Reason,
    pub report: MatchReport,
}

impl Denial {
    /// A denial whose reason is the same for every reader.
    pub fn new(refusal: Refusal, report: MatchReport) -> Box<Self> {
        Box::new(Self {
            told: refusal.reason,
            refusal,
            report,
        })
    }

    /// A denial from before any rule was judged.
    pub fn bare(refusal: Refusal) -> Box<Self> {
        Self::new(refusal, MatchReport::default())
    }
}

impl<A: Assertion> Permit<A> {
    /// Matches the assertion against the rules of `snapshot` that `may_count` accepts: a request
    /// may be limited to some of the rules, such as those that its client lists.
    ///
    /// An assertion that was verified under older settings of its trusted issuer is refused with
    /// [`Reason::Busy`]: it has to be verified again under the current ones.
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

    /// Judges one more condition for each matching rule, and returns whether any rule still
    /// matches. The report holds the finding like every other one.
    #[must_use]
    pub fn narrow(&mut self, mut condition: impl FnMut(&Candidate) -> Finding) -> bool {
        for candidate in self
            .report
            .candidates
            .iter_mut()
            .filter(|candidate| candidate.matches())
        {
            let finding = condition(candidate);
            candidate.findings.push(finding);
        }
        self.report.matching().next().is_some()
    }

    pub fn assertion(&self) -> &A {
        &self.assertion
    }

    pub fn report(&self) -> &MatchReport {
        &self.report
    }

    /// Turns the permit into a denial, for a reason that lies in the request.
    pub fn deny(self, refusal: Refusal) -> Box<Denial> {
        Denial::new(refusal, self.report)
    }
}
