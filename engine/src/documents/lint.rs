//! `carnet policy lint`: reads a bundle without a server and reports mistakes and weaknesses.
//! References to other objects are not checked, except for a rule's trusted issuer.

use serde::Serialize;
use serde_json::{Map, Value};

use super::{
    Bundle, ClientDocument, Document, FederatedCredentialDocument, Kind, PrincipalDocument,
    ReadContext, ResourceServerDocument, TrustedIssuerDocument,
};
use crate::trust::{DocumentError, Warning, normalise};

/// A mistake or a weakness of one object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LintFinding {
    /// True for a mistake, which saving would refuse; false for a warning.
    pub is_error: bool,
    /// The object, as `table.name`.
    pub object: String,
    /// A JSON Pointer into the object.
    pub pointer: String,
    /// A stable code: that of the warning, or `invalid`.
    pub code: String,
    pub detail: String,
}

impl LintFinding {
    /// A mistake for which saving would refuse the object.
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

/// Reads every object of a bundle, and the `match` of each rule by its trusted issuer's profile.
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
            findings.extend(
                problems
                    .into_iter()
                    .map(|problem| LintFinding::error(kind, name, problem)),
            );
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

fn read<D: Document>(
    members: &Map<String, Value>,
    context: ReadContext<'_>,
) -> (Vec<DocumentError>, Vec<Warning>) {
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
        let detail = format!(
            "must be a trusted issuer of the same file, since its profile gives `match` its meaning; {} is not in it",
            document.trusted_issuer
        );
        return (
            vec![DocumentError::new("/trusted_issuer", detail)],
            Vec::new(),
        );
    };
    let mut warnings = document.warnings(context);
    let terms = issuer
        .and_then(|issuer| TrustedIssuerDocument::read(issuer, context).ok())
        .map(|issuer| issuer.terms());
    match normalise(profile, &terms.unwrap_or_default(), &document.matcher) {
        Ok(normalised) => {
            warnings.extend(normalised.warnings);
            (Vec::new(), warnings)
        }
        Err(problems) => {
            let inside = |problem: DocumentError| {
                DocumentError::new(format!("/match{}", problem.pointer), problem.detail)
            };
            (problems.into_iter().map(inside).collect(), warnings)
        }
    }
}
