//! A rule that is written in the form: trying it out, and saving it.

use serde_json::{Map, Value};

use super::super::inside::{Inside, Instead, Place, Proof};
use super::super::posted::Fields;
use super::Rule;
use super::change::seen;
use super::draft::{Draft, Problem};
use crate::admin::{
    self, Author, Catalog, CatalogIssuer, Change, DryRun, Occasion, Precondition, Rejected,
};
use crate::documents::FederatedCredentialDocument;
use crate::profile::Form;

/// What was found about a draft.
#[derive(Debug, Default)]
pub struct Findings {
    /// Why nothing was done with a form that is right.
    pub notice: Option<&'static str>,
    pub problems: Vec<Problem>,
    /// What saving would do.
    pub checked: Option<DryRun>,
}

/// A form, and what it is for.
#[derive(Debug)]
pub struct Written<'w> {
    pub place: &'w Place,
    pub catalog: &'w Catalog,
    pub issuer: &'w CatalogIssuer,
    pub form: &'w Form,
    /// The rule that is changed; a new one without.
    pub stored: Option<&'w Rule>,
}

/// What is asked of [`admin`].
struct Request {
    reference: String,
    change: Change,
    precondition: Precondition,
}

impl<'w> Written<'w> {
    /// The form for the rules of a trusted issuer, which a rule of the principal may name.
    pub fn find(
        place: &'w Place,
        catalog: &'w Catalog,
        trusted_issuer: &str,
        stored: Option<&'w Rule>,
    ) -> Option<Self> {
        let is_it = |issuer: &&CatalogIssuer| issuer.name.eq_ignore_ascii_case(trusted_issuer);
        Some(Self {
            place,
            catalog,
            issuer: catalog.trusted_issuers.iter().find(is_it)?,
            form: catalog.form_of(trusted_issuer)?,
            stored,
        })
    }

    fn draft<'d>(&'d self, fields: &'d Fields) -> Draft<'d> {
        Draft {
            principal: self.place.name(),
            trusted_issuer: &self.issuer.name,
            form: self.form,
            fields,
            stored: self.stored,
        }
    }

    fn request(&self, fields: &Fields, members: Map<String, Value>) -> Request {
        match self.stored {
            Some(stored) => Request {
                reference: stored.id.clone(),
                change: Change::Replace(members),
                precondition: seen(fields),
            },
            None => Request {
                reference: format!("{}:{}", self.place.name(), fields.text("name")),
                change: Change::Create(members),
                precondition: Precondition::default(),
            },
        }
    }

    /// Tries out what was typed.
    pub async fn check(
        &self,
        inside: &Inside,
        fields: &Fields,
        author: &Author,
    ) -> Result<Findings, Instead> {
        let draft = self.draft(fields);
        let (members, mut problems) = draft.document();
        let occasion = Occasion {
            online: true,
            author,
        };
        let request = self.request(fields, members);
        let tried = admin::try_out::<FederatedCredentialDocument>(
            &inside.app,
            &request.reference,
            &request.change,
            &request.precondition,
            occasion,
        );
        let checked = match tried.await {
            Ok(checked) => checked,
            Err(rejected) => return self.refused(inside, rejected).await,
        };
        // A value that the form cannot read is not in the document, which says so once more.
        let placed = checked.errors.iter().map(|error| draft.placed(error));
        let new: Vec<Problem> = placed
            .filter(|one| one.key.is_none() || problems.iter().all(|known| known.key != one.key))
            .collect();
        problems.extend(new);
        Ok(Findings {
            notice: None,
            problems,
            checked: Some(checked),
        })
    }

    /// Saves what was typed, and returns the name of the rule; or says why it is not saved.
    pub async fn save(
        &self,
        inside: &Inside,
        fields: &Fields,
    ) -> Result<Result<String, Findings>, Instead> {
        let author = inside.writer(self.place, Proof::Recent)?;
        let (members, _) = self.draft(fields).document();
        let occasion = Occasion {
            online: true,
            author: &author,
        };
        let request = self.request(fields, members);
        let saved = admin::save::<FederatedCredentialDocument>(
            &inside.app,
            &request.reference,
            &request.change,
            &request.precondition,
            occasion,
        );
        match saved.await {
            Ok(saved) => Ok(Ok(saved.object.name)),
            Err(rejected) => Ok(Err(self.refused(inside, rejected).await?)),
        }
    }

    /// A refusal that the form can show, at the field that it concerns.
    async fn refused(&self, inside: &Inside, rejected: Rejected) -> Result<Findings, Instead> {
        let problem = match &rejected {
            Rejected::Exists(why) => Problem {
                key: Some("name".to_owned()),
                text: why.clone(),
            },
            Rejected::Changed => Problem {
                key: None,
                text: "Somebody changed the rule after this form was shown. Open it again to see how it is now."
                    .to_owned(),
            },
            _ => {
                let back = inside.links.principal(self.place.name());
                return Err(inside.rejected(rejected, back).await);
            }
        };
        Ok(Findings {
            problems: vec![problem],
            ..Findings::default()
        })
    }
}
