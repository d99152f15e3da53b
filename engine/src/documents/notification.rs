//! The document of a notification: a webhook, and the kinds of events that are sent to it. Secrets
//! are made in `crate::admin`, messages in the server's background tasks.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use url::Url;

use super::reader::Reader;
use super::trusted_issuer::{check_https, networks};
use super::{Document, Kind, ReadContext, members};
use crate::clock::Timestamp;
use crate::model::WebhookSecret;
use crate::trust::{DocumentError, Warning};

/// Longest URL of a webhook, in bytes.
const MAX_URL_BYTES: usize = 2048;

/// The kinds of events that a webhook can be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum NotificationKind {
    /// A rule gave a token for the first time.
    FirstUse,
    /// Equal requests of one workload were refused again and again.
    RefusalBurst,
    /// A rule was saved with warnings, or it ends or is due for review within 7 days.
    WeakOrExpiringRule,
    /// A new rule names a workload that a vouched rule of the owner names too.
    WorkloadNamed,
    /// The keys of a trusted issuer cannot be fetched, or the signing key is old. For the operator
    /// only.
    KeyAlarm,
}

impl NotificationKind {
    pub const ALL: [Self; 5] = [
        Self::FirstUse,
        Self::RefusalBurst,
        Self::WeakOrExpiringRule,
        Self::WorkloadNamed,
        Self::KeyAlarm,
    ];

    /// The name used in documents and in the database. In the `type` of a message `carnet.` stands
    /// before it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::FirstUse => "first_use",
            Self::RefusalBurst => "refusal_burst",
            Self::WeakOrExpiringRule => "weak_or_expiring_rule",
            Self::WorkloadNamed => "workload_named",
            Self::KeyAlarm => "key_alarm",
        }
    }

    fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }
}

/// A webhook: a URL that is told of events, by the Standard Webhooks convention.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct NotificationDocument {
    /// The https URL that receives the messages.
    pub url: String,
    /// The principal whose events are sent, by name; null for the operator's webhook, which is sent
    /// everybody's.
    #[serde(default)]
    pub principal: Option<String>,
    /// The kinds of events that are sent; by default all that the owner may be sent.
    pub kinds: Vec<NotificationKind>,
    /// Certificate authorities to trust for this URL in addition to the system's, as PEM.
    #[serde(default)]
    pub ca_pem: Option<String>,
    /// Private networks that the URL may lead to. Only the scope `admin` may set it.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    pub allow_private: Vec<IpNet>,
    /// Whether messages are made and sent.
    pub enabled: bool,
}

/// What the server stores beside the document.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NotificationState {
    /// The secrets that sign messages, the newest last.
    pub secrets: Vec<SealedSecret>,
    /// The secret that this save created; shown in the answer and stored only sealed.
    #[serde(skip)]
    pub fresh: Option<WebhookSecret>,
    /// How deliveries went. It has columns of its own, which saving does not write.
    #[serde(skip)]
    pub delivery: DeliveryState,
}

/// A webhook secret as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedSecret {
    /// The secret, encrypted under the encryption key of the signing keys.
    pub sealed: String,
    pub created_at: Timestamp,
    /// The end of the overlap, once a newer secret exists.
    pub expires_at: Option<Timestamp>,
}

impl SealedSecret {
    /// Whether the secret still signs at `now`.
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.expires_at.is_none_or(|end| now < end)
    }

    /// The secret's times, which answers show.
    pub fn shown(&self) -> Value {
        let ends = self.expires_at.map(|at| at.to_string());
        json!({ "created_at": self.created_at.to_string(), "expires_at": ends })
    }
}

/// How the deliveries to a webhook went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeliveryState {
    /// When a message was last accepted.
    pub last_delivered_at: Option<Timestamp>,
    /// Why the last attempt failed; `None` if it succeeded.
    pub last_error: Option<String>,
    /// Since when every attempt failed.
    pub failing_since: Option<Timestamp>,
}

impl Document for NotificationDocument {
    const KIND: Kind = Kind::Notification;
    type State = NotificationState;

    fn read(
        given: &Map<String, Value>,
        context: ReadContext<'_>,
    ) -> Result<Self, Vec<DocumentError>> {
        let mut reader = Reader::new(given);
        let url = reader.required_text("url");
        if !url.is_empty()
            && let Err(detail) = check_url(&url, context)
        {
            reader.problem("url", detail);
        }
        let principal = reader.name("principal");
        let kinds = kinds(&mut reader, principal.is_some());
        let ca_pem = reader.parsed("ca_pem", |pem| {
            let checked = context.material.check_certificates(pem);
            checked.map(|()| pem.to_owned())
        });
        let document = Self {
            url,
            principal,
            kinds,
            ca_pem,
            allow_private: networks(&mut reader).unwrap_or_default(),
            enabled: reader.boolean("enabled").unwrap_or(true),
        };
        reader.finish(document)
    }

    fn shown(&self, _: ReadContext<'_>) -> Map<String, Value> {
        let mut shown = members(self);
        for name in ["principal", "ca_pem"] {
            shown.entry(name).or_insert(Value::Null);
        }
        shown
    }

    fn exported(&self) -> Map<String, Value> {
        let mut exported = members(self);
        if self.allow_private.is_empty() {
            exported.shift_remove("allow_private");
        }
        exported
    }

    fn warnings(&self, _: ReadContext<'_>) -> Vec<Warning> {
        Vec::new()
    }
}

impl NotificationDocument {
    /// What stands in the database for the owner: the principal's name, or the empty text for the
    /// operator.
    pub fn owner(&self) -> &str {
        self.principal.as_deref().unwrap_or_default()
    }

    /// Whether the document may lead to the same private networks as `other`: neither the networks
    /// nor the URL have changed.
    pub fn reaches_the_same(&self, other: &Self) -> bool {
        self.allow_private == other.allow_private
            && self.url == other.url
            && self.principal == other.principal
    }
}

fn check_url(text: &str, context: ReadContext<'_>) -> Result<(), String> {
    if text.len() > MAX_URL_BYTES {
        return Err(format!("must be at most {MAX_URL_BYTES} bytes long"));
    }
    let url = Url::parse(text).map_err(|error| format!("must be an https URL: {error}"))?;
    check_https(&url, context)?;
    if url.fragment().is_some() {
        return Err("must have no fragment".to_owned());
    }
    Ok(())
}

fn kinds(reader: &mut Reader<'_>, is_of_principal: bool) -> Vec<NotificationKind> {
    let may_have =
        |kind: &NotificationKind| !is_of_principal || *kind != NotificationKind::KeyAlarm;
    let Some(words) = reader.texts("kinds") else {
        let all = NotificationKind::ALL.into_iter();
        return all.filter(may_have).collect();
    };
    let mut kinds = Vec::new();
    for word in &words {
        if let Some(kind) = NotificationKind::from_word(word) {
            kinds.push(kind);
        } else {
            let detail = format!("must hold only {}; there is no kind {word}", all_kinds());
            reader.problem("kinds", detail);
        }
    }
    if words.is_empty() {
        let detail = format!("must hold at least one of {}", all_kinds());
        reader.problem("kinds", detail);
    }
    if !kinds.iter().all(may_have) {
        let detail = "must not hold key_alarm for a principal: it concerns the whole server";
        reader.problem("kinds", detail);
    }
    kinds
}

fn all_kinds() -> String {
    NotificationKind::ALL
        .map(NotificationKind::as_str)
        .join(", ")
}
