//! A small package registry that accepts Carnet's access tokens: what a resource server has to do,
//! and no more.
//!
//! Packages are files below one folder. An upload needs a token, which is verified before the body
//! is read. [`Registry::admit`] then decides by the entries of the token and by what only the
//! registry knows: whether the package exists, and who owns it.
//!
//! Each protocol is a module with its routes. What an upload wants is read from the request by the
//! crate `carnet-publish-protocols`.

mod admission;
mod crates_io;
mod credentials;
mod forward;
mod generic;
mod markup;
mod npm;
mod nuget;
mod people;
mod pypi;
mod refusal;
mod rubygems;
mod storage;
mod upload;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, DefaultBodyLimit, Path, Request, State};
use axum::http::StatusCode;
use axum::middleware::map_request;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use carnet_publish_protocols::credential::NUGET_API_KEY;
use carnet_resource_server::{PackageNames, ProtectedResource, Realm, Verifier};
use clap::ValueEnum;
use tokio::net::TcpListener;
use url::Url;

use crate::serve::{Connections, Peer, Tls};
use forward::FrontDoor;
pub use forward::NoFrontDoor;
pub use people::NoSignIn;
use people::People;
use storage::Storage;

const MAX_UPLOAD_BYTES: usize = 64 * 1024 * 1024;

/// How clients upload packages and find them again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Protocol {
    /// `PUT /packages/{name}/{version}`, for curl.
    Generic,
    /// The upload API of PyPI and its simple index: uv, twine, pip.
    Pypi,
    /// The registry of npm, pnpm and yarn.
    Npm,
    /// The web API of crates.io and a sparse index: cargo.
    CratesIo,
    /// gem push, and an index for gem install.
    Rubygems,
    /// NuGet's push, its v3 index, and the v2 feed of old clients.
    Nuget,
}

impl Protocol {
    /// How the clients of the protocol compare package names. The registry's `package_names` in
    /// Carnet has to be the same.
    #[must_use]
    pub fn package_names(self) -> PackageNames {
        let protocol = self.published_with();
        protocol.map_or(
            PackageNames::Exact,
            carnet_publish_protocols::Protocol::package_names,
        )
    }

    /// The protocol as the crate that reads uploads names it. The generic one needs no reader.
    fn published_with(self) -> Option<carnet_publish_protocols::Protocol> {
        use carnet_publish_protocols::Protocol;
        match self {
            Self::Generic => None,
            Self::Pypi => Some(Protocol::Pypi),
            Self::Npm => Some(Protocol::Npm),
            Self::CratesIo => Some(Protocol::CratesIo),
            Self::Rubygems => Some(Protocol::Rubygems),
            Self::Nuget => Some(Protocol::Nuget),
        }
    }

    /// Where the user of a tool puts a token, for messages.
    fn token_place(self) -> &'static str {
        match self {
            Self::Generic => "in `Authorization: Bearer`",
            Self::Pypi => "in UV_PUBLISH_TOKEN, or in TWINE_PASSWORD for the user `__token__`",
            Self::Npm => "as `//HOST/:_authToken` in .npmrc",
            Self::CratesIo => "in CARGO_REGISTRIES_NAME_TOKEN",
            Self::Rubygems => "in GEM_HOST_API_KEY",
            Self::Nuget => "as the API key",
        }
    }
}

/// A registry with its packages in one folder.
#[derive(Debug)]
pub struct Registry {
    verifier: Verifier,
    realm: Realm,
    /// The registry's metadata. `None` if the resource URI is not an https URL (RFC 9728 section
    /// 1.2).
    about: Option<ProtectedResource>,
    protocol: Protocol,
    /// The URL at which clients reach the registry, without a slash at its end.
    url: String,
    storage: Storage,
    front_door: Option<FrontDoor>,
    people: Option<People>,
}

impl Registry {
    /// A registry with [`Protocol::Generic`] that stores its packages below `folder` and compares
    /// their names as `names` says.
    pub fn new(verifier: Verifier, names: PackageNames, folder: PathBuf) -> Self {
        let storage = Storage::new(folder, names);
        Self::with(verifier, Protocol::Generic, storage)
    }

    /// A registry that stores its packages below `folder` and speaks `protocol`. Clients reach it
    /// at the origin of the resource URI.
    pub fn speaking(protocol: Protocol, verifier: Verifier, folder: PathBuf) -> Self {
        let storage = Storage::new(folder, protocol.package_names());
        Self::with(verifier, protocol, storage)
    }

    fn with(verifier: Verifier, protocol: Protocol, storage: Storage) -> Self {
        let about = ProtectedResource::new(verifier.resource(), verifier.issuer()).ok();
        let about = about.map(|about| about.actions(["create", "publish"]));
        let realm = Realm::new("registry");
        let (about, realm) = if verifier.takes_proofs() {
            let about = about.map(ProtectedResource::taking_proofs);
            (about, realm.taking_proofs())
        } else {
            (about, realm)
        };
        let realm = match &about {
            Some(about) => realm.described_by(about),
            None => realm,
        };
        // A key beside a bound token is noticed.
        let verifier = match protocol {
            Protocol::Nuget => verifier.also_in_header(NUGET_API_KEY),
            _ => verifier,
        };
        let url = Url::parse(verifier.resource())
            .map(|resource| resource.origin().ascii_serialization())
            .unwrap_or_default();
        Self {
            verifier,
            realm,
            about,
            protocol,
            url,
            storage,
            front_door: None,
            people: None,
        }
    }

    /// Sets the URL at which clients reach the registry, if it is not the origin of the resource
    /// URI. Indexes name it in the links to packages.
    #[must_use]
    pub fn at(self, url: &str) -> Self {
        Self {
            url: url.trim_end_matches('/').to_owned(),
            ..self
        }
    }

    /// Forwards the requests of the protocol's tools for tokens to the front door that Carnet
    /// serves for this registry. `url` is Carnet's origin, or the issuer with
    /// `/registry/NAME` for a front door without a host.
    ///
    /// # Errors
    ///
    /// [`NoFrontDoor`] if the URL is neither https nor on this machine, or the HTTP client cannot
    /// be set up.
    pub fn with_front_door(self, url: &Url) -> Result<Self, NoFrontDoor> {
        Ok(Self {
            front_door: Some(FrontDoor::new(url)?),
            ..self
        })
    }

    /// Lets people sign in with Carnet at the page `/account` (module `people`). `client` is the id of the
    /// registry as a client that acts for people; a client without a secret has no file.
    ///
    /// # Errors
    ///
    /// [`NoSignIn`] if the issuer is neither https nor on this machine, or the HTTP client cannot be
    /// set up.
    pub fn with_sign_in(self, client: &str, secret: Option<PathBuf>) -> Result<Self, NoSignIn> {
        let people = People::new(&self, client, secret)?;
        Ok(Self {
            people: Some(people),
            ..self
        })
    }

    /// The routes of the protocol, those of its front door, the page for people, and the registry's metadata (RFC 9728).
    pub fn router(self) -> Router {
        let protocol = self.protocol;
        let front_door = self.front_door.clone();
        let about = self.about.clone();
        let registry = Arc::new(self);
        let served = match protocol {
            Protocol::Generic => generic::router(),
            Protocol::Pypi => pypi::router(),
            Protocol::Npm => npm::router(),
            Protocol::CratesIo => crates_io::router(),
            Protocol::Rubygems => rubygems::router(),
            Protocol::Nuget => nuget::router(),
        };
        let served = served
            .route("/", get(greeting))
            .layer(DefaultBodyLimit::max(MAX_UPLOAD_BYTES))
            .with_state(registry.clone());
        let mut router = match &registry.people {
            Some(_) => served.merge(people::router(registry)),
            None => served,
        };
        if let Some(about) = about {
            let path = about.path().to_owned();
            router = router.route(&path, get(async move || about.answer::<Body>()));
        }
        match front_door {
            Some(front_door) => router.merge(front_door.router(protocol)),
            None => router,
        }
    }

    /// Serves on a bound listener until the task is dropped, with TLS if there is a certificate.
    ///
    /// # Errors
    ///
    /// What the listener says of its address.
    pub async fn serve(self, listener: TcpListener, tls: Option<Tls>) -> io::Result<()> {
        let takes_certificates = |about: ProtectedResource| match &tls {
            Some(_) => about.taking_certificates(),
            None => about,
        };
        let about = self.about.map(takes_certificates);
        let router = Self { about, ..self }.router().layer(map_request(shown));
        let service = router.into_make_service_with_connect_info::<Peer>();
        axum::serve(Connections::of(listener, tls)?, service).await
    }
}

/// Tells the verifier of the client certificate of the connection.
async fn shown(mut request: Request) -> Request {
    let peer = request.extensions().get::<ConnectInfo<Peer>>();
    if let Some(certificate) = peer.and_then(|ConnectInfo(peer)| peer.certificate.clone()) {
        request.extensions_mut().insert(certificate);
    }
    request
}

/// Why an index or a file is not answered.
#[derive(Debug)]
enum Unanswered {
    NotFound,
    /// Reading the folder failed.
    Storage(io::Error),
}

impl From<io::Error> for Unanswered {
    fn from(error: io::Error) -> Self {
        Self::Storage(error)
    }
}

impl IntoResponse for Unanswered {
    fn into_response(self) -> Response {
        match self {
            Self::NotFound => StatusCode::NOT_FOUND.into_response(),
            Self::Storage(error) => {
                eprintln!("the folder cannot be read: {error}");
                StatusCode::INTERNAL_SERVER_ERROR.into_response()
            }
        }
    }
}

/// What this is. RubyGems and NuGet ask for the root before they go on.
async fn greeting(State(registry): State<Arc<Registry>>) -> Response {
    let issuer = registry.verifier.issuer();
    format!("An example registry. It accepts access tokens of {issuer}\n").into_response()
}

/// A file of a package.
async fn download(
    State(registry): State<Arc<Registry>>,
    Path((package, file)): Path<(String, String)>,
) -> Result<Response, Unanswered> {
    let content = registry.storage.read(&package, &file).await?;
    Ok(content.ok_or(Unanswered::NotFound)?.into_response())
}

fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 0xf]);
    digits
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .collect()
}
