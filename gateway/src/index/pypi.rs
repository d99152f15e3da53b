//! The simple index of Python (PEP 503, and PEP 691 in JSON).

use carnet_access::PackageNames;
use serde::Deserialize;
use url::Url;

use super::{Ask, Asked, Existence, Held, NoAnswer, Page, Published, Start, unintelligible};

const ACCEPT: &str = "application/vnd.pypi.simple.v1+json, text/html;q=0.1";
/// Where the simple index is, below the URL of an index; devpi has it at the second place.
const PLACES: [&str; 2] = ["simple", "+simple"];
/// How the names of files in an index end.
const ENDS: [&str; 7] = [
    ".whl", ".tar.gz", ".zip", ".tar.bz2", ".tgz", ".egg", ".exe",
];

/// A file of a project.
#[derive(Debug, PartialEq, Eq)]
struct Link {
    file: String,
    url: Option<Url>,
    sha256: Option<String>,
}

pub(super) async fn existence<A: Ask>(
    asked: &Asked<'_, A>,
    package: &str,
) -> Result<Existence, NoAnswer> {
    let links = links(asked, package).await?;
    Ok(if links.is_empty() {
        Existence::New
    } else {
        Existence::Exists
    })
}

pub(super) async fn held<A: Ask>(
    asked: &Asked<'_, A>,
    published: &Published<'_>,
) -> Result<Held, NoAnswer> {
    let links = links(asked, published.package).await?;
    match links.into_iter().find(|link| link.file == published.file) {
        None => Ok(Held::Absent),
        Some(Link {
            sha256: Some(sha256),
            ..
        }) => Ok(Held::compare(&sha256, published.sha256)),
        Some(Link { url: Some(url), .. }) => asked.hashed(&url, published).await,
        Some(Link { file, .. }) => Err(NoAnswer::NotInIndex(file)),
    }
}

/// The files of a project: none if the index has no such project, or sends its clients to another
/// index.
async fn links<A: Ask>(asked: &Asked<'_, A>, package: &str) -> Result<Vec<Link>, NoAnswer> {
    let name = PackageNames::Pep503.normalise(package);
    let mut is_said = false;
    for place in PLACES {
        let url = asked.url(&format!("{place}/{name}/"))?;
        match asked.page(&url, Some(ACCEPT)).await? {
            Page::Found { url, body } => return read(&url, &body),
            Page::Missing { body, .. } => {
                is_said |= first_byte(&body).is_some_and(|byte| byte != b'<');
            }
            Page::Elsewhere(to) if asked.is_of_another_index(&to, &name) => return Ok(Vec::new()),
            Page::Elsewhere(url) => return Err(NoAnswer::Elsewhere { url }),
        }
    }
    if is_said || has_index(asked).await? {
        return Ok(Vec::new());
    }
    Err(unintelligible(&asked.url("simple/")?, "a simple index"))
}

/// Whether there is a simple index at all. A web page that says "not found" could as well be that of
/// a proxy, or of another part of the registry.
async fn has_index<A: Ask>(asked: &Asked<'_, A>) -> Result<bool, NoAnswer> {
    for place in PLACES {
        let url = asked.url(&format!("{place}/"))?;
        // devpi has no answer for a client that says nothing of what it reads.
        if !matches!(asked.start(&url, Some(ACCEPT)).await?, Start::Missing) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn first_byte(body: &[u8]) -> Option<u8> {
    body.iter()
        .copied()
        .find(|byte| !byte.is_ascii_whitespace())
}

fn read(url: &Url, body: &[u8]) -> Result<Vec<Link>, NoAnswer> {
    let expected = "the page of a project in a simple index";
    if first_byte(body) == Some(b'{') {
        return json(url, body).ok_or_else(|| unintelligible(url, expected));
    }
    let links = html(url, &String::from_utf8_lossy(body));
    if links.is_empty() {
        // It could as well be the page of a login.
        return Err(unintelligible(url, expected));
    }
    Ok(links)
}

#[derive(Deserialize)]
struct Project {
    files: Vec<ProjectFile>,
}

#[derive(Deserialize)]
struct ProjectFile {
    filename: String,
    url: String,
    #[serde(default)]
    hashes: std::collections::BTreeMap<String, String>,
}

fn json(url: &Url, body: &[u8]) -> Option<Vec<Link>> {
    let project: Project = serde_json::from_slice(body).ok()?;
    let links = project.files.into_iter().map(|mut file| Link {
        file: file.filename,
        url: url.join(&file.url).ok(),
        sha256: file.hashes.remove("sha256"),
    });
    Some(links.collect())
}

/// The links of a page to files.
fn html(url: &Url, page: &str) -> Vec<Link> {
    let anchors = page.split('<').filter_map(|tag| {
        let rest = tag.strip_prefix(['a', 'A'])?;
        rest.starts_with(|c: char| c.is_ascii_whitespace())
            .then(|| href(rest))?
    });
    anchors
        .filter_map(|href| {
            let target = url.join(&href).ok()?;
            let file = target.path_segments()?.next_back()?;
            let file = percent_encoding::percent_decode_str(file)
                .decode_utf8()
                .ok()?
                .into_owned();
            let sha256 = target
                .fragment()
                .and_then(|fragment| fragment.strip_prefix("sha256="))
                .map(str::to_owned);
            ENDS.iter().any(|end| file.ends_with(end)).then_some(Link {
                file,
                url: Some(target),
                sha256,
            })
        })
        .collect()
}

/// The value of `href` in the attributes of an element.
fn href(attributes: &str) -> Option<String> {
    let mut rest = attributes;
    loop {
        rest = rest.trim_start();
        let end = rest.find(|c: char| c.is_ascii_whitespace() || matches!(c, '=' | '>'))?;
        let (name, behind) = rest.split_at_checked(end)?;
        let behind = behind.trim_start();
        let Some(value) = behind.strip_prefix('=') else {
            // `>` ends the element.
            if name.is_empty() {
                return None;
            }
            rest = behind;
            continue;
        };
        let value = value.trim_start();
        let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''));
        let (value, behind) = if let Some(quote) = quote {
            value.strip_prefix(quote)?.split_once(quote)?
        } else {
            let end = value.find(|c: char| c.is_ascii_whitespace() || c == '>')?;
            value.split_at_checked(end)?
        };
        if name.eq_ignore_ascii_case("href") {
            return Some(unescaped(value));
        }
        rest = behind;
    }
}

/// Replaces the character references that occur in URLs.
fn unescaped(value: &str) -> String {
    value
        .replace("&#43;", "+")
        .replace("&#x2B;", "+")
        .replace("&#x2F;", "/")
        .replace("&#61;", "=")
        .replace("&#x3D;", "=")
        .replace("&amp;", "&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_read_from_any_html() {
        let page = Url::parse("https://nexus/repository/p/simple/octo-widgets/").unwrap();
        let text = "<!DOCTYPE html><A rel=\"internal\" HREF='../../packages/octo-widgets/1.0/octo_widgets-1.0%2Bl.whl#sha256=ab' data-x>w</A>
            <abbr href=x.whl><a href = ../a-1.zip>z</a><a data-requires-python=\"&gt;=3\" href=\"b-1.tar.gz#md5=00\">t</a><a href=\"/login\">in</a><a>";
        let found: Vec<_> = html(&page, text)
            .into_iter()
            .map(|link| (link.file, link.url.unwrap().to_string(), link.sha256))
            .collect();
        let base = "https://nexus/repository/p";
        assert_eq!(
            found,
            [
                (
                    "octo_widgets-1.0+l.whl".to_owned(),
                    format!("{base}/packages/octo-widgets/1.0/octo_widgets-1.0%2Bl.whl#sha256=ab"),
                    Some("ab".to_owned())
                ),
                ("a-1.zip".to_owned(), format!("{base}/simple/a-1.zip"), None),
                (
                    "b-1.tar.gz".to_owned(),
                    format!("{base}/simple/octo-widgets/b-1.tar.gz#md5=00"),
                    None
                ),
            ]
        );
    }
}
