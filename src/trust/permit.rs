use std::sync::Arc;

use super::report::{MatchReport, match_credentials};
use super::snapshot::Snapshot;
use crate::assertion::VerifiedAssertion;
use crate::clock::Timestamp;
use crate::refusal::Refusal;

/// A yes: a verified assertion, and a report in which at least one rule matches. Only [`Permit::new`] makes one.
#[derive(Debug)]
pub struct Permit {
    assertion: Arc<VerifiedAssertion>,
    report: MatchReport,
    snapshot: Arc<Snapshot>,
}

impl Permit {
    /// Matches the assertion against the rules of `snapshot`.
    pub fn new(assertion: Arc<VerifiedAssertion>, snapshot: Arc<Snapshot>, now: Timestamp) -> Result<Self, Refusal> {
        let issuer = assertion.issuer();
        let report = match_credentials(&snapshot, issuer, assertion.claims(), now);
        if report.matching().next().is_none() {
            let (reason, mismatches) = report.refusal(issuer, assertion.claims());
            return Err(Refusal::no_match(reason, mismatches));
        }
        Ok(Self { assertion, report, snapshot })
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
}
