//! `gem push`, and the indexes from which `gem install` and Bundler install: the compact index, and
//! the specifications that RubyGems reads as marshalled Ruby objects.

mod marshal;

use std::io::{self, Write as _};
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use carnet_publish_protocols::{GemDependency, GemMetadata};
use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use openssl::hash::{MessageDigest, hash};
use serde::{Deserialize, Serialize};

use super::admission::Admission;
use super::refusal::Refusal;
use super::upload::{Artifact, upload};
use super::{Registry, Unanswered, download, hex};
use marshal::Marshal;

/// The platform of gems that run everywhere.
const RUBY: &str = "ruby";

/// What the indexes say of a version.
#[derive(Serialize, Deserialize)]
struct IndexedGem {
    name: String,
    version: String,
    platform: String,
    sha256: String,
    /// The names of runtime dependencies, with their requirements.
    dependencies: Vec<(String, Vec<String>)>,
    required_ruby_version: Vec<String>,
    required_rubygems_version: Vec<String>,
}

pub(super) fn router() -> Router<Arc<Registry>> {
    Router::new()
        .route("/api/v1/gems", post(upload))
        .route("/names", get(names))
        .route("/versions", get(versions))
        .route("/info/{name}", get(info))
        .route("/gems/{file}", get(gem))
        .route("/quick/Marshal.4.8/{file}", get(specification))
        .route("/specs.4.8.gz", get(specifications))
        .route("/latest_specs.4.8.gz", get(specifications))
        .route("/prerelease_specs.4.8.gz", get(no_specifications))
}

/// Stores a version: its gem, and what the indexes say of it.
pub(super) async fn store(
    admission: &Admission<'_>,
    artifact: &Artifact,
    metadata: &GemMetadata,
) -> Result<Response, Refusal> {
    let runtime = metadata.dependencies.iter().filter(|needed| needed.runtime);
    let needed = |needed: &GemDependency| (needed.name.clone(), needed.requirements.clone());
    let gem = IndexedGem {
        name: admission.package().to_owned(),
        version: admission.version().to_owned(),
        platform: metadata.platform.clone(),
        sha256: artifact.sha256.clone(),
        dependencies: runtime.map(needed).collect(),
        required_ruby_version: metadata.required_ruby_version.clone(),
        required_rubygems_version: metadata.required_rubygems_version.clone(),
    };
    let full_name = gem.full_name();
    if admission.is_described(&full_name).await? {
        return Err(Refusal::Exists(
            "Repushing of gem versions is not allowed.".to_owned(),
        ));
    }
    let file = format!("{full_name}.gem");
    admission.store(&file, &artifact.content).await?;
    admission.describe(&full_name, &gem).await?;
    let done = format!(
        "Successfully registered gem: {} ({})\n",
        gem.name,
        gem.number()
    );
    Ok(done.into_response())
}

impl IndexedGem {
    /// The version, with the platform unless the gem runs everywhere.
    fn number(&self) -> String {
        if self.platform == RUBY {
            self.version.clone()
        } else {
            format!("{}-{}", self.version, self.platform)
        }
    }

    fn full_name(&self) -> String {
        format!("{}-{}", self.name, self.number())
    }

    /// The line of the compact index: the version, dependencies, and after `|` the checksum and
    /// what it requires of Ruby and RubyGems.
    fn line(&self) -> String {
        let required =
            |name: &str, requirements: &[String]| format!("{name}:{}", requirements.join("&"));
        let dependencies: Vec<String> = self
            .dependencies
            .iter()
            .map(|(name, requirements)| required(name, requirements))
            .collect();
        let mut rest = vec![format!("checksum:{}", self.sha256)];
        if !self.required_ruby_version.is_empty() {
            rest.push(required("ruby", &self.required_ruby_version));
        }
        if !self.required_rubygems_version.is_empty() {
            rest.push(required("rubygems", &self.required_rubygems_version));
        }
        let (dependencies, rest) = (dependencies.join(","), rest.join(","));
        format!("{} {dependencies}|{rest}\n", self.number())
    }
}

/// The compact index of one gem.
async fn info(
    State(registry): State<Arc<Registry>>,
    Path(name): Path<String>,
) -> Result<Response, Unanswered> {
    let gems = gems(&registry, &name).await?;
    if gems.is_empty() {
        return Err(Unanswered::NotFound);
    }
    Ok(listing(&gems).into_response())
}

fn listing(gems: &[IndexedGem]) -> String {
    let lines = gems.iter().map(IndexedGem::line);
    std::iter::once("---\n".to_owned()).chain(lines).collect()
}

async fn names(State(registry): State<Arc<Registry>>) -> Result<Response, Unanswered> {
    let names = registry.storage.packages().await?;
    let lines = names.iter().map(|name| format!("{name}\n"));
    let listing = std::iter::once("---\n".to_owned()).chain(lines);
    Ok(listing.collect::<String>().into_response())
}

/// The compact index of all gems: each with its versions and the MD5 of its own listing.
async fn versions(State(registry): State<Arc<Registry>>) -> Result<Response, Unanswered> {
    let mut listed = "created_at: 2026-01-01T00:00:00Z\n---\n".to_owned();
    for (name, gems) in all(&registry).await? {
        let numbers: Vec<String> = gems.iter().map(IndexedGem::number).collect();
        let md5 =
            hash(MessageDigest::md5(), listing(&gems).as_bytes()).map_err(io::Error::other)?;
        let line = [name, numbers.join(","), hex(&md5)].join(" ");
        listed.push_str(&line);
        listed.push('\n');
    }
    Ok(listed.into_response())
}

/// Every version as name, version and platform, for clients without the compact index.
async fn specifications(State(registry): State<Arc<Registry>>) -> Result<Response, Unanswered> {
    let all = all(&registry).await?;
    let gems = all.iter().flat_map(|(_, gems)| gems);
    let tuples = gems.map(|gem| {
        let version = Marshal::version(&gem.version);
        Marshal::array([
            Marshal::text(&gem.name),
            version,
            Marshal::text(&gem.platform),
        ])
    });
    gzipped(&Marshal::array(tuples).dump())
}

/// Prereleases are among the other versions.
async fn no_specifications() -> Result<Response, Unanswered> {
    gzipped(&Marshal::array([]).dump())
}

fn gzipped(content: &[u8]) -> Result<Response, Unanswered> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(content)?;
    Ok(encoder.finish()?.into_response())
}

/// The specification of one version, which RubyGems reads before it downloads the gem.
async fn specification(
    State(registry): State<Arc<Registry>>,
    Path(file): Path<String>,
) -> Result<Response, Unanswered> {
    let full_name = file.strip_suffix(".gemspec.rz").unwrap_or_default();
    let gem = find(&registry, full_name).await?;
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(&marshal::specification(
        &gem.name,
        &gem.version,
        &gem.platform,
    ))?;
    Ok(encoder.finish()?.into_response())
}

async fn gem(
    State(registry): State<Arc<Registry>>,
    Path(file): Path<String>,
) -> Result<Response, Unanswered> {
    let full_name = file.strip_suffix(".gem").unwrap_or_default();
    let gem = find(&registry, full_name).await?;
    download(State(registry), Path((gem.name, file))).await
}

/// The gem of a full name. Where its name ends cannot be seen, since names have hyphens too.
async fn find(registry: &Registry, full_name: &str) -> Result<IndexedGem, Unanswered> {
    let ends = full_name.match_indices('-').map(|(end, _)| end);
    for name in ends.filter_map(|end| full_name.get(..end)) {
        let gems = gems(registry, name).await?;
        if let Some(gem) = gems.into_iter().find(|gem| gem.full_name() == full_name) {
            return Ok(gem);
        }
    }
    Err(Unanswered::NotFound)
}

async fn gems(registry: &Registry, name: &str) -> io::Result<Vec<IndexedGem>> {
    registry.storage.documents(name).await
}

async fn all(registry: &Registry) -> io::Result<Vec<(String, Vec<IndexedGem>)>> {
    let names = registry.storage.packages().await;
    let mut all = Vec::new();
    for name in names? {
        let gems = gems(registry, &name).await?;
        all.push((name, gems));
    }
    Ok(all)
}
