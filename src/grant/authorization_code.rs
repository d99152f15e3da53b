//! The authorization code grant (RFC 6749 section 4.1.3, RFC 7636 section 4.5).

use super::GrantDefinition;
use super::request::SentSubject;
use crate::authorization::SentCode;
use crate::grant_type::GrantType;
use crate::reason::Reason;
use crate::refusal::Refusal;

/// How long a code verifier is (RFC 7636 section 4.1), which oxide-auth does not check.
const VERIFIER_CHARACTERS: std::ops::RangeInclusive<usize> = 43..=128;

pub(super) const GRANT: GrantDefinition = GrantDefinition {
    kind: GrantType::AuthorizationCode,
    parameters: PARAMETERS,
    read: |form, _, _| {
        let code = form.require("code")?;
        let failed = || Refusal::parameter(Reason::PkceFailed, "code_verifier");
        let verifier = form.get("code_verifier").ok_or_else(failed)?;
        let unreserved =
            |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
        if !VERIFIER_CHARACTERS.contains(&verifier.len()) || !verifier.bytes().all(unreserved) {
            return Err(failed());
        }
        let sent = SentCode {
            code,
            redirect_uri: form.get("redirect_uri"),
            verifier,
        };
        Ok((SentSubject::Code(sent), None))
    },
};

pub(super) const PARAMETERS: &[&str] = &["code", "redirect_uri", "code_verifier"];
