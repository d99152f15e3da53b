//! What only a registry knows, judged by the code that registries use.

use carnet_resource_server::{AuthorizationDetail, Operation, PackageNames, RegistryState, allows};
use serde_json::Value;

use super::case::Requested;
use super::setting::Setting;
use crate::model::TrustedIssuer;
use crate::principal::Entitlement;
use crate::reason::Reason;
use crate::refusal::Refusal;

impl Setting<'_> {
    /// Whether the registry would accept every package of the request.
    pub(super) fn registry_decides(&self, entitlement: &Entitlement, issuer: &TrustedIssuer) -> Result<(), Refusal> {
        let Some(requested) = &self.context().requested else {
            return Ok(());
        };
        let names = entitlement.resource_server.package_names;
        for package in &requested.packages {
            self.allowed(&entitlement.details, names, requested, package, issuer)?;
        }
        Ok(())
    }

    fn allowed(
        &self,
        details: &[AuthorizationDetail],
        names: PackageNames,
        requested: &Requested,
        package: &str,
        issuer: &TrustedIssuer,
    ) -> Result<(), Refusal> {
        let context = self.context();
        let holds = |packages: &[String]| packages.iter().any(|owned| names.same(owned, package));
        let scope = context.issuer_scopes.get(&issuer.issuer).and_then(Value::as_array);
        let scope: Option<Vec<String>> =
            scope.map(|packages| packages.iter().filter_map(Value::as_str).map(str::to_owned).collect());
        let owned_by = |owner: &str| {
            context.owned_packages.as_deref().is_none_or(holds)
                && scope.as_deref().is_none_or(holds)
                && context.package_owner_now.as_deref().is_none_or(|now| now == owner)
        };
        let state = RegistryState {
            exists: context.package_exists != Some(false),
            owned_by: &owned_by,
            may_act_for: &|_, _| true,
        };
        let operation = Operation {
            action: &requested.action,
            package,
            version: requested.version.as_deref(),
            digest: requested.digest.as_deref(),
        };
        match allows(details, names, &operation, &state) {
            Ok(_) => Ok(()),
            Err(denied) => Err(Reason::from(denied.reason).into()),
        }
    }
}
