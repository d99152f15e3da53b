//! What owners and operators do with a rule that is there, by one press each.

use axum::body::Bytes;
use axum::extract::Path;
use axum::extract::rejection::BytesRejection;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};

use super::super::inside::{Inside, Instead, Place, Proof};
use super::super::page::see_other;
use super::super::posted::Fields;
use super::page::find;
use crate::admin::{self, Author, Change, Occasion, Precondition, Rejected};
use crate::clock::Timestamp;
use crate::documents::FederatedCredentialDocument;

/// What a button asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Press {
    Disable,
    Enable,
    /// Waits another seven days for the first use.
    Renew,
    /// Still right: sets the day of the next review.
    Reviewed,
    Vouch,
    Unvouch,
}

impl Press {
    fn of(word: &str) -> Option<Self> {
        match word {
            "disable" => Some(Self::Disable),
            "enable" => Some(Self::Enable),
            "renew" => Some(Self::Renew),
            "reviewed" => Some(Self::Reviewed),
            "vouch" => Some(Self::Vouch),
            "unvouch" => Some(Self::Unvouch),
            _ => None,
        }
    }

    /// The author of the change. What only takes rights away needs no recent proof of identity.
    fn author(self, inside: &Inside, place: &Place) -> Result<Author, Instead> {
        match self {
            Self::Disable => inside.writer(place, Proof::Any),
            Self::Enable | Self::Renew | Self::Reviewed => inside.writer(place, Proof::Recent),
            Self::Vouch => inside.operator(Proof::Recent),
            Self::Unvouch => inside.operator(Proof::Any),
        }
    }

    /// What has to be as the person saw it: nothing, if the press only takes rights away, since the
    /// first use of a rule changes it too.
    fn precondition(self, fields: &Fields) -> Precondition {
        match self {
            Self::Disable | Self::Unvouch => Precondition::default(),
            Self::Enable | Self::Renew | Self::Reviewed | Self::Vouch => seen(fields),
        }
    }

    /// The change as a merge patch.
    fn patch(self, fields: &Fields) -> Result<Value, &'static str> {
        Ok(match self {
            Self::Disable => json!({ "enabled": false }),
            Self::Enable => json!({ "enabled": true }),
            Self::Renew => json!({}),
            Self::Vouch => json!({ "vouched": true }),
            Self::Unvouch => json!({ "vouched": false }),
            Self::Reviewed => {
                let day = format!("{}T00:00:00Z", fields.text("review_at"));
                let day = Timestamp::parse_rfc3339(&day);
                let day =
                    day.ok_or("The day of the next review has to be a date, such as 2027-06-30.")?;
                json!({ "review_at": day.to_string() })
            }
        })
    }
}

/// The version that a form shows, so that nothing is changed that the person has not seen.
pub fn seen(fields: &Fields) -> Precondition {
    Precondition {
        versions: Some(fields.text("version").parse().into_iter().collect()),
        ..Precondition::default()
    }
}

/// `POST /console/principals/{principal}/rules/{rule}/change`
pub async fn change(
    inside: Inside,
    Path((principal, name)): Path<(String, String)>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Instead> {
    let fields = inside.fields(body)?;
    let place = inside.at(&principal).await?;
    let rule = find(&inside, &place, &name).await?;
    let back = inside.links.rule(place.name(), &rule.name);
    let Some(press) = Press::of(fields.text("do")) else {
        return Err(inside.not_found().await);
    };
    let author = press.author(&inside, &place)?;
    let patch = press.patch(&fields).map_err(|why| {
        let (status, heading) = (StatusCode::BAD_REQUEST, "The date is not right");
        Instead::from(inside.not_done(status, heading, vec![why.to_owned()], back.clone()))
    })?;
    let occasion = Occasion {
        online: true,
        author: &author,
    };
    let (change, seen) = (Change::Patch(patch), press.precondition(&fields));
    let saved =
        admin::save::<FederatedCredentialDocument>(&inside.app, &rule.id, &change, &seen, occasion);
    match saved.await {
        Ok(_) => Ok(see_other(&back, None)),
        Err(rejected) => Err(inside.rejected(rejected, back).await),
    }
}

/// `POST /console/principals/{principal}/rules/{rule}/delete`: the name has to be typed.
pub async fn delete(
    inside: Inside,
    Path((principal, name)): Path<(String, String)>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Instead> {
    let fields = inside.fields(body)?;
    let place = inside.at(&principal).await?;
    let rule = find(&inside, &place, &name).await?;
    let back = inside.links.rule(place.name(), &rule.name);
    let author = inside.writer(&place, Proof::Recent)?;
    if fields.text("name") != rule.name {
        let told = format!("To delete the rule, type its name: {}.", rule.name);
        let (status, heading) = (StatusCode::BAD_REQUEST, "The rule was not deleted");
        return Err(inside.not_done(status, heading, vec![told], back).into());
    }
    let seen = seen(&fields);
    let deleted =
        admin::delete::<FederatedCredentialDocument>(&inside.app, &rule.id, &seen, &author);
    match deleted.await {
        // Gone already is what was wanted.
        Ok(()) | Err(Rejected::NotFound) => {
            Ok(see_other(&inside.links.principal(place.name()), None))
        }
        Err(rejected) => Err(inside.rejected(rejected, back).await),
    }
}
