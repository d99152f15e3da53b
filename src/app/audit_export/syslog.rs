//! Messages of syslog (RFC 5424).

use super::destination::Line;

/// The facility "log audit" (RFC 5424 section 6.2.1).
const FACILITY: u8 = 13;
const WARNING: u8 = 4;
const INFORMATIONAL: u8 = 6;
/// Where Linux tells the name of the machine.
const HOSTNAME: &str = "/proc/sys/kernel/hostname";
/// The longest host name in a message (RFC 5424 section 6).
const MAX_HOSTNAME: usize = 255;
/// The value that stands for nothing.
const NIL: &str = "-";

/// What all messages of this process say of their origin.
#[derive(Debug)]
pub(super) struct Syslog {
    hostname: String,
    process: u32,
}

impl Syslog {
    pub(super) fn of_this_process() -> Self {
        let name = std::fs::read_to_string(HOSTNAME).unwrap_or_default();
        Self {
            hostname: hostname(name.trim()),
            process: std::process::id(),
        }
    }

    /// The message of an event: the outcome is the type of message, and the event as JSON its text.
    pub(super) fn message(&self, line: &Line) -> String {
        let severity = if line.is_warning {
            WARNING
        } else {
            INFORMATIONAL
        };
        let priority = FACILITY.saturating_mul(8).saturating_add(severity);
        let Line {
            at, outcome, text, ..
        } = line;
        let Self { hostname, process } = self;
        format!("<{priority}>1 {at} {hostname} carnet {process} {outcome} {NIL} {text}")
    }
}

/// A name of printable characters, as the grammar asks for.
fn hostname(name: &str) -> String {
    let is_printable = name.bytes().all(|byte| (b'!'..=b'~').contains(&byte));
    let fits = (1..=MAX_HOSTNAME).contains(&name.len());
    if is_printable && fits { name } else { NIL }.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::ids::EventId;

    #[test]
    fn a_message_has_the_header_of_rfc_5424() {
        let syslog = Syslog {
            hostname: hostname("as-1"),
            process: 7,
        };
        let at = Timestamp::from_seconds(1_800_000_000);
        let line = Line {
            id: EventId::new(at),
            at,
            outcome: "refused",
            is_warning: true,
            text: "{\"outcome\":\"refused\"}".to_owned(),
        };
        assert_eq!(
            syslog.message(&line),
            "<108>1 2027-01-15T08:00:00Z as-1 carnet 7 refused - {\"outcome\":\"refused\"}"
        );
        for odd in ["", "a b", "é", &"a".repeat(256)] {
            assert_eq!(hostname(odd), "-", "{odd}");
        }
    }
}
