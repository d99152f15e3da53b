//! Reading documents in unit tests.

use carnet_jose::{Algorithm, KeyUse};
use serde_json::{Map, Value};

use super::{Document, KeyMaterial, ReadContext};
use crate::own_urls::OwnUrls;
use crate::profile::Profiles;
use crate::trust::DocumentError;

/// Takes all keys and certificates, which unit tests have none of.
#[derive(Debug)]
struct AnyMaterial;

impl KeyMaterial for AnyMaterial {
    fn check_key_set(&self, _: &Value, _: &[Algorithm], _: KeyUse) -> Result<(), String> {
        Ok(())
    }

    fn check_client_certificates(&self, _: &Value) -> Result<(), String> {
        Ok(())
    }

    fn check_certificates(&self, _: &str) -> Result<(), String> {
        Ok(())
    }
}

/// Calls `then` with the context of a server at `https://carnet.example`.
pub fn in_context<T>(then: impl FnOnce(ReadContext<'_>) -> T) -> T {
    let profiles = Profiles::load(None).unwrap();
    let own = OwnUrls::new("https://carnet.example", "127.0.0.1:1".parse().unwrap()).unwrap();
    then(ReadContext {
        attestations: crate::documents::Attestations::Elsewhere,
        profiles: &profiles,
        own: &own,
        allow_http_loopback: false,
        token_lifetime_seconds: 900,
        command_line: true,
        material: &AnyMaterial,
    })
}

/// Reads a document.
pub fn read<D: Document>(members: &Map<String, Value>) -> Result<D, Vec<DocumentError>> {
    in_context(|context| D::read(members, context))
}

/// Reads a document, and again what it exports and shows: the first is the same document, and the
/// second, which has defaults filled in, shows the same.
pub fn read_again<D: Document>(document: Value) -> D {
    let members = document.as_object().unwrap();
    let document: D = read(members).unwrap_or_else(|problems| panic!("{members:?}: {problems:?}"));
    assert_eq!(read::<D>(&document.exported()).as_ref(), Ok(&document));
    let shown = shown(&document);
    assert_eq!(self::shown(&read::<D>(&shown).unwrap()), shown);
    document
}

/// The document as the admin API answers it.
pub fn shown<D: Document>(document: &D) -> Map<String, Value> {
    in_context(|context| document.shown(context))
}

/// The places of the mistakes in a document, which must have some.
pub fn mistakes<D: Document>(document: Value) -> Vec<String> {
    let problems = read::<D>(document.as_object().unwrap()).unwrap_err();
    let pointers = problems.into_iter().map(|problem| {
        assert!(problem.detail.starts_with("must "), "{problem:?}");
        problem.pointer
    });
    pointers.collect()
}
