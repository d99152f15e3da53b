use std::sync::Arc;

use super::report::{Candidate, MatchReport, match_some};
use crate::assertion::VerifiedAssertion;
use crate::clock::Timestamp;
use crate::ids::CredentialId;
use crate::model::Snapshot;
use crate::reason::Reason;
use crate::refusal::Refusal;

/// A yes: a verified assertion, and a report in which at least one rule matches. Only [`Permit::new`] makes one.
#[derive(Debug)]
pub struct Permit {
    assertion: Arc<VerifiedAssertion>,
    report: MatchReport,
    snapshot: Arc<Snapshot>,
}

/// A no to a verified assertion, with the verdicts it comes from.
#[derive(Debug)]
pub struct Denial {
    /// Why.
    pub refusal: Refusal,
    /// The verdicts.
    pub report: MatchReport,
}

impl Denial {
    /// A no to something that no rule was held against.
    pub fn bare(refusal: Refusal) -> Box<Self> {
        let report = MatchReport { version: 0, at: Timestamp::from_seconds(0), candidates: Vec::new() };
        Box::new(Self { refusal, report })
    }
}

impl Permit {
    /// Matches the assertion against the rules of `snapshot`.
    ///
    /// Only candidates that `may_count` are looked at: a request may be limited to some of the rules.
    ///
    /// What was verified for an older form of the trusted issuer proves nothing to newer rules: then nothing matches, and the
    /// assertion has to be verified again.
    pub fn new(
        assertion: Arc<VerifiedAssertion>,
        snapshot: Arc<Snapshot>,
        now: Timestamp,
        may_count: impl Fn(&Candidate) -> bool,
    ) -> Result<Self, Box<Denial>> {
        let issuer = assertion.issuer();
        if !snapshot.is_current(issuer) {
            let report = MatchReport { version: snapshot.version, at: now, candidates: Vec::new() };
            return Err(Box::new(Denial { refusal: Refusal::later(Reason::Busy, 1), report }));
        }
        let report = match_some(&snapshot, issuer, assertion.claims(), now, may_count);
        if report.matching().next().is_none() {
            let refusal = report.refusal(issuer, assertion.claims());
            return Err(Box::new(Denial { refusal, report }));
        }
        Ok(Self { assertion, report, snapshot })
    }

    /// Leaves out rules of which `spent` says why they may give nothing now, as long as others match; else that is the answer.
    /// What was left out comes with the rest: it may be the very rule that the request is about.
    pub fn sparing(
        mut self,
        spent: impl Fn(CredentialId) -> Result<(), Refusal>,
    ) -> Result<(Self, Option<Refusal>), Box<Denial>> {
        let mut why = None;
        self.report.candidates.retain(|candidate| match spent(candidate.credential.id) {
            Ok(()) => true,
            Err(refusal) => {
                if candidate.matches() {
                    why = Some(refusal);
                }
                !candidate.matches()
            }
        });
        match why {
            Some(refusal) if self.report.matching().next().is_none() => Err(self.deny(refusal)),
            why => Ok((self, why)),
        }
    }

    /// Leaves out the matching rules that are not to `keep`; if none is left, that is the answer.
    pub fn keeping(mut self, keep: impl Fn(&Candidate) -> bool, none_left: Refusal) -> Result<Self, Box<Denial>> {
        self.report.candidates.retain(|candidate| !candidate.matches() || keep(candidate));
        if self.report.matching().next().is_none() { Err(self.deny(none_left)) } else { Ok(self) }
    }

    /// The assertion.
    pub fn assertion(&self) -> &Arc<VerifiedAssertion> {
        &self.assertion
    }

    /// The verdicts.
    pub fn report(&self) -> &MatchReport {
        &self.report
    }

    /// The rules it was matched against.
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    /// Turns the yes into a no for a reason that lies in the request.
    pub fn deny(self, refusal: Refusal) -> Box<Denial> {
        Box::new(Denial { refusal, report: self.report })
    }
}
