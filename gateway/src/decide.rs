//! Whether a publication may be forwarded.

use carnet_access::{AccessToken, Operation, PackageNames, RegistryState, allows};
use carnet_publish_protocols::{Protocol, Publication};

use crate::authority::Authority;
use crate::records::{Owner, Package, Publisher, Standing};
use crate::refusal::{Refusal, denied, of_record};

/// What a publication is decided on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case<'a> {
    pub(crate) publication: &'a Publication,
    /// `sha256:` and the digest of the file, if there is one.
    pub(crate) digest: Option<&'a str>,
    pub(crate) names: PackageNames,
    pub(crate) protocol: Protocol,
    /// The action that the operation needs.
    pub(crate) action: &'static str,
    /// The record of the package.
    pub(crate) record: &'a Package,
    /// Whether the registry has the package, where the record does not say so.
    pub(crate) exists: bool,
}

impl Case<'_> {
    /// Whether the record leaves open that the registry has the package.
    pub(crate) fn must_ask(record: &Package) -> bool {
        matches!(
            record.standing,
            Standing::Unrecorded | Standing::Reserved(_)
        )
    }

    /// Decides for the holder of a token that is in force.
    pub(crate) fn for_token(
        &self,
        token: AccessToken,
        authority: &impl Authority,
    ) -> Result<Publisher, Refusal> {
        self.spelling()?;
        let owner = self.owner()?;
        let state = RegistryState {
            exists: self.exists,
            owned_by: &|name| owner.is_some_and(|owner| owner.name == name),
            may_act_for: &|principal, owner| authority.may_act_for(principal, owner),
        };
        let operation = Operation {
            action: self.action,
            package: &self.publication.package,
            version: self.publication.version.as_deref(),
            digest: self.digest,
        };
        let details = &token.authorization_details;
        let allowed = allows(details, self.names, &operation, &state)
            .map_err(|why| denied(why, self.publication, self.action, &token))?;
        // A new name that waits for the outcome of its first publication is kept for its owner.
        if owner.is_some_and(|owner| owner.name != allowed.owner) {
            return Err(self.reserved());
        }
        let entry = Box::new(allowed.entry.clone());
        let token = Box::new(token);
        Ok(Publisher::Token { token, entry })
    }

    /// Decides for somebody with the registry's own credentials, as far as it is not the registry
    /// that decides.
    pub(crate) fn for_own_credentials(&self, user: Option<String>) -> Result<Publisher, Refusal> {
        self.spelling()?;
        if self.record.trusted_only {
            return Err(self.refused(
                "trusted_publishing_only",
                "this package takes trusted publishing alone, and no passwords or keys of the registry",
            ));
        }
        match self.record.standing {
            Standing::Reserved(Some(_)) => Err(self.reserved()),
            _ => Ok(Publisher::Passthrough { user }),
        }
    }

    /// The principal whose package it is, or is going to be.
    fn owner(&self) -> Result<Option<&Owner>, Refusal> {
        match &self.record.standing {
            Standing::Owned(owner) | Standing::Reserved(Some(owner)) => Ok(Some(owner)),
            Standing::Unrecorded if !self.exists => Ok(None),
            Standing::Unrecorded | Standing::Unowned => Err(self.refused(
                "package_not_imported",
                "the registry has the package already, and no owner of it is on record; an operator has to import it with `carnet gateway owners set`",
            )),
            Standing::Reserved(None) => Err(self.reserved()),
            Standing::Orphaned => Err(self.refused(
                "package_orphaned",
                "the principal that owned the package is gone; an operator has to transfer it",
            )),
        }
    }

    /// Refuses another spelling of a recorded name where a registry may keep the two apart. Python
    /// indexes may not (PEP 503).
    fn spelling(&self) -> Result<(), Refusal> {
        match &self.record.spelled {
            Some(spelled)
                if self.protocol != Protocol::Pypi && *spelled != self.publication.package =>
            {
                Err(self.refused(
                    "spelling_differs",
                    &format!("the package is spelled `{spelled}`"),
                ))
            }
            _ => Ok(()),
        }
    }

    fn reserved(&self) -> Refusal {
        self.refused(
            "package_reserved",
            "what became of the first publication of this name is not settled yet, and the name is kept for who published it",
        )
    }

    fn refused(&self, code: &'static str, why: &str) -> Refusal {
        let publication = self.publication;
        of_record(code, publication.operation, &publication.package, why)
    }
}
