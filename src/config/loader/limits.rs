//! Reading the rate limits, and how long people stay signed in.

use super::Loader;
use crate::config::{PeopleConfig, RateLimits};

impl Loader {
    pub(super) fn people(&mut self) -> PeopleConfig {
        PeopleConfig {
            session_seconds: self
                .in_range("people.session_seconds", 60, 86_400, 28_800)
                .into(),
            session_idle_seconds: self
                .in_range("people.session_idle_seconds", 60, 86_400, 3600)
                .into(),
            step_up_seconds: self
                .in_range("people.step_up_seconds", 60, 3600, 900)
                .into(),
        }
    }

    pub(super) fn rate_limits(&mut self) -> RateLimits {
        RateLimits {
            refusals_per_minute_per_address: self.in_range(
                "rate_limits.refusals_per_minute_per_address",
                0,
                1_000_000,
                300,
            ),
            tokens_per_minute_per_credential: self.in_range(
                "rate_limits.tokens_per_minute_per_credential",
                0,
                1_000_000,
                600,
            ),
            tokens_per_minute_per_trusted_issuer: self.in_range(
                "rate_limits.tokens_per_minute_per_trusted_issuer",
                0,
                1_000_000,
                0,
            ),
            tokens_per_minute_per_client: self.in_range(
                "rate_limits.tokens_per_minute_per_client",
                0,
                1_000_000,
                600,
            ),
            wrong_secrets_per_minute_per_client: self.in_range(
                "rate_limits.wrong_secrets_per_minute_per_client",
                0,
                1_000_000,
                30,
            ),
            inactive_introspections_per_minute_per_client: self.in_range(
                "rate_limits.inactive_introspections_per_minute_per_client",
                0,
                1_000_000,
                6000,
            ),
            admin_writes_per_minute_per_subject: self.in_range(
                "rate_limits.admin_writes_per_minute_per_subject",
                0,
                1_000_000,
                1200,
            ),
            sign_ins_per_minute_per_address: self.in_range(
                "rate_limits.sign_ins_per_minute_per_address",
                0,
                1_000_000,
                30,
            ),
        }
    }
}
