//! The v2 feed: as much of the Open Data Protocol as NuGet 2.8 asks for when it installs a package.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use carnet_publish_protocols::NugetVersion;

use super::super::markup::escaped;
use super::super::{Registry, Unanswered};
use super::{IndexedPackage, packages};

const ATOM: &str = "http://www.w3.org/2005/Atom";
const DATA: &str = "http://schemas.microsoft.com/ado/2007/08/dataservices";
const METADATA: &str = "http://schemas.microsoft.com/ado/2007/08/dataservices/metadata";
/// The publication date of every package: this registry does not keep it.
const PUBLISHED: &str = "2026-01-01T00:00:00Z";

pub(super) fn router() -> Router<Arc<Registry>> {
    Router::new()
        .route("/api/v2/", get(service))
        .route("/api/v2/{call}", get(call))
}

async fn service(State(registry): State<Arc<Registry>>) -> Response {
    let document = format!(
        "<service xml:base=\"{}/api/v2/\" xmlns=\"http://www.w3.org/2007/app\" xmlns:atom=\"{ATOM}\">\
         <workspace><atom:title>Default</atom:title><collection href=\"Packages\"><atom:title>Packages</atom:title></collection></workspace></service>",
        registry.url
    );
    xml("application/xml", &document)
}

/// `Packages(Id='…',Version='…')` and `FindPackagesById()?id='…'`.
async fn call(
    State(registry): State<Arc<Registry>>,
    Path(call): Path<String>,
    Query(query): Query<HashMap<String, String>>,
) -> Result<Response, Unanswered> {
    let (function, arguments) = call.split_once('(').ok_or(Unanswered::NotFound)?;
    match function {
        "Packages" => {
            let id = quoted(arguments, "Id").ok_or(Unanswered::NotFound)?;
            let version = quoted(arguments, "Version").ok_or(Unanswered::NotFound)?;
            let packages = packages(&registry, id).await?;
            let wanted = NugetVersion::of(version).to_string();
            let same = |one: &&IndexedPackage| NugetVersion::of(&one.version).to_string() == wanted;
            let package = packages.iter().find(same).ok_or(Unanswered::NotFound)?;
            let is_latest = packages
                .last()
                .is_some_and(|last| last.version == package.version);
            Ok(xml(
                "application/atom+xml;type=entry",
                &entry(&registry, package, is_latest),
            ))
        }
        "FindPackagesById" => {
            let id = query.get("id").map(|id| id.trim_matches('\''));
            let packages = packages(&registry, id.ok_or(Unanswered::NotFound)?).await?;
            let filter = query.get("$filter").map(String::as_str).unwrap_or_default();
            Ok(feed(&registry, &packages, filter.contains("LatestVersion")))
        }
        _ => Err(Unanswered::NotFound),
    }
}

/// The argument `name='value'` of a call.
fn quoted<'a>(arguments: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = arguments.split_once(&format!("{name}='"))?;
    Some(rest.split_once('\'')?.0)
}

fn feed(registry: &Registry, packages: &[IndexedPackage], only_latest: bool) -> Response {
    let last = packages.len().saturating_sub(1);
    let entries: String = packages
        .iter()
        .enumerate()
        .filter(|(place, _)| !only_latest || *place == last)
        .map(|(place, package)| entry(registry, package, place == last))
        .collect();
    let url = &registry.url;
    let document = format!(
        "<feed xml:base=\"{url}/api/v2/\" xmlns=\"{ATOM}\" xmlns:d=\"{DATA}\" xmlns:m=\"{METADATA}\">\
         <title type=\"text\">FindPackagesById</title><id>{url}/api/v2/FindPackagesById</id><updated>{PUBLISHED}</updated>\
         <link rel=\"self\" title=\"FindPackagesById\" href=\"FindPackagesById\"/>{entries}</feed>"
    );
    xml("application/atom+xml;type=feed", &document)
}

fn entry(registry: &Registry, package: &IndexedPackage, is_latest: bool) -> String {
    let url = &registry.url;
    let [id, version, description, authors, dependencies] = [
        &package.id,
        &package.version,
        &package.description,
        &package.authors,
        &package.dependencies,
    ]
    .map(|text| escaped(text));
    let (sha512, bytes) = (&package.sha512, package.bytes);
    let is_prerelease = version.contains('-');
    format!(
        "<entry xmlns=\"{ATOM}\" xmlns:d=\"{DATA}\" xmlns:m=\"{METADATA}\">\
         <id>{url}/api/v2/Packages(Id='{id}',Version='{version}')</id>\
         <category term=\"NuGetGallery.V2FeedPackage\" scheme=\"http://schemas.microsoft.com/ado/2007/08/dataservices/scheme\"/>\
         <link rel=\"edit\" title=\"V2FeedPackage\" href=\"Packages(Id='{id}',Version='{version}')\"/>\
         <title type=\"text\">{id}</title><summary type=\"text\"></summary><updated>{PUBLISHED}</updated>\
         <author><name>{authors}</name></author>\
         <content type=\"application/zip\" src=\"{url}/api/v2/package/{id}/{version}\"/>\
         <m:properties>\
         <d:Id>{id}</d:Id><d:Version>{version}</d:Version><d:Description>{description}</d:Description><d:Dependencies>{dependencies}</d:Dependencies>\
         <d:IsLatestVersion m:type=\"Edm.Boolean\">{is_latest}</d:IsLatestVersion>\
         <d:IsAbsoluteLatestVersion m:type=\"Edm.Boolean\">{is_latest}</d:IsAbsoluteLatestVersion>\
         <d:IsPrerelease m:type=\"Edm.Boolean\">{is_prerelease}</d:IsPrerelease>\
         <d:Listed m:type=\"Edm.Boolean\">true</d:Listed>\
         <d:Published m:type=\"Edm.DateTime\">{PUBLISHED}</d:Published>\
         <d:PackageHash>{sha512}</d:PackageHash><d:PackageHashAlgorithm>SHA512</d:PackageHashAlgorithm>\
         <d:PackageSize m:type=\"Edm.Int64\">{bytes}</d:PackageSize>\
         </m:properties></entry>"
    )
}

fn xml(kind: &'static str, document: &str) -> Response {
    let declared = format!("<?xml version=\"1.0\" encoding=\"utf-8\"?>{document}");
    ([(CONTENT_TYPE, kind)], declared).into_response()
}
