//! Compiles what rules and runs are judged by besides the fields: warnings, the floor, and the events
//! that have to be asked for.

use super::{Claims, find};
use crate::profile::file::{FloorFile, NarrowingFile, ProfileFile, WarningFile};
use crate::profile::{Asked, Floor, Narrowing, WeakRule};

pub(super) fn weak_rule(file: WarningFile) -> WeakRule {
    let likes = file.like.iter().flat_map(|(field, globs)| {
        let globs = globs.as_slice().iter();
        globs.map(|glob| (field.clone(), glob.clone()))
    });
    WeakRule {
        like: likes.collect(),
        code: file.code,
        unless: file.unless.into_iter().map(narrowing).collect(),
        detail: file.detail,
    }
}

fn narrowing(file: NarrowingFile) -> Narrowing {
    match file {
        NarrowingFile::Field(field) => Narrowing {
            field,
            ..Narrowing::default()
        },
        NarrowingFile::Some(some) => Narrowing {
            field: some.field,
            values: some.values,
            globs: some.globs,
            with: some.with.into_iter().collect(),
        },
    }
}

pub(super) fn floor(file: &FloorFile, claims: &Claims) -> Result<Floor, String> {
    let environment_protected = file.environment_protected_claim.as_ref();
    Ok(Floor {
        environment_field: file.environment_field.clone(),
        environment_protected: environment_protected
            .map(|name| find(claims, name))
            .transpose()?,
        protected: find(claims, &file.protected_claim)?,
    })
}

pub(super) fn asked(file: &ProfileFile, claims: &Claims) -> Result<Asked, String> {
    let ref_claims = file.ref_claims.iter().map(|name| find(claims, name));
    Ok(Asked {
        events: file.asked_events.clone(),
        refs: file.asked_refs.clone(),
        ref_claims: ref_claims.collect::<Result<_, _>>()?,
    })
}
