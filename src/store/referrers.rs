//! Finds the objects that refer to an object, which therefore cannot be removed.

use super::{Store, StoreError};
use crate::documents::Kind;
use crate::ids::CredentialId;

/// How many referring objects are read. More than one answer shows, so that it can tell that there
/// are others.
const LIMIT: usize = 101;

/// An object, or a package behind a gateway, that refers to an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Referring {
    pub kind: ReferringKind,
    /// The name; of a package, the registry's name, a slash, and the package's folded name.
    pub name: String,
    /// The principal of a federated credential, whose names are unique per principal only.
    pub principal: Option<String>,
}

/// What refers to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReferringKind {
    /// An object of the admin API.
    Object(Kind),
    /// A package of a registry behind a gateway. It refers to its registry and to its owner.
    Package,
}

impl ReferringKind {
    /// The plural: for an object as in the paths of the admin API, such as `federated-credentials`.
    pub fn segment(self) -> &'static str {
        match self {
            Self::Object(kind) => kind.segment(),
            Self::Package => "packages",
        }
    }

    pub fn noun(self) -> &'static str {
        match self {
            Self::Object(kind) => kind.noun(),
            Self::Package => "package",
        }
    }

    /// Reads the name of a table.
    fn from_table(table: &str) -> Option<Self> {
        let object = Kind::ALL.into_iter().find(|kind| kind.table() == table);
        let package = (table == "packages").then_some(Self::Package);
        object.map(Self::Object).or(package)
    }
}

/// The rules whose column, or whose row in another table, names an object.
const RULES: &str = "SELECT 'federated_credentials' AS kind, f.name AS name, f.principal AS principal \
                     FROM federated_credential f";
/// The clients that name an object.
const CLIENTS: &str = "SELECT 'clients' AS kind, c.name AS name, CAST(NULL AS VARCHAR) AS principal \
                       FROM client_reference r JOIN client c ON c.id = r.client_id";

impl Store {
    /// The objects that refer to this one, at most 101, by kind and name. References are by name,
    /// those to federated credentials by id.
    pub async fn referring_to(
        &self,
        kind: Kind,
        name: &str,
        id: &str,
    ) -> Result<Vec<Referring>, StoreError> {
        use sea_orm::ConnectionTrait as _;
        let key = match (kind, id.parse::<CredentialId>()) {
            (Kind::FederatedCredential, Ok(id)) => id.0.into(),
            _ => name.into(),
        };
        let selects = match kind {
            Kind::Principal => vec![
                format!("{RULES} WHERE f.principal = $1"),
                format!("{RULES} JOIN permission p ON p.credential_id = f.id WHERE p.owner = $1"),
                other(
                    "trusted_issuers",
                    "SELECT name FROM trusted_issuer WHERE owner = $1",
                ),
                other(
                    "principals",
                    "SELECT principal AS name FROM acts_for WHERE owner = $1",
                ),
                format!("{CLIENTS} WHERE r.principal = $1"),
                "SELECT 'notifications' AS kind, n.name AS name, n.principal AS principal FROM notification n \
                 WHERE n.principal = $1"
                    .to_owned(),
                other(
                    "memberships",
                    "SELECT name FROM membership WHERE principal = $1",
                ),
                packages("g.owner = (SELECT id FROM principal WHERE name = $1)"),
            ],
            Kind::TrustedIssuer => vec![
                format!("{RULES} WHERE f.trusted_issuer = $1"),
                other(
                    "resource_servers",
                    "SELECT resource_server AS name FROM front_door_issuer WHERE trusted_issuer = $1",
                ),
            ],
            Kind::ResourceServer => vec![
                format!(
                    "{RULES} JOIN permission p ON p.credential_id = f.id WHERE p.resource_server = $1"
                ),
                format!("{CLIENTS} WHERE r.resource_server = $1"),
                packages("g.resource_server = $1"),
            ],
            Kind::FederatedCredential => vec![
                format!(
                    "{RULES} JOIN credential_actor a ON a.credential_id = f.id WHERE a.actor_id = $1 AND f.id <> $1"
                ),
                format!("{CLIENTS} WHERE r.credential_id = $1"),
            ],
            Kind::IdentityProvider => vec![other(
                "memberships",
                "SELECT name FROM membership WHERE identity_provider = $1",
            )],
            Kind::Client | Kind::Notification | Kind::Membership => return Ok(Vec::new()),
        };
        // UNION keeps one of equal rows: an object may refer to another one several times.
        let sql = format!("{} ORDER BY 1, 2, 3 LIMIT {LIMIT}", selects.join(" UNION "));
        let rows = self.read.query_all_raw(self.statement(&sql, [key])).await?;
        rows.iter()
            .map(|row| {
                let table: String = row.try_get("", "kind")?;
                let kind = ReferringKind::from_table(&table);
                Ok(Referring {
                    kind: kind.ok_or(StoreError::Corrupt(table))?,
                    name: row.try_get("", "name")?,
                    principal: row.try_get("", "principal")?,
                })
            })
            .collect()
    }
}

/// The packages of which this is true.
fn packages(condition: &str) -> String {
    other(
        "packages",
        &format!(
            "SELECT g.resource_server || '/' || g.name AS name FROM gateway_package g WHERE {condition}"
        ),
    )
}

fn other(table: &str, select: &str) -> String {
    format!(
        "SELECT '{table}' AS kind, o.name AS name, CAST(NULL AS VARCHAR) AS principal FROM ({select}) o"
    )
}
