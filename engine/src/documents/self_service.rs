//! What a self-service rule, for which nobody vouches, must not do.

use serde_json::Map;

use super::{FederatedCredentialDocument, PrincipalDocument};
use crate::model::{MAX_KEYS, Rule, acts_for};
use crate::profile::Profile;
use crate::trust::DocumentError;

impl FederatedCredentialDocument {
    /// Refuses a self-service rule without an index key: it would be evaluated for every token of
    /// its trusted issuer, and any principal could slow down all others that way.
    pub fn check_index_key(&self, profile: &Profile) -> Option<DocumentError> {
        let none = Map::new();
        let rule = Rule {
            conditions: Rule::conditions(profile, &self.matcher, &none),
            ..Rule::default()
        };
        let fields = profile.index.iter().flatten().map(|key| {
            let names: Vec<&str> = key
                .iter()
                .filter_map(|at| Some(profile.fields.get(*at)?.name.as_str()))
                .collect();
            names.join(" and ")
        });
        let fields: Vec<String> = fields.collect();
        rule.index_keys(profile).is_empty().then(|| {
            let detail = format!(
                "must, as a self-service rule, have at most {MAX_KEYS} combinations of plain values of one of these: {}",
                fields.join("; ")
            );
            DocumentError::new("/match", detail)
        })
    }

    /// Owners that a self-service rule may name: its own principal and that principal's `acts_for`.
    pub fn check_owners(&self, principal: &PrincipalDocument) -> Vec<DocumentError> {
        let is_foreign = |owner: &String| !acts_for(&self.principal, &principal.acts_for, owner);
        let foreign = self.permissions.iter().enumerate();
        let foreign =
            foreign.filter(|(_, permission)| permission.owner.as_ref().is_some_and(is_foreign));
        let detail = "must be the rule's principal or one of its acts_for, unless an administrator vouches for the rule";
        foreign
            .map(|(at, _)| DocumentError::new(format!("/permissions/{at}/owner"), detail))
            .collect()
    }
}
