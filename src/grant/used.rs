//! What is known of earlier uses of the assertions of a request, and what a refusal may say then.

use super::{About, Refused, record};
use crate::app::App;
use crate::assertion::{AcceptedAssertion, SingleUseKey};
use crate::client::ClientIdentity;
use crate::decision::{Subject, View};
use crate::reason::Reason;
use crate::refusal::Refusal;
use crate::store::Use;

/// A used client assertion does not authenticate the client, so `replay` takes precedence over
/// every other reason for refusal. If the lookup fails, the refusal stays as it is.
pub(super) async fn as_told(app: &App, refused: Refused) -> Refused {
    let of_client = refused
        .client
        .as_ref()
        .and_then(ClientIdentity::consumed)
        .map(|(key, _)| key);
    let Ok(Some(used)) = use_of(app, of_client).await else {
        return refused;
    };
    let about = match refused.about {
        About::Nothing => About::Client,
        about => about,
    };
    let why = refused.refusal.reason;
    let mut refusal = Refusal::replay(used.event).of_client();
    if why != Reason::Replay {
        refusal = refusal.with_detail(format!("refused beside: {why}"));
    }
    Refused {
        refusal,
        told: Reason::Replay,
        about,
        ..refused
    }
}

/// Removes from a refusal what rules ask for and permit, unless its assertion is known to be unused:
/// the holder of a copy must learn neither.
pub(super) async fn told(app: &App, mut refused: Refused) -> Refused {
    if let About::Assertion(assertion, _) = &refused.about
        && refused.refusal.tells_of_rules()
    {
        let used = use_of(app, assertion.key().copied()).await;
        refused.refusal = match used {
            Ok(None) => refused.refusal,
            Ok(Some(used)) => refused.refusal.undisclosed(used.event),
            Err(failure) => failure,
        };
    }
    refused
}

/// Notes, for an explanation, whether the refused assertion was used before. A failed lookup counts
/// as used.
pub(super) async fn with_use(
    app: &App,
    mut refused: Box<Refused>,
    view: Option<&View>,
) -> Box<Refused> {
    if let (About::Unaccepted(assertion), Some(_)) = (&refused.about, view) {
        refused.used = !matches!(use_of(app, assertion.key().copied()).await, Ok(None));
    }
    refused
}

/// Which of the assertions that a token would use up were used before.
pub(super) struct Uses {
    /// One of them was used, or two parameters hold the same assertion. Either way the ledger would
    /// answer `Replayed`.
    pub(super) any: bool,
    /// The subject's assertion was used.
    pub(super) of_subject: bool,
}

pub(super) async fn uses(app: &App, subject: &Subject<AcceptedAssertion>) -> Result<Uses, Refusal> {
    let of_subject = subject
        .assertion()
        .and_then(|assertion| assertion.key().copied());
    let mut found = Uses {
        any: false,
        of_subject: use_of(app, of_subject).await?.is_some(),
    };
    let keys: Vec<SingleUseKey> = record::consumed(subject)
        .into_iter()
        .map(|(key, _)| key)
        .collect();
    for (at, key) in keys.iter().enumerate() {
        let twice = keys.iter().take(at).any(|other| other == key);
        found.any |= twice || use_of(app, Some(*key)).await?.is_some();
    }
    Ok(found)
}

/// The recorded use of an assertion; `None` if it is unused or need not be recorded.
pub(super) async fn use_of(app: &App, key: Option<SingleUseKey>) -> Result<Option<Use>, Refusal> {
    match key {
        None => Ok(None),
        Some(key) => Ok(app.store.use_of(&key).await?),
    }
}

/// The earliest-listed recorded use among the request's assertions. A failed lookup counts as
/// unused, because the answer is `replay` already and only the event is missing.
pub(super) async fn first_use(app: &App, subject: &Subject<AcceptedAssertion>) -> Option<Use> {
    for (key, _) in record::consumed(subject) {
        if let Ok(Some(used)) = use_of(app, Some(key)).await {
            return Some(used);
        }
    }
    None
}
