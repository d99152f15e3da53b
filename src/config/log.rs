//! The settings of the log.

use serde::Deserialize;

const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];
/// Libraries that report each step of a start, and each notice of PostgreSQL, at level `info`.
const VERBOSE_LIBRARIES: &str = "sqlx=warn,sea_orm=warn,sea_orm_migration=warn";
/// The reader of database URLs, which writes the values of parameters that it does not know, secrets
/// as well. Of two directives, the one that names more of a module's path counts.
const TELLS_SECRETS: &str = "sqlx_postgres::options=off";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    pub format: LogFormat,
    pub level: LogFilter,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// Lines for people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// Which lines the log has: a level, levels by module (`carnet=debug`), or several of both
/// separated by commas.
///
/// Stricter than the filters of `tracing`, which take an unknown word for the name of a module and
/// then log nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFilter(String);

impl Default for LogFilter {
    fn default() -> Self {
        Self("info".to_owned())
    }
}

impl std::str::FromStr for LogFilter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let directives: Vec<&str> = text.split(',').map(str::trim).collect();
        match directives.iter().find(|directive| !is_valid(directive)) {
            None => Ok(Self(directives.join(","))),
            Some(wrong) => Err(format!(
                "must be error, warn, info, debug or trace, or such levels by module, as in \
                 carnet=debug,info; \"{wrong}\" is neither"
            )),
        }
    }
}

fn is_valid(directive: &str) -> bool {
    match directive.split_once('=') {
        None => is_level(directive),
        Some((module, level)) => is_level(level) && is_module(module),
    }
}

fn is_level(text: &str) -> bool {
    LEVELS.iter().any(|level| text.eq_ignore_ascii_case(level))
}

fn is_module(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':' | b'-'))
}

impl LogFilter {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The filter in the syntax of `tracing`. At level `info`, libraries that are verbose at that
    /// level report warnings only, unless the filter names them.
    pub fn directives(&self) -> String {
        let asks_for_more = |directive: &str| {
            ["debug", "trace"]
                .iter()
                .any(|level| directive.eq_ignore_ascii_case(level))
        };
        if self.0.split(',').any(asks_for_more) {
            format!("{},{TELLS_SECRETS}", self.0)
        } else {
            // Of two directives for one module, the later one counts.
            format!("{VERBOSE_LIBRARIES},{},{TELLS_SECRETS}", self.0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_levels_by_module_are_read_and_everything_else_is_refused() {
        for text in [
            "info",
            "TRACE",
            "carnet=debug,info",
            "carnet::http=debug, warn",
            "sqlx=info",
        ] {
            assert!(text.parse::<LogFilter>().is_ok(), "{text}");
        }
        for text in [
            "",
            "verbose",
            "off",
            "carnet",
            "carnet=",
            "=info",
            "carnet=verbose",
            "info,",
            "infos,debug",
            "carnet[span]=debug",
            "carnet=info=debug",
        ] {
            let error = text.parse::<LogFilter>().unwrap_err();
            assert!(error.starts_with("must be error, warn,"), "{text}: {error}");
        }
    }

    #[test]
    fn verbose_libraries_are_quiet_unless_asked_for() {
        let directives = |text: &str| text.parse::<LogFilter>().unwrap().directives();
        assert_eq!(
            directives("info"),
            format!("{VERBOSE_LIBRARIES},info,{TELLS_SECRETS}")
        );
        assert!(directives("sqlx=info,info").contains(",sqlx=info,info,"));
        assert_eq!(
            directives("carnet=info,debug"),
            format!("carnet=info,debug,{TELLS_SECRETS}")
        );
    }
}
