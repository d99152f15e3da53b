//! What keeps an object from being removed: the objects that refer to it, as far as the author may
//! read them.

use std::fmt;

use serde::Serialize;

use super::Rejected;
use super::author::Author;
use super::managed::Managed;
use crate::app::App;
use crate::documents::Stored;
use crate::store::{Referring, ReferringKind};

/// How many objects one answer lists.
const MOST_SHOWN: usize = 100;
/// How many objects the sentence names.
const MOST_NAMED: usize = 5;

/// An object that refers to the one that was to be removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Referrer {
    /// The kind of object as the paths of the admin API name it, such as `federated-credentials`, or
    /// `packages` of a registry behind a gateway.
    pub kind: &'static str,
    pub name: String,
    /// The principal of a federated credential.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub principal: Option<String>,
}

/// The objects that refer to another one. Its `Display` is a sentence that names the first ones.
/// Serialized as the list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Referrers {
    /// At most 100, ordered by kind and name.
    pub shown: Vec<Referrer>,
    #[serde(skip)]
    sentence: String,
}

impl Referrers {
    /// For a conflict of which only a description is known.
    pub fn unknown(sentence: String) -> Self {
        Self {
            shown: Vec::new(),
            sentence,
        }
    }

    fn new(noun: &str, found: Vec<Referring>, author: &Author) -> Self {
        let all = found.len();
        let mut shown: Vec<(ReferringKind, Referrer)> = found
            .into_iter()
            .filter(|object| may_read(author, object))
            .map(|object| {
                let referrer = Referrer {
                    kind: object.kind.segment(),
                    name: object.name,
                    principal: object.principal,
                };
                (object.kind, referrer)
            })
            .collect();
        let is_hidden = shown.len() < all;
        let mut named: Vec<String> = shown
            .iter()
            .take(MOST_NAMED)
            .map(|(kind, referrer)| described(*kind, referrer))
            .collect();
        match shown.len().saturating_sub(MOST_NAMED) {
            0 => {}
            _ if shown.len() > MOST_SHOWN => named.push("many others".to_owned()),
            more => named.push(format!("{more} more")),
        }
        if is_hidden {
            named.push("objects that this token may not read".to_owned());
        }
        let sentence = if named.is_empty() {
            // The referring object was removed between the deletion and the search for it.
            format!("something referred to this {noun} a moment ago; try again")
        } else {
            format!("this {noun} is referred to by {}", named.join(", "))
        };
        shown.truncate(MOST_SHOWN);
        Self {
            shown: shown.into_iter().map(|(_, referrer)| referrer).collect(),
            sentence,
        }
    }
}

impl fmt::Display for Referrers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence)
    }
}

fn described(kind: ReferringKind, referrer: &Referrer) -> String {
    match &referrer.principal {
        Some(principal) => format!("{} {principal}:{}", kind.noun(), referrer.name),
        None => format!("{} {}", kind.noun(), referrer.name),
    }
}

/// Whether the author's scope covers this object.
fn may_read(author: &Author, object: &Referring) -> bool {
    match &object.principal {
        Some(principal) => author.may_act_for(principal),
        None => author.sees_everything,
    }
}

/// The objects that keep `present` from being removed.
pub(super) async fn referrers<D: Managed>(
    app: &App,
    present: &Stored<D>,
    author: &Author,
) -> Result<Referrers, Rejected> {
    let found = app
        .store
        .referring_to(D::KIND, &present.name, &present.id)
        .await?;
    Ok(Referrers::new(D::KIND.noun(), found, author))
}
