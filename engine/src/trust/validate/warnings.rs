//! Warnings about rules that are valid and weak, or that probably do not say what was meant.

use serde_json::{Map, Value};

use super::never::comparing;
use super::whole::missing_ids;
use super::{Warning, escape};
use crate::profile::{Check, PinMode, Profile, Role, Terms, WeakRule, glob, texts};

/// Words of the file that defines a job, which are no values.
const CALLED_WORDS: [&str; 2] = ["same-repo", "any"];

/// Warnings about a valid rule.
pub(super) fn warnings(
    profile: &Profile,
    terms: &Terms,
    matcher: &Map<String, Value>,
) -> Vec<Warning> {
    let weak = profile
        .warnings
        .iter()
        .filter(|weak| is_weak(weak, profile, matcher));
    let mut warnings: Vec<Warning> = weak
        .map(|weak| Warning {
            code: weak.code.clone(),
            detail: weak.detail.clone(),
        })
        .collect();
    for (pointer, value) in values(profile, matcher) {
        warnings.extend(literal_characters(&pointer, &value));
    }
    warnings.extend(banned_events(profile, terms, matcher));
    warnings.extend(asked_events(profile, terms, matcher));
    warnings.extend(event_case(profile, terms, matcher));
    warnings.extend(unpinned_names(profile, matcher));
    warnings.extend(stars_that_stop(profile, matcher));
    warnings.extend(open_ids(profile, matcher));
    warnings
}

fn is_weak(weak: &WeakRule, profile: &Profile, matcher: &Map<String, Value>) -> bool {
    let is_like = |(field, form): &(String, String)| {
        texts(matcher.get(field)).any(|text| glob::matches(form, text))
    };
    weak.like.iter().all(is_like)
        && !weak
            .unless
            .iter()
            .any(|narrowing| narrowing.holds(profile, matcher))
}

/// A value of a rule: a plain text, or the pattern of a glob.
struct Given<'m> {
    text: &'m str,
    is_pattern: bool,
    /// Whether a glob may stand in this place.
    takes_globs: bool,
}

/// All values of a rule with their JSON Pointers, also those inside lists and objects.
fn values<'m>(profile: &Profile, matcher: &'m Map<String, Value>) -> Vec<(String, Given<'m>)> {
    let mut found = Vec::new();
    for (name, value) in matcher {
        let takes_globs = profile
            .fields_named(name)
            .any(|(_, field)| matches!(&field.check, Check::Equals(equals) if equals.glob));
        let is_called = profile
            .fields_named(name)
            .any(|(_, field)| matches!(field.check, Check::ReusableFile(_)));
        let is_own_text = profile.fields_named(name).any(|(_, field)| {
            matches!(
                field.check,
                Check::Choice { .. } | Check::Version { .. } | Check::Identity(_)
            )
        });
        if is_own_text || (is_called && CALLED_WORDS.iter().any(|word| value == word)) {
            continue;
        }
        let pointer = format!("/{}", escape(name));
        match value {
            Value::Object(members) if name == "claims" || is_called => {
                for (member, value) in members {
                    let pointer = format!("{pointer}/{}", escape(member));
                    found.extend(given(&pointer, value, is_called && member == "ref"));
                }
            }
            Value::Object(members) if members.contains_key("equals") => {
                found.extend(given(&format!("{pointer}/equals"), &value["equals"], false));
            }
            value => found.extend(given(&pointer, value, takes_globs)),
        }
    }
    found
}

fn given<'m>(pointer: &str, value: &'m Value, takes_globs: bool) -> Vec<(String, Given<'m>)> {
    let pattern = value.get("glob").and_then(Value::as_str);
    let all = texts(Some(value)).map(|text| Given {
        text,
        is_pattern: pattern.is_some(),
        takes_globs,
    });
    all.map(|one| (pointer.to_owned(), one)).collect()
}

/// The warnings for characters that are signs of other pattern languages and stand for themselves
/// here.
fn literal_characters(pointer: &str, given: &Given<'_>) -> Vec<Warning> {
    let Given {
        text,
        is_pattern,
        takes_globs,
    } = *given;
    let place = pointer.trim_start_matches('/').replace('/', ".");
    let shown = Value::from(text);
    let mut warnings = Vec::new();
    if !is_pattern && text.contains('*') {
        let instead = if takes_globs {
            format!("a pattern is written as {{\"glob\": {shown}}}")
        } else {
            "there are no patterns in this place".to_owned()
        };
        warnings.push(Warning {
            code: "literal_star".to_owned(),
            detail: format!("`*` is a character like any other in {place}: {shown}; {instead}"),
        });
    }
    if let Some(sign) = foreign_sign(text) {
        warnings.push(Warning {
            code: "literal_pattern".to_owned(),
            detail: format!(
                "`{sign}` have no meaning in {place}: {shown} is compared as it is; there are no regular expressions and no variables, and in globs only `*` and `**` have a meaning"
            ),
        });
    }
    warnings
}

/// A sign of a regular expression or of another language of patterns. Names of robots such as
/// `dependabot[bot]` and uuids in braces are none.
fn foreign_sign(text: &str) -> Option<&'static str> {
    let without_robots = text.replace("[bot]", "");
    let between = |open: char, close: char, mark: &[char]| {
        without_robots
            .split_once(open)
            .and_then(|(_, rest)| rest.split_once(close))
            .is_some_and(|(inside, _)| mark.is_empty() || inside.contains(mark))
    };
    let signs = [
        ("${", without_robots.contains("${")),
        ("quotation marks", is_quoted(text)),
        ("?", without_robots.contains('?')),
        ("[…]", between('[', ']', &[])),
        ("{…}", between('{', '}', &[','])),
        ("(…)", between('(', ')', &['|', '?'])),
        ("|", without_robots.contains('|')),
        (".*", without_robots.contains(".*")),
        (".+", without_robots.contains(".+")),
        ("\\", without_robots.contains('\\')),
        ("^", without_robots.starts_with('^')),
        ("$", without_robots.ends_with('$')),
    ];
    signs
        .into_iter()
        .find(|(_, is_there)| *is_there)
        .map(|(sign, _)| sign)
}

/// Whether a text is written with the quotation marks of a file of code around it.
fn is_quoted(text: &str) -> bool {
    let marks = [
        ('"', '"'),
        ('\'', '\''),
        ('`', '`'),
        ('\u{201c}', '\u{201d}'),
        ('\u{2018}', '\u{2019}'),
    ];
    marks.into_iter().any(|(opens, closes)| {
        text.strip_prefix(opens)
            .is_some_and(|rest| rest.ends_with(closes))
    })
}

/// The warning for events that the trusted issuer bans.
fn banned_events(
    profile: &Profile,
    terms: &Terms,
    matcher: &Map<String, Value>,
) -> Option<Warning> {
    let event = profile.event.as_ref()?;
    let banned: Vec<&str> = comparing(profile, event, matcher)
        .into_iter()
        .flat_map(|(_, value)| texts(Some(value)))
        .filter(|event| profile.is_banned(terms, event))
        .collect();
    (!banned.is_empty()).then(|| Warning {
        code: "banned_event".to_owned(),
        detail: format!(
            "{} never matches: the trusted issuer bans it, and no rule overrules that",
            banned.join(", ")
        ),
    })
}

/// The warning for a rule that asks for runs of proposed changes.
fn asked_events(profile: &Profile, terms: &Terms, matcher: &Map<String, Value>) -> Option<Warning> {
    let field = profile.event_field()?;
    let asked: Vec<&str> = texts(matcher.get(&field.name))
        .filter(|event| profile.asked.is_event(event) && !profile.is_banned(terms, event))
        .collect();
    (!asked.is_empty()).then(|| Warning {
        code: "pull_requests".to_owned(),
        detail: format!(
            "{} runs what somebody proposes, before anybody has accepted it: leave it out of {} unless every such run may publish",
            asked.join(", "),
            field.name
        ),
    })
}

/// The warning for events in capital letters, which no platform writes. Those that are banned have a
/// warning of their own.
fn event_case(profile: &Profile, terms: &Terms, matcher: &Map<String, Value>) -> Option<Warning> {
    let field = profile.event_field()?;
    let is_capital = |event: &&str| {
        event.contains(|character: char| character.is_ascii_uppercase())
            && !profile.is_banned(terms, event)
    };
    let capital: Vec<&str> = texts(matcher.get(&field.name)).filter(is_capital).collect();
    (!capital.is_empty()).then(|| Warning {
        code: "event_case".to_owned(),
        detail: format!(
            "{} never matches: letter case counts, and platforms write events in small letters",
            capital.join(", ")
        ),
    })
}

/// The warnings for names in `claims` that a field compares as well: only the field's are pinned.
fn unpinned_names(profile: &Profile, matcher: &Map<String, Value>) -> Vec<Warning> {
    let Some(Value::Object(claims)) = matcher.get("claims") else {
        return Vec::new();
    };
    let names = profile.fields.iter().filter(|field| {
        field.role == Role::Name && !field.ids.is_empty() && profile.pins != PinMode::Never
    });
    let given = names.filter_map(|field| match &field.check {
        Check::Equals(equals) if claims.contains_key(&equals.claim.path) => {
            Some((field, &equals.claim.path))
        }
        _ => None,
    });
    given
        .filter(|(field, _)| !matcher.contains_key(&field.name))
        .map(|(field, path)| Warning {
            code: "unpinned_name".to_owned(),
            detail: format!(
                "no id is pinned for the name in claims.{path}, which somebody else can have later: write it as {}",
                field.name
            ),
        })
        .collect()
}

/// The warnings for a single star at the end of a pattern of a field whose parts end at another
/// mark than a slash.
fn stars_that_stop(profile: &Profile, matcher: &Map<String, Value>) -> Vec<Warning> {
    let fields = profile
        .fields
        .iter()
        .filter_map(|field| match &field.check {
            Check::Equals(equals) => Some((field, equals.parts_end_at.as_deref()?)),
            _ => None,
        });
    let pattern = |name: &str| matcher.get(name)?.get("glob")?.as_str();
    fields
        .filter_map(|(field, mark)| {
            let pattern = pattern(&field.name)?;
            let last = pattern.rsplit(mark).next()?;
            let stops = last.ends_with('*')
                && !last.ends_with("**")
                && last.matches('/').count() < 2;
            stops.then(|| Warning {
                code: "star_stops_at_slash".to_owned(),
                detail: format!(
                    "`*` stops at a slash, so {} matches {pattern} only where no slash follows, and no branch and no tag; `**` goes on",
                    field.name
                ),
            })
        })
        .collect()
}

/// The warning for ids that are not given: who comes first gets the rule.
fn open_ids(profile: &Profile, matcher: &Map<String, Value>) -> Option<Warning> {
    let missing = missing_ids(profile, matcher);
    let (code, why) = match profile.pins {
        _ if missing.is_empty() => return None,
        PinMode::WhenSent => (
            "no_immutable_id",
            "names can be taken over by others: give the ids as well, where the platform sends them",
        ),
        // One id of theirs is enough to keep strangers out.
        PinMode::Required if profile.warn_open_pins && !gives_an_id(profile, matcher) => (
            "open_pins",
            "the first run with these names gets the rule, and afterwards nobody else, not even the owner: give the ids as well",
        ),
        _ => return None,
    };
    Some(Warning {
        code: code.to_owned(),
        detail: format!("{why} ({})", missing.join(", ")),
    })
}

/// Whether the rule gives an id of an object that it names.
fn gives_an_id(profile: &Profile, matcher: &Map<String, Value>) -> bool {
    let named = profile
        .fields
        .iter()
        .filter(|field| matcher.contains_key(&field.name));
    named
        .flat_map(|field| &field.ids)
        .filter_map(|at| profile.fields.get(*at))
        .any(|id| matcher.contains_key(&id.name))
}
