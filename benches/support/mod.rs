//! Shared by the benchmarks: a database full of rules, assertions that match them, and raw
//! cryptography.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use carnet::config::{DatabaseConfig, DatabaseUrl};
use carnet::ids;
use carnet::store::Store;
use carnet_entity::{
    change, change_counter, federated_credential, permission, principal, resource_server,
    trusted_issuer,
};
use carnet_jose::{Algorithm, SigningKey};
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private, Public};
use openssl::rsa::Rsa;
use openssl::sign::{Signer, Verifier};
use sea_orm::ActiveValue::Set;
use sea_orm::{Database, EntityTrait as _};
use serde_json::json;

/// The issuer identifier of the server under test.
pub const ISSUER_URL: &str = "https://carnet.bench.invalid";
/// The issuer identifier of the simulated platform.
const PLATFORM: &str = "https://token.actions.githubusercontent.com";

/// A database with one trusted issuer, one registry, `credentials` rules, and a tenth as many
/// principals.
pub struct Population {
    pub folder: PathBuf,
    pub database_url: String,
    key: SigningKey,
    credentials: usize,
}

impl Drop for Population {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.folder).ok();
    }
}

impl Population {
    /// Fills a database with `credentials` vouched rules and, in addition, `of_a_stranger`
    /// self-service rules of one principal for the repository of assertion 1, as any principal may
    /// write them.
    pub async fn new(credentials: usize, of_a_stranger: usize) -> Self {
        let folder = std::env::temp_dir().join(format!(
            "carnet-bench-{}",
            uuid::Uuid::from_bytes(ids::random())
        ));
        std::fs::create_dir_all(&folder).unwrap();
        let database_url = std::env::var("TEST_DATABASE_URL")
            .unwrap_or_else(|_| format!("sqlite://{}", folder.join("carnet.db").display()));
        let key = SigningKey::generate(Algorithm::RS256).unwrap();
        let population = Self {
            folder,
            database_url,
            key,
            credentials,
        };
        population.fill().await;
        population.add_stranger(1, of_a_stranger).await;
        population
    }

    #[expect(clippy::too_many_lines, reason = "documents, a line each member")]
    async fn fill(&self) {
        let url: DatabaseUrl = self.database_url.parse().unwrap();
        Store::open(&DatabaseConfig::of(url))
            .await
            .unwrap()
            .close()
            .await
            .unwrap();
        let database = Database::connect(&self.database_url).await.unwrap();
        let now = i64::try_from(
            SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap()
                .as_millis(),
        )
        .unwrap();
        let id = || uuid::Uuid::from_bytes(ids::random());
        let principals = (self.credentials / 10).max(1);
        let rows: Vec<_> = (0..principals)
            .map(|n| principal::ActiveModel {
                id: Set(format!("pr_{n}")),
                name: Set(format!("owner-{n}")),
                name_folded: Set(format!("owner-{n}")),
                kind: Set("user".into()),
                external_id: Set(Some(n.to_string())),
                display_name: Set(None),
                enabled: Set(true),
                version: Set(1),
                created_at: Set(now),
                updated_at: Set(now),
            })
            .collect();
        for chunk in rows.chunks(500) {
            principal::Entity::insert_many(chunk.to_vec())
                .exec_without_returning(&database)
                .await
                .unwrap();
        }
        let jwks = json!({ "keys": [self.key.public().jwk()] });
        let document = json!({ "profile": "github-actions", "issuer": PLATFORM, "keys": { "source": "static", "jwks": jwks }, "enabled": true });
        trusted_issuer::Entity::insert(trusted_issuer::ActiveModel {
            id: Set(id()),
            name: Set("github".into()),
            name_folded: Set("github".into()),
            issuer: Set(PLATFORM.into()),
            owner: Set(None),
            enabled: Set(true),
            document: Set(document.to_string()),
            version: Set(1),
            created_at: Set(now),
            updated_at: Set(now),
        })
        .exec_without_returning(&database)
        .await
        .unwrap();
        let document = json!({
            "resource": "https://registry.bench.invalid/", "aliases": [], "actions": ["publish"], "package_names": "exact", "token_lifetime_seconds": null,
            "require_principal": false, "require_protected_ref_or_environment": false, "enabled": true,
        });
        resource_server::Entity::insert(resource_server::ActiveModel {
            id: Set(id()),
            name: Set("registry".into()),
            name_folded: Set("registry".into()),
            resource: Set("https://registry.bench.invalid/".into()),
            enabled: Set(true),
            document: Set(document.to_string()),
            version: Set(1),
            created_at: Set(now),
            updated_at: Set(now),
        })
        .exec_without_returning(&database)
        .await
        .unwrap();
        for first in (0..self.credentials).step_by(500) {
            let range = first..(first + 500).min(self.credentials);
            let ids: Vec<_> = range.clone().map(|_| id()).collect();
            let rows = range.clone().zip(&ids);
            let rows = rows.map(|(n, id)| {
                rule(
                    *id,
                    &format!("rule-{n}"),
                    &format!("owner-{}", n % principals),
                    "vouched",
                    n,
                    now,
                )
            });
            federated_credential::Entity::insert_many(rows)
                .exec_without_returning(&database)
                .await
                .unwrap();
            let rows = range.zip(&ids).map(|(n, id)| permission_of(*id, n));
            permission::Entity::insert_many(rows)
                .exec_without_returning(&database)
                .await
                .unwrap();
        }
        change::Entity::insert(change::ActiveModel {
            version: Set(1),
            kind: Set("clients".into()),
            object_id: Set("none".into()),
            at: Set(now),
        })
        .exec_without_returning(&database)
        .await
        .unwrap();
        change_counter::Entity::update_many()
            .set(change_counter::ActiveModel {
                value: Set(1),
                ..Default::default()
            })
            .exec(&database)
            .await
            .unwrap();
        database.close().await.unwrap();
    }

    async fn add_stranger(&self, n: usize, rules: usize) {
        let database = Database::connect(&self.database_url).await.unwrap();
        let now = i64::try_from(
            SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap()
                .as_millis(),
        )
        .unwrap();
        let ids: Vec<_> = (0..rules)
            .map(|_| uuid::Uuid::from_bytes(ids::random()))
            .collect();
        let all = ids.iter().enumerate().map(|(at, id)| {
            rule(
                *id,
                &format!("own-{at}"),
                "owner-0",
                "self_service",
                self.rule(n),
                now,
            )
        });
        for some in all.collect::<Vec<_>>().chunks(500) {
            federated_credential::Entity::insert_many(some.to_vec())
                .exec_without_returning(&database)
                .await
                .unwrap();
        }
        let all: Vec<_> = ids
            .iter()
            .map(|id| permission_of(*id, self.rule(n)))
            .collect();
        for some in all.chunks(500) {
            permission::Entity::insert_many(some.to_vec())
                .exec_without_returning(&database)
                .await
                .unwrap();
        }
        database.close().await.unwrap();
    }

    /// The number of the rule that the n-th assertion matches: spread over all rules.
    fn rule(&self, n: usize) -> usize {
        (n * 7919) % self.credentials
    }

    /// An assertion of a GitHub Actions job that matches the n-th rule in this order.
    pub fn assertion(&self, n: usize) -> String {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_secs();
        let rule = self.rule(n);
        let repository = format!("organisation-{rule}/repository-{rule}");
        let workflow = format!("{repository}/.github/workflows/release.yml@refs/heads/main");
        let sha = "1a2b3c4d".repeat(5);
        let claims = json!({
            "iss": PLATFORM, "aud": ISSUER_URL, "sub": format!("repo:{repository}:environment:release"), "jti": uuid::Uuid::from_bytes(ids::random()).to_string(),
            "iat": now, "nbf": now - 600, "exp": now + 900, "repository": repository, "repository_id": format!("{}", 5000 + rule), "repository_owner": format!("organisation-{rule}"),
            "repository_owner_id": format!("{}", 1000 + rule), "repository_visibility": "public", "ref": "refs/heads/main", "ref_type": "branch", "ref_protected": "true", "sha": sha,
            "workflow": "Release", "workflow_ref": workflow, "workflow_sha": sha, "job_workflow_ref": workflow, "job_workflow_sha": sha, "event_name": "push", "actor": "octocat", "actor_id": "12",
            "environment": "release", "run_id": "9001", "run_number": "10", "run_attempt": "1", "runner_environment": "github-hosted", "head_ref": "", "base_ref": "",
        });
        self.key
            .sign_typed("JWT", claims.to_string().as_bytes())
            .unwrap()
    }
}

fn rule(
    id: uuid::Uuid,
    name: &str,
    principal: &str,
    consent: &str,
    n: usize,
    now: i64,
) -> federated_credential::ActiveModel {
    let pinned = json!({ "repository_owner_id": format!("{}", 1000 + n), "repository_id": format!("{}", 5000 + n) });
    let matcher = json!({
        "repository": format!("organisation-{n}/repository-{n}"), "workflow_file": "release.yml", "environment": "release",
    });
    federated_credential::ActiveModel {
        id: Set(id),
        name: Set(name.to_owned()),
        name_folded: Set(name.to_owned()),
        principal: Set(principal.to_owned()),
        trusted_issuer: Set("github".into()),
        consent: Set(consent.to_owned()),
        pinned: Set(Some(pinned.to_string())),
        matcher: Set(matcher.to_string()),
        pending_until: Set(None),
        expires_at: Set(None),
        review_at: Set(None),
        enabled: Set(true),
        revision: Set(1),
        version: Set(1),
        created_at: Set(now),
        updated_at: Set(now),
        last_used_at: Set(None),
        first_used_at: Set(None),
    }
}

fn permission_of(credential_id: uuid::Uuid, n: usize) -> permission::ActiveModel {
    permission::ActiveModel {
        credential_id: Set(credential_id),
        position: Set(0),
        resource_server: Set("registry".into()),
        owner: Set(None),
        actions: Set("[\"publish\"]".into()),
        packages: Set(json!([format!("package-{n}")]).to_string()),
        min_proof: Set(None),
        require_sender_constraint: Set(false),
    }
}

/// One RSA-2048 verification and one P-256 signature over a message as long as a usual token, with
/// OpenSSL alone.
pub struct RawCrypto {
    message: Vec<u8>,
    signature: Vec<u8>,
    public: PKey<Public>,
    signing: PKey<Private>,
}

impl RawCrypto {
    pub fn new() -> Self {
        let message = vec![7u8; 1500];
        let rsa = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
        let mut signer = Signer::new(MessageDigest::sha256(), &rsa).unwrap();
        let signature = signer.sign_oneshot_to_vec(&message).unwrap();
        let public = PKey::public_key_from_der(&rsa.public_key_to_der().unwrap()).unwrap();
        let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
        let signing = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
        Self {
            message,
            signature,
            public,
            signing,
        }
    }

    pub fn verify(&self) {
        let mut verifier = Verifier::new(MessageDigest::sha256(), &self.public).unwrap();
        assert!(
            verifier
                .verify_oneshot(&self.signature, &self.message)
                .unwrap()
        );
    }

    pub fn sign(&self) {
        let mut signer = Signer::new(MessageDigest::sha256(), &self.signing).unwrap();
        signer.sign_oneshot_to_vec(&self.message).unwrap();
    }
}
