//! The log: one line for each event, as text or as a JSON object, with the id of the request that it
//! belongs to.

use std::fmt;
use std::io::IsTerminal as _;

use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{self, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::request;
use crate::config::{LogConfig, LogFormat};

/// Starts the log of the process on standard error. Panics are lines of it too, so that the log stays
/// one JSON object on each line.
///
/// # Errors
///
/// If the levels cannot be read; the text says why.
pub fn start(config: &LogConfig) -> Result<(), String> {
    let filter = EnvFilter::try_new(config.level.directives());
    let filter = filter.map_err(|error| format!("log.level: {error}"))?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match config.format {
        LogFormat::Text => {
            let has_colours = std::io::stderr().is_terminal();
            let lines = format::format().with_ansi(has_colours);
            builder
                .with_ansi(has_colours)
                .event_format(TextLines { lines, has_colours })
                .init();
        }
        LogFormat::Json => builder
            .json()
            .event_format(JsonLines(format::format().json()))
            .init(),
    }
    std::panic::set_hook(Box::new(|panic| {
        let payload = panic.payload();
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| payload.downcast_ref::<&str>().copied());
        let place = panic.location().map(ToString::to_string);
        tracing::error!(panic = text, place, "panicked");
    }));
    Ok(())
}

/// Lines for people.
struct TextLines<F> {
    lines: F,
    has_colours: bool,
}

impl<S, N, F> FormatEvent<S, N> for TextLines<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut line = String::new();
        self.lines
            .format_event(context, Writer::new(&mut line), event)?;
        request::describe(|name, value| {
            line.truncate(line.trim_end().len());
            line.extend([" ", name, "=", value]);
        });
        write_line(&mut writer, line.trim_end(), self.has_colours)
    }
}

/// Writes a line whose control characters are escaped: values of callers must neither begin a new
/// line nor command a terminal. Colours are control characters too, so a terminal gets its own.
fn write_line(writer: &mut impl fmt::Write, line: &str, has_colours: bool) -> fmt::Result {
    let harmful = |c: char| c.is_control() && !(has_colours && c == '\u{1b}');
    if line.contains(harmful) {
        for c in line.chars() {
            if harmful(c) {
                write!(writer, "{}", c.escape_default())?;
            } else {
                writer.write_char(c)?;
            }
        }
        writer.write_char('\n')
    } else {
        writeln!(writer, "{line}")
    }
}

/// One JSON object on a line.
struct JsonLines<F>(F);

impl<S, N, F> FormatEvent<S, N> for JsonLines<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut line = String::new();
        self.0
            .format_event(context, Writer::new(&mut line), event)?;
        let mut members = String::new();
        request::describe(|name, value| {
            members.extend(["\"", name, "\":\"", value, "\","]);
        });
        let line = line.trim_end();
        match line.strip_prefix('{') {
            Some(rest) if !members.is_empty() => {
                write!(writer, "{{{members}")?;
                write_json(&mut writer, rest)
            }
            _ => write_json(&mut writer, line),
        }
    }
}

/// Writes the rest of a JSON object on a line. Control characters can only be in its strings, and only
/// those above U+007E, which JSON need not escape and terminals obey.
fn write_json(writer: &mut impl fmt::Write, line: &str) -> fmt::Result {
    if line.contains(char::is_control) {
        for c in line.chars() {
            if c.is_control() {
                write!(writer, "\\u{:04x}", u32::from(c))?;
            } else {
                writer.write_char(c)?;
            }
        }
        writer.write_char('\n')
    } else {
        writeln!(writer, "{line}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_begin_no_line_and_command_no_terminal() {
        let written = |line: &str, has_colours| {
            let mut text = String::new();
            write_line(&mut text, line, has_colours).unwrap();
            text
        };
        assert_eq!(written("a=\"b\" c=d", false), "a=\"b\" c=d\n");
        assert_eq!(
            written("a\nb\u{1b}[2J\u{9b}", false),
            "a\\nb\\u{1b}[2J\\u{9b}\n"
        );
        assert_eq!(written("\u{1b}[2ma\rb", true), "\u{1b}[2ma\\rb\n");
        let mut text = String::new();
        write_json(&mut text, "\"a\u{9b}\u{7f}é\"}").unwrap();
        assert_eq!(text, "\"a\\u009b\\u007fé\"}\n");
    }
}
