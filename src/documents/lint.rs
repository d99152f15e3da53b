//! Reads a bundle without a server and says what is wrong or too wide in it.

use serde::Serialize;
use serde_json::{Map, Value};

use super::{
    Bundle, ClientDocument, Document, FederatedCredentialDocument, Kind, PrincipalDocument, ReadContext,
    ResourceServerDocument, TrustedIssuerDocument,
};
use crate::trust::{DocumentError, Warning, normalise};

/// Something found in a bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LintFinding {
    /// Whether saving would refuse it.
    pub is_error: bool,
    /// The object, as `table.name`.
    pub object: String,
    /// Where in it: a JSON Pointer.
    pub pointer: String,
    /// A stable code.
    pub code: String,
    /// What is wrong, and what to do about it.
    pub detail: String,
}

impl LintFinding {
    /// What saving would refuse an object for.
    pub(super) fn error(kind: Kind, name: &str, problem: DocumentError) -> Self {
        Self {
            is_error: true,
            object: format!("{}.{name}", kind.table()),
            pointer: problem.pointer,
            code: "invalid".to_owned(),
            detail: problem.detail,
        }
    }
}

/// Looks at every object of a bundle.
pub fn lint(bundle: &Bundle, context: ReadContext<'_>) -> Vec<LintFinding> {
    let mut findings = Vec::new();
    for kind in Kind::ALL {
        for (name, members) in bundle.of(kind) {
            let object = format!("{}.{name}", kind.table());
            let (problems, warnings) = match kind {
                Kind::Principal => read::<PrincipalDocument>(members, context),
                Kind::TrustedIssuer => read::<TrustedIssuerDocument>(members, context),
                Kind::ResourceServer => read::<ResourceServerDocument>(members, context),
                Kind::Client => read::<ClientDocument>(members, context),
                Kind::FederatedCredential => credential(bundle, members, context),
            };
            findings.extend(problems.into_iter().map(|problem| LintFinding::error(kind, name, problem)));
            findings.extend(warnings.into_iter().map(|warning| LintFinding {
                is_error: false,
                object: object.clone(),
                pointer: String::new(),
                code: warning.code,
                detail: warning.detail,
            }));
        }
    }
    findings
}

fn read<D: Document>(members: &Map<String, Value>, context: ReadContext<'_>) -> (Vec<DocumentError>, Vec<Warning>) {
    match D::read(members, context) {
        Ok(document) => (Vec::new(), document.warnings(context)),
        Err(problems) => (problems, Vec::new()),
    }
}

fn credential(
    bundle: &Bundle,
    members: &Map<String, Value>,
    context: ReadContext<'_>,
) -> (Vec<DocumentError>, Vec<Warning>) {
    let document = match FederatedCredentialDocument::read(members, context) {
        Ok(document) => document,
        Err(problems) => return (problems, Vec::new()),
    };
    let issuer = bundle.get(Kind::TrustedIssuer, &document.trusted_issuer);
    let profile = issuer.and_then(|issuer| context.profiles.get(issuer.get("profile")?.as_str()?));
    let Some(profile) = profile else {
        let detail =
            format!("trusted issuer {} is not in the file, so its rule cannot be judged", document.trusted_issuer);
        return (vec![DocumentError::new("/trusted_issuer", detail)], Vec::new());
    };
    let mut warnings = document.warnings(context);
    let terms =
        issuer.and_then(|issuer| TrustedIssuerDocument::read(issuer, context).ok()).map(|issuer| issuer.terms());
    match normalise(profile, &terms.unwrap_or_default(), &document.matcher) {
        Ok(normalised) => {
            warnings.extend(normalised.warnings);
            (Vec::new(), warnings)
        }
        Err(problems) => {
            let inside =
                |problem: DocumentError| DocumentError::new(format!("/match{}", problem.pointer), problem.detail);
            (problems.into_iter().map(inside).collect(), warnings)
        }
    }
}
