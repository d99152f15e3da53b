//! What people paste instead of a value, brought into the form of the field when a rule is saved.
//! Claims are never changed.

/// First parts of addresses at GitHub that are no owners: pages about owners, not repositories.
const PAGES: [&str; 9] = [
    "apps",
    "enterprises",
    "features",
    "marketplace",
    "orgs",
    "settings",
    "sponsors",
    "topics",
    "users",
];

/// Text that people paste around a value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Paste {
    /// Beginnings that are taken off, even repeatedly.
    pub prefixes: Vec<String>,
    /// Endings that are taken off, even repeatedly.
    pub suffixes: Vec<String>,
    /// How an address of a repository is read; `None` if the field takes no addresses.
    pub address: Option<Address>,
}

/// Which part of a repository's address is the value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Hosts whose addresses are meant, besides the host of the trusted issuer; `*` is any host.
    pub hosts: Vec<String>,
    /// Whether the value begins with the host, as in `github.com/octo-org/widgets`.
    pub with_host: bool,
    /// How many parts of the path belong to the value; `None` means all up to `/-/`.
    pub parts: Option<usize>,
}

impl Paste {
    /// The value in what was pasted. `issuer` is the trusted issuer, on whose host a platform of
    /// one's own has its repositories.
    pub fn value(&self, pasted: &str, issuer: Option<&str>) -> String {
        let text = pasted.trim();
        let own = issuer.and_then(host_of);
        let read = self
            .address
            .as_ref()
            .and_then(|address| address.read(text, own.as_deref()));
        self.stripped(read.as_deref().unwrap_or(text)).to_owned()
    }

    fn stripped<'t>(&self, mut text: &'t str) -> &'t str {
        let beginning = |text: &'t str| {
            self.prefixes
                .iter()
                .find_map(|prefix| text.strip_prefix(prefix.as_str()))
        };
        while let Some(rest) = beginning(text) {
            text = rest;
        }
        let ending = |text: &'t str| {
            self.suffixes
                .iter()
                .find_map(|suffix| text.strip_suffix(suffix.as_str()))
        };
        while let Some(rest) = ending(text) {
            text = rest;
        }
        text
    }
}

impl Address {
    /// The value in an address, or in `owner/name#readme` and the like; `None` for other texts.
    fn read(&self, text: &str, own: Option<&str>) -> Option<String> {
        let (host, path) = match split(text) {
            Some((host, path)) if self.is_meant(&host, own) => (Some(host), path),
            Some(_) => return None,
            None => (None, text),
        };
        let path = path.split(['?', '#']).next().unwrap_or_default();
        // Only what stands in an address may go on behind the repository's name.
        let all: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let parts = match (self.parts, host.is_some()) {
            (Some(count), true) => all.get(..count).unwrap_or(&all),
            (Some(_), false) => &all,
            (None, _) => all.split(|part| *part == "-").next().unwrap_or(&all),
        };
        let is_page = parts.first().is_some_and(|first| PAGES.contains(first));
        if is_page && self.parts.is_some() && host.is_some() {
            return None;
        }
        let path = parts.join("/");
        let path = path.strip_suffix(".git").unwrap_or(&path);
        match host {
            Some(host) if self.with_host => Some(format!("{host}/{path}")),
            None if self.with_host => None,
            None if path.is_empty() => None,
            _ => Some(path.to_owned()),
        }
    }

    fn is_meant(&self, host: &str, own: Option<&str>) -> bool {
        // The issuer of a tenant of GitHub at ghe.com has a host below the tenant's.
        let below = own.and_then(|own| own.strip_prefix("token.actions."));
        own == Some(host)
            || below == Some(host)
            || self.hosts.iter().any(|known| known == "*" || known == host)
    }
}

/// Host and path of an address: `https://host/path`, `git+ssh://git@host/path`, `git@host:path` or
/// `host.example/path`.
fn split(text: &str) -> Option<(String, &str)> {
    let (authority, path) = match text.split_once("://") {
        Some((_, rest)) => rest.split_once('/').unwrap_or((rest, "")),
        None => match text.split_once('@') {
            Some((user, rest)) if !user.contains('/') => rest.split_once(':')?,
            _ => text
                .split_once('/')
                .filter(|(host, path)| is_well_known(host) && path.contains('/'))?,
        },
    };
    let host = authority.rsplit('@').next().unwrap_or(authority);
    let host = host.split(':').next().unwrap_or(host).to_ascii_lowercase();
    let host = host.strip_prefix("www.").unwrap_or(&host).to_owned();
    (!host.is_empty()).then_some((host, path))
}

/// Hosts that people write without a scheme. Other names with a dot may be names of owners.
fn is_well_known(host: &str) -> bool {
    [
        "github.com",
        "gitlab.com",
        "bitbucket.org",
        "codeberg.org",
        "gitea.com",
    ]
    .iter()
    .any(|known| {
        host.eq_ignore_ascii_case(known) || host.eq_ignore_ascii_case(&format!("www.{known}"))
    })
}

fn host_of(url: &str) -> Option<String> {
    split(url)
        .filter(|_| url.contains("://"))
        .map(|(host, _)| host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repository() -> Paste {
        Paste {
            prefixes: vec!["github:".to_owned()],
            suffixes: vec!["/".to_owned()],
            address: Some(Address {
                hosts: vec!["github.com".to_owned()],
                with_host: false,
                parts: Some(2),
            }),
        }
    }

    #[test]
    fn pub_k7__every_address_of_a_repository_is_read_as_its_name() {
        for pasted in [
            "octo-org/widgets",
            "https://github.com/octo-org/widgets",
            "http://www.github.com/octo-org/widgets/",
            "https://github.com/octo-org/widgets.git",
            "git+https://github.com/octo-org/widgets.git#v1",
            "git+ssh://git@github.com/octo-org/widgets.git",
            "ssh://git@github.com:22/octo-org/widgets",
            "git://github.com/octo-org/widgets.git",
            "git@github.com:octo-org/widgets.git",
            "GitHub.com/octo-org/widgets",
            "github:octo-org/widgets",
            "https://github.com/octo-org/widgets/tree/main/packages/a",
            "https://github.com/octo-org/widgets/blob/main/README.md",
            "https://github.com/octo-org/widgets?tab=readme-ov-file#readme",
            "octo-org/widgets#readme",
            "octo-org/widgets.git",
            " octo-org/widgets ",
            "https://ci.corp.example/octo-org/widgets/actions",
        ] {
            let own = Some("https://ci.corp.example/_services/token");
            assert_eq!(
                repository().value(pasted, own),
                "octo-org/widgets",
                "{pasted}"
            );
        }
        let elsewhere = "https://evil.example/octo-org/widgets";
        assert_eq!(repository().value(elsewhere, None), elsewhere);
        for page in [
            "https://github.com/orgs/octo-org/repositories",
            "https://github.com/users/octocat/projects/1",
        ] {
            assert_eq!(repository().value(page, None), page);
        }
    }

    #[test]
    fn pub_k7__an_address_is_read_with_its_host_where_the_claim_has_it() {
        let origin = Paste {
            address: Some(Address {
                hosts: vec!["*".to_owned()],
                with_host: true,
                parts: None,
            }),
            ..Paste::default()
        };
        for pasted in [
            "github.com/acme/widgets",
            "https://github.com/acme/widgets.git",
            "git@github.com:acme/widgets.git",
        ] {
            assert_eq!(
                origin.value(pasted, None),
                "github.com/acme/widgets",
                "{pasted}"
            );
        }
        for other in ["anything", "acme/widgets#1", "acme/widgets.git"] {
            assert_eq!(origin.value(other, None), other);
        }
    }
}
