//! The paths of npm's requests.

use crate::path::decode;

/// A request and what its path says. Names are decoded and not checked yet.
#[derive(Clone, Debug)]
pub(crate) enum Call {
    /// `PUT /{name}` and `PUT /{name}/-rev/{revision}`.
    Packument {
        package: String,
        revision: Option<String>,
    },
    /// `PUT /-/package/{name}/dist-tags/{tag}`.
    Tag { package: String, tag: String },
    /// `DELETE /-/package/{name}/dist-tags/{tag}`.
    Untag { package: String, tag: String },
    /// `DELETE /{name}/-rev/{revision}`.
    Remove { package: String, revision: String },
    /// `DELETE /{name}/-/{file}/-rev/{revision}`.
    RemoveFile {
        package: String,
        file: String,
        revision: String,
    },
}

impl Call {
    pub(crate) fn has_body(&self) -> bool {
        matches!(self, Self::Packument { .. } | Self::Tag { .. })
    }

    pub(super) fn package(&self) -> &str {
        match self {
            Self::Packument { package, .. }
            | Self::Tag { package, .. }
            | Self::Untag { package, .. }
            | Self::Remove { package, .. }
            | Self::RemoveFile { package, .. } => package,
        }
    }
}

pub(crate) fn classify(method: &str, segments: &[&str]) -> Option<Call> {
    if let Some(rest) = segments.strip_prefix(&["-", "package"]) {
        let (package, rest) = package(rest)?;
        let ["dist-tags", tag] = rest else {
            return None;
        };
        let tag = plain(tag)?;
        return match method {
            "PUT" => Some(Call::Tag { package, tag }),
            "DELETE" => Some(Call::Untag { package, tag }),
            _ => None,
        };
    }
    let (package, rest) = package(segments)?;
    match (method, rest) {
        ("PUT", []) => Some(Call::Packument {
            package,
            revision: None,
        }),
        ("PUT", ["-rev", revision]) => Some(Call::Packument {
            package,
            revision: Some(plain(revision)?),
        }),
        ("DELETE", ["-rev", revision]) => Some(Call::Remove {
            package,
            revision: plain(revision)?,
        }),
        // npm suggests an address of the tarball that repeats the scope, and some registries keep it.
        ("DELETE", ["-", scope, file, "-rev", revision])
            if package.split_once('/').is_some_and(|(of, _)| of == *scope) =>
        {
            Some(Call::RemoveFile {
                package,
                file: plain(file)?,
                revision: plain(revision)?,
            })
        }
        ("DELETE", ["-", file, "-rev", revision]) => Some(Call::RemoveFile {
            package,
            file: plain(file)?,
            revision: plain(revision)?,
        }),
        _ => None,
    }
}

/// The package's name at the start of a path: one segment, or a scope and a name. npm encodes the slash between them, except in
/// the address of a tarball, which it takes from the packument.
fn package<'a, 'b>(segments: &'a [&'b str]) -> Option<(String, &'a [&'b str])> {
    let (first, rest) = segments.split_first()?;
    let first = decode(first, &['@', '/'])?;
    if first.is_empty() || first == "-" {
        return None;
    }
    if first.starts_with('@') && !first.contains('/') {
        let (second, rest) = rest.split_first()?;
        return Some((format!("{first}/{}", plain(second)?), rest));
    }
    Some((first, rest))
}

/// A segment that no client needs to encode.
fn plain(segment: &str) -> Option<String> {
    (!segment.is_empty() && !segment.contains('%')).then(|| segment.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::path::segments;

    fn called(method: &str, path: &str) -> Option<String> {
        classify(method, &segments(path)?).map(|call| format!("{call:?}"))
    }

    #[test]
    fn each_path_is_one_request_and_names_one_package() {
        for (method, path, expected) in [
            ("PUT", "/a", r#"Packument { package: "a", revision: None }"#),
            (
                "PUT",
                "/@s%2fa",
                r#"Packument { package: "@s/a", revision: None }"#,
            ),
            (
                "PUT",
                "/%40s%2Fa",
                r#"Packument { package: "@s/a", revision: None }"#,
            ),
            (
                "PUT",
                "/@s/a",
                r#"Packument { package: "@s/a", revision: None }"#,
            ),
            (
                "PUT",
                "/a/-rev/3-x",
                r#"Packument { package: "a", revision: Some("3-x") }"#,
            ),
            (
                "DELETE",
                "/a/-rev/3-x",
                r#"Remove { package: "a", revision: "3-x" }"#,
            ),
            (
                "DELETE",
                "/@s/a/-/a-1.0.0.tgz/-rev/3-x",
                r#"RemoveFile { package: "@s/a", file: "a-1.0.0.tgz", revision: "3-x" }"#,
            ),
            (
                "DELETE",
                "/@s/a/-/@s/a-1.0.0.tgz/-rev/3-x",
                r#"RemoveFile { package: "@s/a", file: "a-1.0.0.tgz", revision: "3-x" }"#,
            ),
            (
                "PUT",
                "/-/package/@s%2fa/dist-tags/next",
                r#"Tag { package: "@s/a", tag: "next" }"#,
            ),
            (
                "DELETE",
                "/-/package/a/dist-tags/next",
                r#"Untag { package: "a", tag: "next" }"#,
            ),
        ] {
            assert_eq!(
                called(method, path).as_deref(),
                Some(expected),
                "{method} {path}"
            );
        }
        for (method, path) in [
            ("GET", "/a"),
            ("POST", "/a"),
            ("PUT", "/"),
            ("PUT", "/a/"),
            ("PUT", "/-"),
            ("PUT", "/-/user/org.couchdb.user:a"),
            ("DELETE", "/@s/a/-/@t/a-1.0.0.tgz/-rev/3-x"),
            ("DELETE", "/a/-/@s/a-1.0.0.tgz/-rev/3-x"),
            ("PUT", "/a/1.0.0"),
            ("PUT", "/a?x=1"),
            ("PUT", "/%61"),
            ("DELETE", "/a"),
            ("DELETE", "/-/package/a/dist-tags/%6eext"),
            ("POST", "/-/package/a/dist-tags/next"),
            ("PUT", "/@s"),
            ("PUT", "/@s/"),
        ] {
            assert_eq!(called(method, path), None, "{method} {path}");
        }
    }
}
