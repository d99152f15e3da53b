//! Reading `rpki`.

use super::Loader;
use crate::config::rpki::{MessageIds, RpkiConfig};

/// The only layout of a copy of the RPKI's repositories.
const LAYOUT: &str = "rpki-client";

impl Loader {
    /// What attestations are verified against; `None` if no key of the section is set.
    pub(super) fn rpki(&mut self) -> Option<RpkiConfig> {
        let layout = self.value::<String>("rpki.repository.layout");
        let repository_dir = self.path("rpki.repository.dir");
        let tal_dir = self.path("rpki.tal_dir");
        let content_type = self.value::<String>("rpki.rsm.content_type");
        let audience = self.value::<String>("rpki.rsm.audience");
        let purpose = self.value::<String>("rpki.rsm.purpose");
        let has_numbers = self.given("rpki.recheck_seconds").is_some()
            || self.given("rpki.max_attestation_days").is_some();
        let recheck_seconds = self.in_range("rpki.recheck_seconds", 10, 300, 60);
        let max_attestation_days = self.in_range("rpki.max_attestation_days", 1, 366, 90);
        if let Some(layout) = layout.as_deref().filter(|layout| *layout != LAYOUT) {
            let detail = format!("must be {LAYOUT}, the cache of that validator, not {layout:?}");
            self.error("rpki.repository.layout", detail);
        }
        let texts = [&content_type, &audience, &purpose];
        let is_given = layout.is_some()
            || repository_dir.is_some()
            || tal_dir.is_some()
            || has_numbers
            || texts.iter().any(|text| text.is_some());
        if !is_given {
            return None;
        }
        if !cfg!(feature = "rpki") {
            let detail = "needs a build with the feature rpki, which verifies attestations: cargo build --features rpki";
            self.error("rpki", detail.to_owned());
            return None;
        }
        let missing = [
            ("rpki.repository.dir", repository_dir.is_none()),
            ("rpki.tal_dir", tal_dir.is_none()),
            ("rpki.rsm.content_type", content_type.is_none()),
            ("rpki.rsm.audience", audience.is_none()),
            ("rpki.rsm.purpose", purpose.is_none()),
        ];
        for (key, is_missing) in missing {
            if is_missing {
                let detail = "must be set, as other keys of the section rpki are";
                self.error(key, detail.to_owned());
            }
        }
        Some(RpkiConfig {
            repository_dir: repository_dir?,
            tal_dir: tal_dir?,
            message: MessageIds {
                content_type: content_type?,
                audience: audience?,
                purpose: purpose?,
            },
            recheck_seconds: recheck_seconds.into(),
            max_attestation_days: max_attestation_days.into(),
        })
    }
}
