//! Formats of values, in claims and in rules alike. A value of another format is refused; nothing
//! is normalised.

use std::net::IpAddr;

use serde::Deserialize;

/// The longest SPIFFE id and the longest trust domain, in bytes (SPIFFE-ID section 2.3).
const MAX_SPIFFE_ID_BYTES: usize = 2048;
const MAX_TRUST_DOMAIN_BYTES: usize = 255;
/// The longest e-mail address (RFC 5321 section 4.5.3.1.3) and domain name (RFC 1035 section
/// 2.3.4), in bytes.
const MAX_EMAIL_BYTES: usize = 254;
const MAX_DOMAIN_BYTES: usize = 253;
const MAX_LABEL_BYTES: usize = 63;
const MAX_USERNAME_BYTES: usize = 255;
const SPIFFE: &str = "spiffe://";

/// The format of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// Two non-empty parts with one slash between: `owner/name`.
    OwnerAndName,
    /// One or more non-empty parts separated by slashes.
    Path,
    /// One non-empty part without a slash.
    Segment,
    /// A name of lower-case letters, digits and hyphens (RFC 1123 section 2.1, as Kubernetes reads
    /// it).
    DnsLabel,
    /// DNS labels separated by dots.
    DnsName,
    /// A domain name in upper-case or lower-case letters.
    Domain,
    /// An e-mail address in ASCII: an unquoted local part, one `@` and a domain.
    Email,
    /// An account name in ASCII, without spaces, `@` and `!`.
    Username,
    /// A SPIFFE id with a path.
    SpiffeId,
    /// A repository of GitHub: the owner of letters, digits, `-` and `_`, the name of letters,
    /// digits, `.`, `-` and `_`.
    GithubRepository,
    /// A repository of Forgejo or Gitea: both parts of letters, digits, `.`, `-` and `_`.
    ForgeRepository,
    /// One part of letters, digits, `.`, `-` and `_`.
    ForgeName,
    /// Several such parts with slashes between: groups of GitLab.
    ForgePath,
    /// An id or a slug: letters, digits, `-`, `_` and braces.
    Identifier,
    /// An event that starts a run: letters, digits and `_`.
    Event,
    /// A UUID in hexadecimal digits and hyphens.
    Uuid,
    /// The complete name of a git ref (git-check-ref-format), or a short one.
    GitRef,
}

impl Format {
    pub fn fits(self, text: &str) -> bool {
        match self {
            Self::OwnerAndName => text
                .split_once('/')
                .is_some_and(|(owner, name)| is_segment(owner) && is_segment(name)),
            Self::Path => text.split('/').all(is_segment),
            Self::Segment => is_segment(text),
            Self::DnsLabel => is_dns_label(text),
            Self::DnsName => text.len() <= MAX_DOMAIN_BYTES && text.split('.').all(is_dns_label),
            Self::Domain => is_domain(text),
            Self::Email => is_email(text),
            Self::Username => {
                (1..=MAX_USERNAME_BYTES).contains(&text.len())
                    && text
                        .bytes()
                        .all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'@' | b'!'))
            }
            Self::SpiffeId => trust_domain_of(text).is_some(),
            Self::GithubRepository => text.split_once('/').is_some_and(|(owner, name)| {
                is_forge_name(owner) && !owner.contains('.') && is_forge_name(name)
            }),
            Self::ForgeRepository => text
                .split_once('/')
                .is_some_and(|(owner, name)| is_forge_name(owner) && is_forge_name(name)),
            Self::ForgeName => is_forge_name(text),
            Self::ForgePath => text.split('/').all(is_forge_name),
            Self::Identifier => {
                let known = |b: u8| b.is_ascii_alphanumeric() || b"-_{}".contains(&b);
                !text.is_empty() && text.bytes().all(known)
            }
            Self::Event => {
                let known = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
                !text.is_empty() && text.bytes().all(known)
            }
            Self::Uuid => is_uuid(text),
            Self::GitRef => is_git_ref(text),
        }
    }

    /// The format as the predicate of an error about a value that does not have it.
    pub fn described(self) -> &'static str {
        match self {
            Self::OwnerAndName => "must be of the form owner/name",
            Self::Path => "must be a path without empty parts",
            Self::Segment => "must be one name without a slash",
            Self::DnsLabel => "must be a name of lower-case letters, digits and hyphens",
            Self::DnsName => "must be a name of lower-case letters, digits, hyphens and dots",
            Self::Domain => "must be a domain name, without scheme, port and path",
            Self::Email => "must be an e-mail address in ASCII with an unquoted local part",
            Self::Username => "must be the name of an account: ASCII without spaces, `@` and `!`",
            Self::SpiffeId => {
                "must be a SPIFFE id with a path, such as spiffe://example.org/ns/ci/sa/publisher"
            }
            Self::GithubRepository => {
                "must be of the form owner/name, of letters, digits, `.`, `-` and `_` (the owner without `.`); another value would never match"
            }
            Self::ForgeRepository => {
                "must be of the form owner/name, of letters, digits, `.`, `-` and `_`; another value would never match"
            }
            Self::ForgeName => {
                "must be one name without a slash, of letters, digits, `.`, `-` and `_`; another value would never match"
            }
            Self::ForgePath => {
                "must be a path of letters, digits, `.`, `-` and `_`, without empty parts and without the host; another value would never match"
            }
            Self::Identifier => {
                "must be an id as the platform shows it: letters, digits, `-`, `_` and braces"
            }
            Self::Event => {
                "must be an event as the platform writes it, of letters, digits and `_`; another value would never match"
            }
            Self::Uuid => "must be a UUID, such as 0f2d1c5e-0000-4000-8000-000000000001",
            Self::GitRef => {
                "must be a name that git allows for a ref: no spaces, no empty parts, none of `~`, `^`, `:`, `\\`, `..` and `@{`; another value would never match"
            }
        }
    }
}

fn is_segment(text: &str) -> bool {
    !text.is_empty() && !text.contains(['/', ' ', '*'])
}

fn is_forge_name(text: &str) -> bool {
    let known = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    !matches!(text, "" | "." | "..") && text.bytes().all(known)
}

fn is_uuid(text: &str) -> bool {
    let lengths = [8, 4, 4, 4, 12];
    let mut groups = text.split('-');
    let fits = |length| {
        groups.next().is_some_and(|group| {
            group.len() == length && group.bytes().all(|byte| byte.is_ascii_hexdigit())
        })
    };
    lengths.into_iter().all(fits) && groups.next().is_none()
}

/// A name that `git check-ref-format` accepts. Stars, question marks and brackets are let through:
/// they are warned of as patterns.
fn is_git_ref(text: &str) -> bool {
    let forbidden = |character: char| character.is_control() || " ~^:\\".contains(character);
    !text.contains(forbidden)
        && !text.contains("..")
        && !text.contains("@{")
        && !text.ends_with('.')
        && text.split('/').all(|part| {
            !part.is_empty() && !part.starts_with('.') && part.strip_suffix(".lock").is_none()
        })
}

fn is_dns_label(text: &str) -> bool {
    (1..=MAX_LABEL_BYTES).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// A host name. IPv4 addresses are refused, although their parts would be valid labels.
pub(super) fn is_domain(text: &str) -> bool {
    text.len() <= MAX_DOMAIN_BYTES
        && text
            .split('.')
            .all(|label| is_dns_label(&label.to_ascii_lowercase()))
        && text.parse::<IpAddr>().is_err()
}

fn is_email(text: &str) -> bool {
    let is_atom = |atom: &str| {
        !atom.is_empty()
            && atom
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&byte))
    };
    text.len() <= MAX_EMAIL_BYTES
        && text
            .split_once('@')
            .is_some_and(|(local, domain)| local.split('.').all(is_atom) && is_domain(domain))
}

/// Whether a text is a trust domain (SPIFFE-ID section 2.1). Upper-case letters are refused: no
/// platform writes them, and so each trust domain has one spelling.
pub fn is_trust_domain(text: &str) -> bool {
    (1..=MAX_TRUST_DOMAIN_BYTES).contains(&text.len())
        && text.bytes().all(|b| {
            b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'_')
        })
}

/// The trust domain of a SPIFFE id with a path (SPIFFE-ID section 2); `None` if the text is not
/// such an id.
pub fn trust_domain_of(id: &str) -> Option<&str> {
    let (domain, path) = id
        .strip_prefix(SPIFFE)
        .filter(|_| id.len() <= MAX_SPIFFE_ID_BYTES)?
        .split_once('/')?;
    let is_path = path.split('/').all(|segment| {
        let known = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
        !matches!(segment, "" | "." | "..") && segment.bytes().all(known)
    });
    (is_trust_domain(domain) && is_path).then_some(domain)
}

/// The registrable domain of a host by the Public Suffix List (decision D-40); `None` for an IP
/// address and for a public suffix itself.
pub fn registrable_domain(host: &str) -> Option<&str> {
    if is_domain(host) {
        psl::domain_str(host)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn fits(format: Format, good: &[&str], bad: &[&str]) {
        for text in good {
            assert!(format.fits(text), "{format:?} {text}");
        }
        for text in bad {
            assert!(!format.fits(text), "{format:?} {text}");
        }
        assert!(!format.fits("") && !format.described().is_empty());
    }

    #[test]
    fn names_and_paths_have_no_empty_parts() {
        fits(
            Format::OwnerAndName,
            &["a/b"],
            &["a", "/b", "a/", "a/b/c", "a//b", "a /b", "a/*"],
        );
        fits(
            Format::Path,
            &["a", "a/b", "a/b/c"],
            &["/a", "a/", "a//b", "a b"],
        );
        fits(Format::Segment, &["a", "a.b"], &["a/b", "/", "a b"]);
        fits(
            Format::DnsLabel,
            &["ci", "a-1", "0"],
            &["CI", "-a", "a-", "a.b", "a:b", "a_b", &"a".repeat(64)],
        );
        fits(
            Format::DnsName,
            &["ci", "a.b-c"],
            &["A.b", "a..b", ".a", "a.", "a:b", &"a.".repeat(127)],
        );
    }

    #[test]
    fn fulcio_email_1__email_addresses_in_unusual_spellings_are_refused() {
        fits(
            Format::Email,
            &[
                "a@example.com",
                "A.b+tag@Example.com",
                "o'hara@example.com",
                "a@host",
            ],
            &[
                "foo.com",
                "@example.com",
                "a@",
                "a@b@example.com",
                "\"a b\"@example.com",
                "a b@example.com",
                "a..b@x.y",
                ".a@x.y",
                "a@x..y",
                "a@.x",
                "a@x.",
                "a@-x.y",
                "a@[127.0.0.1]",
                "a@127.0.0.1",
                "ä@example.com",
                "a@exämple.com",
                "a@example.com\u{200b}",
                "a@example.com ",
                "<a@example.com>",
                &"a".repeat(255),
            ],
        );
    }

    #[test]
    fn atk_143__user_names_with_special_or_non_ascii_characters_are_refused() {
        fits(
            Format::Username,
            &["alice", "Alice", "a.b_c-d", "a/b"],
            &[
                "a!b",
                "a@b",
                "a b",
                " a",
                "a\0",
                "а",
                "a\n",
                &"a".repeat(1024),
            ],
        );
    }

    #[test]
    fn spiffe_id_1__a_spiffe_id_is_scheme_trust_domain_and_path_alone() {
        fits(
            Format::SpiffeId,
            &[
                "spiffe://td.test/x",
                "spiffe://td.test/ns/ci/sa/A.b_c-d",
                "spiffe://1_a/x",
            ],
            &[
                "spiffe://td.test",
                "spiffe:///x",
                "https://td.test/x",
                "spiffe:/td.test/x",
                "td.test/x",
                "spiffe://u@td.test/x",
                "spiffe://td.test:8443/x",
                "spiffe://td.test/x?y",
                "spiffe://td.test/x#y",
            ],
        );
    }

    #[test]
    fn spiffe_id_2__spiffe_ids_outside_the_specified_characters_and_lengths_are_refused() {
        let long = format!("spiffe://td.test/{}", "a".repeat(2048));
        let domain = format!("spiffe://{}/x", "a".repeat(256));
        let path = |path: &str| format!("spiffe://td.test/{path}");
        for bad in [
            "", "/", "x/", "/x", "x//y", ".", "..", "x/../y", "%2e", "x%2Fy", "ü", "x y", "x~y",
            "x\\y", "x*",
        ] {
            assert!(!Format::SpiffeId.fits(&path(bad)), "{bad}");
        }
        fits(
            Format::SpiffeId,
            &["spiffe://td.test/..."],
            &[&long, &domain, "spiffe://td%2etest/x", "spiffe://tü/x"],
        );
        assert!(Format::SpiffeId.fits(&format!("spiffe://td.test/{}", "a".repeat(2048 - 17))));
    }

    #[test]
    fn spiffe_id_3__upper_case_in_scheme_or_trust_domain_is_refused() {
        fits(
            Format::SpiffeId,
            &["spiffe://td.test/X"],
            &[
                "SPIFFE://td.test/x",
                "Spiffe://td.test/x",
                "spiffe://TD.test/x",
            ],
        );
        assert!(is_trust_domain("td.test") && is_trust_domain(&"a".repeat(255)));
        for bad in [
            "",
            "TD.test",
            "td.test/",
            "td/x",
            "td:1",
            "*.test",
            "ü",
            &"a".repeat(256),
        ] {
            assert!(!is_trust_domain(bad), "{bad}");
        }
    }

    #[test]
    fn registrable_domains_come_from_the_public_suffix_list() {
        for (host, domain) in [
            ("accounts.example.com", Some("example.com")),
            ("example.com", Some("example.com")),
            ("auth.attacker.co.uk", Some("attacker.co.uk")),
            ("victim.co.uk", Some("victim.co.uk")),
            ("co.uk", None),
            ("com", None),
            ("a.github.io", Some("a.github.io")),
            ("127.0.0.1", None),
            ("a b.example", None),
            ("", None),
        ] {
            assert_eq!(registrable_domain(host), domain, "{host}");
        }
    }
}
