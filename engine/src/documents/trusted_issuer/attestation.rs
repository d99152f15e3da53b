//! Reads `attestation`: by what the RPKI must vouch for the keys of a trusted issuer.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::attested::{AsRange, NumberResources, prefix};
use crate::documents::reader::Reader;
use crate::documents::{Attestations, ReadContext};
use crate::model::AttestationTerms;
use crate::profile::Profile;

/// Entries of one list.
const MOST_RESOURCES: usize = 256;

/// By what the RPKI must vouch for the keys of a trusted issuer. Experimental.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AttestationDocument {
    /// Accepted forms of attestations: `rsm`, a signed message of the RPKI.
    #[serde(default = "all_forms")]
    pub forms: Vec<AttestationForm>,
    /// What the issuer may speak for, as far as its keys are attested to it.
    pub speaks_for: SpeaksFor,
    /// The names of the trust anchors that count; null for all that the server has.
    #[serde(default)]
    pub trust_anchors: Option<Vec<String>>,
}

/// A form of attestation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AttestationForm {
    /// An RPKI signed message (draft-spaghetti-sidrops-rpki-rsm).
    Rsm,
}

/// AS numbers and prefixes. At least one is needed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SpeaksFor {
    /// AS numbers and ranges of them, such as `AS64496` and `AS64500-AS64511`.
    #[serde(default)]
    pub asns: Vec<String>,
    /// Prefixes, such as `192.0.2.0/24`.
    #[serde(default)]
    pub prefixes: Vec<String>,
}

impl SpeaksFor {
    /// Those that are well-formed.
    pub fn resources(&self) -> NumberResources {
        let asns = self.asns.iter().filter_map(|text| AsRange::parse(text));
        let prefixes = self.prefixes.iter().filter_map(|text| prefix(text));
        NumberResources::of_documents(&asns.collect::<Vec<_>>(), &prefixes.collect::<Vec<_>>())
    }
}

fn all_forms() -> Vec<AttestationForm> {
    vec![AttestationForm::Rsm]
}

impl AttestationDocument {
    pub(super) fn terms(&self) -> AttestationTerms {
        AttestationTerms {
            speaks_for: self.speaks_for.resources(),
            trust_anchors: self.trust_anchors.clone(),
        }
    }

    /// The member that is wrong, and why.
    fn mistake(&self, context: ReadContext<'_>) -> Option<(&'static str, String)> {
        let SpeaksFor { asns, prefixes } = &self.speaks_for;
        if self.forms.is_empty() {
            return Some(("attestation/forms", "must name rsm".to_owned()));
        }
        if asns.is_empty() && prefixes.is_empty() {
            let detail = "must name at least one AS number or prefix: only configuration says for whom an issuer speaks";
            return Some(("attestation/speaks_for", detail.to_owned()));
        }
        if asns.len() > MOST_RESOURCES || prefixes.len() > MOST_RESOURCES {
            let detail = format!("must have at most {MOST_RESOURCES} entries in each list");
            return Some(("attestation/speaks_for", detail));
        }
        if let Some(text) = asns.iter().find(|text| AsRange::parse(text).is_none()) {
            let detail =
                format!("must hold AS numbers such as AS64496 or AS64500-AS64511, not `{text}`");
            return Some(("attestation/speaks_for/asns", detail));
        }
        if let Some(text) = prefixes.iter().find(|text| prefix(text).is_none()) {
            let detail = format!(
                "must hold prefixes whose bits beyond their length are zero, such as 192.0.2.0/24, not `{text}`"
            );
            return Some(("attestation/speaks_for/prefixes", detail));
        }
        self.unknown_anchor(context)
            .map(|detail| ("attestation/trust_anchors", detail))
    }

    fn unknown_anchor(&self, context: ReadContext<'_>) -> Option<String> {
        let named = self.trust_anchors.as_ref()?;
        if named.is_empty() {
            return Some("must name at least one trust anchor, or be null for all".to_owned());
        }
        let Attestations::UpTo(known) = context.attestations else {
            return None;
        };
        let unknown = named.iter().find(|name| !known.contains(name))?;
        let known = known.join(", ");
        Some(format!(
            "must be among {known}: there is no locator `{unknown}.tal` here"
        ))
    }
}

pub(super) fn attestation(
    reader: &mut Reader<'_>,
    profile: Option<&Arc<Profile>>,
    context: ReadContext<'_>,
) -> Option<AttestationDocument> {
    let is_required = profile.is_some_and(|profile| profile.is_attested());
    let Some(value) = reader.value("attestation") else {
        if is_required {
            let detail =
                "must be given: the keys of this profile count only if the RPKI vouches for them";
            reader.problem("attestation", detail);
        }
        return None;
    };
    if profile.is_some() && !is_required {
        let detail = "must not be given: this profile knows no attestations";
        reader.problem("attestation", detail);
        return None;
    }
    if let Attestations::Never(why) = context.attestations {
        reader.problem("attestation", format!("must not be given: {why}"));
        return None;
    }
    match serde_json::from_value::<AttestationDocument>(value.clone()) {
        Ok(document) => {
            if let Some((pointer, detail)) = document.mistake(context) {
                reader.problem(pointer, detail);
            }
            Some(document)
        }
        Err(error) => {
            let form = "must be {\"speaks_for\": {\"asns\": [\"AS64496\"], \"prefixes\": []}, \"forms\": [\"rsm\"], \"trust_anchors\": null}";
            reader.problem("attestation", format!("{form}: {error}"));
            None
        }
    }
}
