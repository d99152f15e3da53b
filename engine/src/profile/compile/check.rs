//! Compiles checks, pairs and requirements: resolves every claim that they name.

use super::{Claims, find};
use crate::profile::file::{CheckFile, OneOrMore, PairFile, PasteFile, RequirementFile};
use crate::profile::{
    Address, AttestedCheck, Check, Equals, FileCheck, Identity, Pair, Paste, Requirement,
    ReusableFile, Revision, Template,
};
use crate::reason::Reason;

pub(super) fn check(file: &CheckFile, claims: &Claims) -> Result<Check, String> {
    let template = |text: &str| Template::parse(text, |name| claims.get(name).cloned());
    Ok(match file {
        CheckFile::Equals(file) => Check::Equals(Equals {
            claim: find(claims, &file.claim)?,
            glob: file.glob,
            list: file.list,
            starts_with: file.starts_with.clone(),
            prefix: file.prefix.as_deref().map(template).transpose()?,
            value_format: file.value_format.or(find(claims, &file.claim)?.format),
            known_values: file.known_values.clone(),
            parts_end_at: file.parts_end_at.clone(),
            verified_by: file
                .verified_by
                .as_deref()
                .map(|name| find(claims, name))
                .transpose()?,
            digits: file.digits,
            literal: file.literal.clone(),
            strangers: file.strangers.clone(),
            paste: paste(&file.paste)?,
        }),
        CheckFile::Flag(file) => Check::Flag {
            claim: find(claims, &file.claim)?,
            wanted: file.wanted,
        },
        CheckFile::Present(file) => Check::Present {
            claim: find(claims, &file.claim)?,
            default: file.default,
        },
        CheckFile::Version(file) => Check::Version {
            claim: find(claims, &file.claim)?,
            starts_with: file.starts_with.clone(),
        },
        CheckFile::Choice(file) if file.values.contains(&file.default) => Check::Choice {
            values: file.values.clone(),
            default: file.default.clone(),
        },
        CheckFile::Choice(_) => return Err("`default` must be one of `values`".to_owned()),
        CheckFile::File(file) => Check::File(FileCheck {
            claim: find(claims, &file.claim)?,
            prefixes: file
                .prefix
                .as_slice()
                .iter()
                .map(|text| template(text))
                .collect::<Result<_, _>>()?,
            at: file
                .at
                .iter()
                .map(|text| revision(text, claims))
                .collect::<Result<_, _>>()?,
            endings: file.endings.clone(),
            folders: file.folders,
            paste: paste(&file.paste)?,
        }),
        CheckFile::ReusableFile(file) => Check::ReusableFile(ReusableFile {
            claim: find(claims, &file.claim)?,
            commit: find(claims, &file.commit_claim)?,
            same_repository: template(&file.same_repository)?,
        }),
        CheckFile::Identity(file) => {
            Check::Identity(Identity::parse(&file.template, &file.defaults, |name| {
                find(claims, name)
            })?)
        }
        CheckFile::Upstream => Check::Upstream,
        CheckFile::MatchNames => Check::MatchNames,
        CheckFile::Attested(file) => Check::Attested(AttestedCheck {
            resource: file.resource,
            narrowed_by: file
                .narrowed_by
                .as_deref()
                .map(|name| find(claims, name))
                .transpose()?,
        }),
    })
}

fn revision(text: &str, claims: &Claims) -> Result<Revision, String> {
    match text.strip_suffix("**") {
        Some(beginning) => Ok(Revision::StartsWith(beginning.to_owned())),
        None => find(claims, text).map(Revision::Claim),
    }
}

fn paste(file: &PasteFile) -> Result<Paste, String> {
    // An empty affix would make the loop that strips it from a value endless.
    if file
        .prefixes
        .iter()
        .chain(&file.suffixes)
        .any(String::is_empty)
    {
        return Err("`paste` must not hold an empty text".to_owned());
    }
    let address = Address {
        hosts: file.hosts.clone(),
        with_host: file.with_host,
        parts: file.parts,
    };
    Ok(Paste {
        prefixes: file.prefixes.clone(),
        suffixes: file.suffixes.clone(),
        address: Some(address).filter(|address| !address.hosts.is_empty()),
    })
}

pub(super) fn pair(file: &PairFile, claims: &Claims) -> Result<Pair, String> {
    let claim = find(claims, &file.claim)?;
    let templates = |texts: &OneOrMore| -> Result<Vec<Template>, String> {
        texts
            .as_slice()
            .iter()
            .map(|text| Template::parse(text, |name| claims.get(name).cloned()))
            .collect()
    };
    match (&file.starts_with, &file.is, &file.twin) {
        (Some(texts), None, None) => Ok(Pair::StartsWith {
            claim,
            templates: templates(texts)?,
            rest: file.rest,
        }),
        (None, Some(texts), None) => Ok(Pair::Is {
            claim,
            templates: templates(texts)?,
        }),
        (None, None, Some(twin)) => {
            let values = file
                .prefixes
                .iter()
                .map(|(prefix, value)| (prefix.clone(), value.clone()))
                .collect();
            Ok(Pair::Prefixes {
                claim,
                twin: find(claims, twin)?,
                values,
            })
        }
        _ => Err(format!(
            "the pair of `{}` must have one of `starts_with`, `is` and `twin`",
            file.claim
        )),
    }
}

pub(super) fn requirement(file: &RequirementFile, claims: &Claims) -> Result<Requirement, String> {
    Ok(match file {
        RequirementFile::Values(file) => Requirement::Values {
            claims: file
                .claims
                .iter()
                .map(|name| find(claims, name))
                .collect::<Result<_, _>>()?,
            values: file.one_of.clone(),
            optional: file.optional,
            reason: file.mismatch.unwrap_or(Reason::ClaimMismatch),
        },
        RequirementFile::Verified(name) => Requirement::Verified(find(claims, name)?),
        RequirementFile::TrustDomain(name) => Requirement::TrustDomain(find(claims, name)?),
        RequirementFile::SubjectUri(name) => Requirement::SubjectUri(find(claims, name)?),
        RequirementFile::SubjectName(name) => Requirement::SubjectName(find(claims, name)?),
        RequirementFile::Attested(name) => Requirement::Attested(find(claims, name)?),
    })
}
