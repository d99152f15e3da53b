//! Reading the rate limits, how long people stay signed in, and what their pages are called.

use url::Url;

use super::Loader;
use crate::config::{ConsoleConfig, PeopleConfig, RateLimits};

/// Most characters of the title of the pages.
const MAX_TITLE: usize = 60;

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
            token_lifetime_seconds: self
                .in_range("people.token_lifetime_seconds", 60, 3600, 900)
                .into(),
            command_line: self.value("people.command_line").unwrap_or(true),
        }
    }

    pub(super) fn console(&mut self) -> ConsoleConfig {
        let title = self.value::<String>("console.title");
        let title = title.unwrap_or_else(|| "Carnet".to_owned());
        if title.trim().is_empty() || title.chars().count() > MAX_TITLE {
            let detail = format!("must be 1 to {MAX_TITLE} characters");
            self.error("console.title", detail);
        }
        let support_url = self.parsed::<Url>("console.support_url");
        let is_link = |url: &Url| matches!(url.scheme(), "https" | "mailto");
        if support_url.as_ref().is_some_and(|url| !is_link(url)) {
            let detail = "must be an https or mailto URL".to_owned();
            self.error("console.support_url", detail);
        }
        ConsoleConfig {
            enabled: self.value("console.enabled").unwrap_or(true),
            title,
            support_url,
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
