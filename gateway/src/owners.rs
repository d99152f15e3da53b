//! Whose packages are, as the registry itself says.

use std::collections::BTreeSet;

use crate::gateway::SetUpError;
use crate::index::{Index, NoAnswer};
use crate::registry::UpstreamCredential;
use crate::settle::Asking;
use crate::upstream::Upstream;

/// The lists of owners of one registry, which are asked for with the operator's credential.
#[derive(Debug)]
pub struct OwnerLists {
    index: Index,
    credential: UpstreamCredential,
    upstream: Upstream,
}

impl OwnerLists {
    /// Those of the registry with this index. The client trusts the system's certificate authorities
    /// and these (PEM).
    ///
    /// # Errors
    ///
    /// [`SetUpError`] if an authority cannot be read.
    pub fn new(
        index: Index,
        credential: UpstreamCredential,
        authorities: &[Vec<u8>],
    ) -> Result<Self, SetUpError> {
        Ok(Self {
            index,
            credential,
            upstream: Upstream::trusting(authorities)?,
        })
    }

    /// The logins of those who own a package; `None` if the registry has no list for it.
    ///
    /// # Errors
    ///
    /// [`NoAnswer`] if the protocol has no lists, or if the answer of the registry is none.
    pub async fn of(&self, package: &str) -> Result<Option<BTreeSet<String>>, NoAnswer> {
        let asking = Asking::new(&self.upstream, &self.credential);
        self.index.owners(&asking, package).await
    }
}
