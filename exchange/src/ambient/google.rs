//! Google Cloud: the metadata server issues an identity token of the machine's service account for
//! any audience.

use secrecy::SecretString;
use url::Url;

use super::{AmbientError, Seeking, Sign, Source, platform};
use crate::retry::{Repeat, send_again};
use crate::web;

/// Another host of the metadata server, as in Google's own libraries.
const HOST: &str = "GCE_METADATA_HOST";
const DEFAULT_HOST: &str = "metadata.google.internal";
/// Variables by which Google Cloud is recognised where the product name of the machine cannot be
/// read, such as those of Cloud Run.
const MARKS: [&str; 3] = [HOST, "K_SERVICE", "CLOUD_RUN_JOB"];
const PRODUCT: &str = "/sys/class/dmi/id/product_name";

pub(super) const LOOKED_FOR: &str = "a machine of Google Compute Engine, K_SERVICE or CLOUD_RUN_JOB of Cloud Run, GCE_METADATA_HOST";

pub(super) fn sign(seeking: &Seeking<'_>) -> Sign {
    let of_google =
        || std::fs::read_to_string(PRODUCT).is_ok_and(|product| product.starts_with("Google"));
    if MARKS.iter().any(|mark| seeking.environment.has(mark)) || of_google() {
        Sign::Here
    } else {
        Sign::Absent
    }
}

pub(super) async fn token(seeking: &Seeking<'_>) -> Result<SecretString, AmbientError> {
    let from = Source::Google.name();
    let failed = |why: String| AmbientError::Failed(from.clone(), why);
    let host = seeking.environment.get(HOST).unwrap_or(DEFAULT_HOST);
    let base =
        format!("http://{host}/computeMetadata/v1/instance/service-accounts/default/identity");
    let mut url =
        Url::parse(&base).map_err(|error| failed(format!("{HOST} is not a host: {error}")))?;
    url.query_pairs_mut()
        .append_pair("audience", seeking.audience)
        .append_pair("format", "full");
    let reached = |error| AmbientError::Web(from.clone(), error);
    let request = web::metadata_client(&url)
        .map_err(reached)?
        .get(url.clone())
        .header("metadata-flavor", "Google");
    let answer = send_again(&url, request, Repeat::Harmless, seeking.tries)
        .await
        .map_err(reached)?;
    if !answer.status.is_success() {
        return Err(platform::failure(&answer, "the metadata server", &from));
    }
    if !answer.is_google_metadata {
        return Err(failed(format!("{host} is not Google's metadata server")));
    }
    Ok(String::from_utf8_lossy(&answer.body).into_owned().into())
}
