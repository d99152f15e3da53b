use serde::{Serialize, Serializer};

use super::AssertionContent;

/// What an assertion says of the workload it was given to, as tokens and audit events show it.
#[derive(Debug, Serialize)]
pub struct Workload<'a> {
    iss: &'a str,
    sub: &'a str,
    profile: &'a str,
    claims: Forwarded<'a>,
}

#[derive(Debug)]
struct Forwarded<'a>(&'a AssertionContent);

impl Serialize for Forwarded<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.issuer().profile.forwarded(self.0.claims()))
    }
}

impl<'a> Workload<'a> {
    /// The workload of an assertion.
    pub fn of(assertion: &'a AssertionContent) -> Self {
        let issuer = assertion.issuer();
        Self {
            iss: &issuer.issuer,
            sub: assertion.subject(),
            profile: &issuer.profile.name,
            claims: Forwarded(assertion),
        }
    }
}
