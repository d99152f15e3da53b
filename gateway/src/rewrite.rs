//! URLs of the registry in what it answers, made public.
//!
//! Only three places are rewritten, so that tools come back through the gateway: `config.json` of a
//! cargo index, NuGet's service index, and the `Location` of redirects. Everything else in them
//! stays as it is, byte for byte.

use carnet_publish_protocols::Protocol;
use url::Url;

/// Whether a document names URLs of its registry that clients follow: `config.json` of a cargo index,
/// and NuGet's service index.
pub(crate) fn names_urls(protocol: Protocol, path: &str) -> bool {
    match protocol {
        Protocol::CratesIo => path.ends_with("/config.json"),
        Protocol::Nuget => matches!(path, "/index.json" | "/v3/index.json"),
        Protocol::Pypi | Protocol::Npm | Protocol::Rubygems => false,
    }
}

/// The base URL of a registry, behind the gateway, and the one at which the gateway serves it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bases {
    /// Where the registry is.
    pub upstream: Url,
    /// Where its clients find it.
    pub public: Url,
}

impl Bases {
    /// `config.json` of a cargo index, or NuGet's service index, with the URLs in it that name the
    /// upstream made public. Keys stay as they are, and so does what is not JSON.
    pub fn publish_json(&self, body: &[u8]) -> Vec<u8> {
        if serde_json::from_slice::<serde::de::IgnoredAny>(body).is_err() {
            return body.to_vec();
        }
        let mut written = Vec::with_capacity(body.len());
        let mut rest = body;
        while let Some(start) = rest.iter().position(|byte| *byte == b'"') {
            let (before, from) = rest.split_at(start);
            let (token, behind) = from.split_at(string_length(from));
            written.extend_from_slice(before);
            match self.published_token(token, behind) {
                Some(published) => written.extend_from_slice(published.as_bytes()),
                None => written.extend_from_slice(token),
            }
            rest = behind;
        }
        written.extend_from_slice(rest);
        written
    }

    /// A JSON string made public, if it is a value and names the upstream.
    fn published_token(&self, token: &[u8], behind: &[u8]) -> Option<String> {
        let next = behind.iter().find(|byte| !byte.is_ascii_whitespace());
        if next == Some(&b':') {
            return None;
        }
        let text: String = serde_json::from_slice(token).ok()?;
        let published = self.published(&text)?;
        serde_json::to_string(&published).ok()
    }

    /// The `Location` of a redirect that answers a request for `asked`, a URL of the upstream. One
    /// that leads elsewhere stays as it is.
    pub fn publish_location(&self, location: &str, asked: &Url) -> String {
        let target = asked.join(location).ok();
        target
            .and_then(|target| self.published(target.as_str()))
            .unwrap_or_else(|| location.to_owned())
    }

    /// A URL of the registry made public; `None` if it is none of its own.
    ///
    /// Registries also write the public host, which they are sent, before their own path, and `http`
    /// although the gateway speaks `https`.
    fn published(&self, url: &str) -> Option<String> {
        let named = ["http", "https"].into_iter().filter_map(|scheme| {
            let mut own = self.public.clone();
            own.set_scheme(scheme).ok()?;
            own.set_path(self.upstream.path());
            Some(own)
        });
        std::iter::once(self.upstream.clone())
            .chain(named)
            .find_map(|from| rebase(url, &from, &self.public))
    }
}

/// The length of the JSON string at the start of `text`, with its quotation marks.
fn string_length(text: &[u8]) -> usize {
    let mut escaped = false;
    for (place, byte) in text.iter().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return place.saturating_add(1),
            _ => {}
        }
    }
    text.len()
}

/// The URL with the base `to` instead of `from`; `None` if it is not below `from`. The rest of the
/// text is not read as a URL, since cargo's `dl` has markers in it.
pub(crate) fn rebase(text: &str, from: &Url, to: &Url) -> Option<String> {
    let (scheme, rest) = text.split_once("://")?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at_checked(end)?;
    let origin = Url::parse(&format!("{scheme}://{authority}/")).ok()?;
    let has_user = !origin.username().is_empty() || origin.password().is_some();
    if has_user || origin.origin() != from.origin() {
        return None;
    }
    let rest = rest.strip_prefix(from.path().trim_end_matches('/'))?;
    if !rest.is_empty() && !rest.starts_with(['/', '?', '#']) {
        return None;
    }
    let base = to.as_str().trim_end_matches('/');
    Some(format!("{base}{rest}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_to_the_public_host_has_its_scheme_and_not_the_path_of_the_registry() {
        let devpi = bases(
            "http://127.0.0.1:3141/operator/main/",
            "https://pypi.example/",
        );
        let asked = Url::parse("http://127.0.0.1:3141/operator/main/+simple/W").unwrap();
        for location in [
            "http://pypi.example/operator/main/+simple/w/",
            "https://pypi.example/operator/main/+simple/w/",
            "http://127.0.0.1:3141/operator/main/+simple/w/",
            "/operator/main/+simple/w/",
            "w/",
        ] {
            assert_eq!(
                devpi.publish_location(location, &asked),
                "https://pypi.example/+simple/w/"
            );
        }
        for other in [
            "https://pypi.org/simple/w/",
            "http://127.0.0.1:3141/root/",
            "mailto:x",
        ] {
            assert_eq!(devpi.publish_location(other, &asked), other);
        }
    }

    fn bases(upstream: &str, public: &str) -> Bases {
        Bases {
            upstream: Url::parse(upstream).unwrap(),
            public: Url::parse(public).unwrap(),
        }
    }

    fn published(bases: &Bases, json: &str) -> String {
        String::from_utf8(bases.publish_json(json.as_bytes())).unwrap()
    }

    #[test]
    fn the_configuration_of_a_cargo_index_names_the_gateway() {
        let kellnr = bases("http://kellnr:8000/", "https://crates.example/");
        assert_eq!(
            published(
                &kellnr,
                r#"{"dl":"http://kellnr:8000/api/v1/crates/dl/{crate}/{version}/download", "api" : "http:\/\/KELLNR:8000","auth-required":true}"#
            ),
            r#"{"dl":"https://crates.example/api/v1/crates/dl/{crate}/{version}/download", "api" : "https://crates.example","auth-required":true}"#
        );
        // The last digit of a number is not rounded, and a base within a longer name is none.
        let other = r#"{"dl":"http://kellnr:80001/x","api":"https://kellnr:8000/","n":1.00000000000000000001,"http://kellnr:8000/":1}"#;
        assert_eq!(published(&kellnr, other), other);
        assert_eq!(
            published(&kellnr, "http://kellnr:8000/"),
            "http://kellnr:8000/"
        );
    }

    #[test]
    fn the_service_index_of_nuget_names_the_gateway() {
        let nexus = bases(
            "https://nexus.corp:443/repository/nuget-hosted/",
            "https://nuget.example/",
        );
        let index = "{\n  \"version\": \"3.0.0\",\n  \"resources\": [\n    {\"@id\": \"https://nexus.corp/repository/nuget-hosted/v3/content/\", \"@type\": \"PackageBaseAddress/3.0.0\", \"comment\": \"a \\\"b\\\"\"},\n    {\"@id\": \"https://nexus.corp/repository/nuget-hosted2/query\", \"@type\": \"SearchQueryService\"},\n    {\"@id\": \"https://u@nexus.corp/repository/nuget-hosted/q\"},\n    {\"@id\": \"https://nexus.corp/repository/nuget-hosted?a\"}\n  ]\n}";
        let expected = index
            .replace(
                "https://nexus.corp/repository/nuget-hosted/",
                "https://nuget.example/",
            )
            .replace(
                "https://nexus.corp/repository/nuget-hosted?",
                "https://nuget.example?",
            );
        assert_eq!(published(&nexus, index), expected);
        // So Nexus writes them behind a proxy that tells it the public host.
        for host in ["https://nuget.example", "http://nuget.example"] {
            let told = index.replace("https://nexus.corp", host);
            let own = format!("{host}/repository/nuget-hosted");
            let expected = told
                .replace(&format!("{own}/"), "https://nuget.example/")
                .replace(&format!("{own}?"), "https://nuget.example?");
            assert_eq!(published(&nexus, &told), expected);
        }
    }

    #[test]
    fn redirects_within_the_registry_stay_at_the_gateway() {
        let nexus = bases(
            "http://nexus:8081/repository/pypi/",
            "https://pypi.example/",
        );
        let asked = Url::parse("http://nexus:8081/repository/pypi/simple/Foo").unwrap();
        for (location, expected) in [
            ("Foo/", "https://pypi.example/simple/Foo/"),
            (
                "/repository/pypi/simple/foo/",
                "https://pypi.example/simple/foo/",
            ),
            (
                "http://nexus:8081/repository/pypi/simple/foo/?a=b#c",
                "https://pypi.example/simple/foo/?a=b#c",
            ),
            ("//nexus:8081/repository/pypi/x", "https://pypi.example/x"),
            (
                "https://pypi.org/simple/foo/",
                "https://pypi.org/simple/foo/",
            ),
            ("/login", "/login"),
            ("../../../login", "../../../login"),
            ("http://[", "http://["),
        ] {
            assert_eq!(nexus.publish_location(location, &asked), expected);
        }
    }
}
