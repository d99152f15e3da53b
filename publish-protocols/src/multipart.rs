//! Forms of `multipart/form-data` (RFC 7578), read strictly.
//!
//! The boundary may stand in the body only where it separates parts: a reader that takes a bare line feed for a line's end, or a
//! longer line for the boundary, would split another body differently. No client's boundary occurs in its content by chance.

use std::io::{Read, Seek, SeekFrom};

use memchr::memmem::Finder;

use crate::{Limits, Text, Unreadable};

/// A part of a form: where its content is in the body.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) name: String,
    pub(crate) file_name: Option<String>,
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

impl Part {
    /// The content as text, if it is no longer than the limit of metadata.
    pub(crate) fn text(
        &self,
        body: &mut (impl Read + Seek),
        limits: &Limits,
    ) -> Result<String, Unreadable> {
        if self.length > limits.metadata {
            return Err(Unreadable::too_large(
                self.field(),
                limits.metadata,
                "bytes",
            ));
        }
        let bytes = exactly(body, self.offset, self.length)?;
        String::from_utf8(bytes).map_err(|error| {
            Unreadable::malformed(self.field(), "UTF-8", Text::of_bytes(error.as_bytes()))
        })
    }

    /// How the part is called in messages.
    pub(crate) fn field(&self) -> Text {
        Text::from(format!("field {}", self.name))
    }
}

/// The longest header of a part.
const LONGEST_HEADER: u64 = 4096;

/// What may stand before the boundary that ends a form.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum LastLine {
    /// CR and LF, as RFC 2046 demands.
    CrLf,
    /// Also LF alone: what NuGet 2.8 on Mono sends. Only for content of which the end is known otherwise.
    OrLf,
}

/// The parts of a form.
pub(crate) fn parts(
    content_type: Option<&str>,
    body: &mut (impl Read + Seek),
    length: u64,
    last_line: LastLine,
    limits: &Limits,
) -> Result<Vec<Part>, Unreadable> {
    let delimiter = format!("--{}", boundary(content_type)?).into_bytes();
    let places = places(body, &delimiter, limits)?;
    let width = size(delimiter.len());
    let (Some((last, starts)), Some(0)) = (places.split_last(), places.first()) else {
        return Err(broken(
            "beginning with its boundary and ended by it",
            "another beginning",
        ));
    };
    let end = exactly(
        body,
        last.saturating_add(width),
        length.saturating_sub(last.saturating_add(width)).min(5),
    )?;
    if !matches!(end.as_slice(), b"--" | b"--\r\n") {
        return Err(broken("ended by its boundary", Text::of_bytes(&end)));
    }
    let mut parts = Vec::new();
    for (start, next) in starts.iter().zip(places.iter().skip(1)) {
        let lf = last_line == LastLine::OrLf && next == last;
        parts.push(part(body, start.saturating_add(width), *next, lf)?);
    }
    if parts.is_empty() {
        return Err(broken("of at least one part", "no part"));
    }
    Ok(parts)
}

fn broken(expected: &'static str, received: impl Into<Text>) -> Unreadable {
    Unreadable::malformed("the form", expected, received)
}

/// The content type of a form with the boundary of this one.
pub(crate) fn content_type(given: Option<&str>) -> Result<String, Unreadable> {
    let boundary = boundary(given)?;
    Ok(format!("multipart/form-data; boundary={boundary}"))
}

/// The boundary that the content type names.
fn boundary(content_type: Option<&str>) -> Result<&str, Unreadable> {
    let expected = || {
        Unreadable::malformed(
            "Content-Type",
            "multipart/form-data with one boundary",
            content_type.unwrap_or_default(),
        )
    };
    // Nothing but the boundary, in its usual spelling: readers differ in which of several parameters counts, and in what they
    // make of white space and of extended names.
    let (kind, parameter) = content_type
        .unwrap_or_default()
        .split_once(';')
        .ok_or_else(expected)?;
    let (name, found) = parameter.trim().split_once('=').ok_or_else(expected)?;
    if !kind.trim().eq_ignore_ascii_case("multipart/form-data")
        || !name.eq_ignore_ascii_case("boundary")
    {
        return Err(expected());
    }
    let value = found
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
        .unwrap_or(found);
    // RFC 2046 allows more, but some readers end an unquoted parameter at a comma or another separator.
    let fits = (1..=70).contains(&value.len())
        && value
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))
        && value.bytes().any(|b| b.is_ascii_alphanumeric());
    if fits { Ok(value) } else { Err(expected()) }
}

/// Where the delimiter occurs in the body.
fn places(
    body: &mut (impl Read + Seek),
    delimiter: &[u8],
    limits: &Limits,
) -> Result<Vec<u64>, Unreadable> {
    const CHUNK: usize = 1 << 17;
    body.seek(SeekFrom::Start(0))?;
    let finder = Finder::new(delimiter);
    let mut window: Vec<u8> = Vec::with_capacity(CHUNK.saturating_add(delimiter.len()));
    let mut places = Vec::new();
    let mut start: u64 = 0;
    loop {
        let read = body.by_ref().take(size(CHUNK)).read_to_end(&mut window)?;
        if read == 0 {
            return Ok(places);
        }
        // What could be the beginning of a delimiter stays for the next round.
        let mut keep_from = window
            .len()
            .saturating_sub(delimiter.len().saturating_sub(1));
        for at in finder.find_iter(&window) {
            places.push(start.saturating_add(size(at)));
            keep_from = keep_from.max(at.saturating_add(delimiter.len()));
            if places.len() > limits.parts.saturating_add(1) {
                return Err(Unreadable::too_large(
                    "the form",
                    size(limits.parts),
                    "parts",
                ));
            }
        }
        window.drain(..keep_from);
        start = start.saturating_add(size(keep_from));
    }
}

/// The part between the end of one delimiter and the start of the next, before which a line feed alone may stand if `lf`.
fn part(
    body: &mut (impl Read + Seek),
    start: u64,
    next: u64,
    lf: bool,
) -> Result<Part, Unreadable> {
    let space = next.saturating_sub(start);
    let begin = exactly(body, start, space.min(LONGEST_HEADER))?;
    let Some(begin) = begin.strip_prefix(b"\r\n") else {
        return Err(broken(
            "free of its boundary within a part",
            Text::of_bytes(begin.get(..8).unwrap_or(&begin)),
        ));
    };
    let Some(header) = memchr::memmem::find(begin, b"\r\n\r\n") else {
        return Err(broken(
            "of parts with a header of at most 4096 bytes",
            Text::of_bytes(begin),
        ));
    };
    let offset = start.saturating_add(size(header)).saturating_add(6);
    // The line end before the next delimiter belongs to the delimiter.
    let line_end = next.saturating_sub(2).max(offset);
    let end = match exactly(body, line_end, next.saturating_sub(line_end))?.as_slice() {
        b"\r\n" => next.saturating_sub(2),
        [.., b'\n'] if lf => next.saturating_sub(1),
        _ => {
            return Err(broken(
                "free of its boundary within a part",
                "a boundary within a line",
            ));
        }
    };
    let (name, file_name) = header_of(begin.get(..header).unwrap_or_default())?;
    Ok(Part {
        name,
        file_name,
        offset,
        length: end.saturating_sub(offset),
    })
}

/// Whether a reader could neither decode a part by another charset than UTF-8 nor look for parts in it.
fn is_plain_type(value: &str) -> bool {
    let kind = value.trim().to_ascii_lowercase();
    if kind.starts_with("multipart/") || kind.starts_with("message/") {
        return false;
    }
    let mut parameters = value
        .split(';')
        .skip(1)
        .map(|one| one.trim().to_ascii_lowercase());
    parameters.all(|one| {
        !one.starts_with("charset") || matches!(one.as_str(), "charset=utf-8" | "charset=\"utf-8\"")
    })
}

/// The name and the file name of a part's header.
fn header_of(header: &[u8]) -> Result<(String, Option<String>), Unreadable> {
    let odd = || {
        Unreadable::malformed(
            "the header of a part",
            "Content-Disposition: form-data with a name",
            Text::of_bytes(header),
        )
    };
    let header = std::str::from_utf8(header).map_err(|_| odd())?;
    let (mut disposition, mut seen) = (None, Vec::new());
    for line in header.split("\r\n") {
        if line.contains(char::is_control) {
            return Err(odd());
        }
        let (name, value) = line.split_once(':').ok_or_else(odd)?;
        let name = name.to_ascii_lowercase();
        if seen.contains(&name) {
            return Err(Unreadable::duplicate("a header of a part"));
        }
        match name.as_str() {
            "content-disposition" => disposition = Some(value.trim()),
            "content-transfer-encoding" if !value.trim().eq_ignore_ascii_case("binary") => {
                return Err(Unreadable::malformed(
                    "Content-Transfer-Encoding of a part",
                    "binary",
                    value.trim(),
                ));
            }
            "content-type" if !is_plain_type(value) => {
                return Err(Unreadable::malformed(
                    "Content-Type of a part",
                    "that of one file or text, without a charset other than utf-8",
                    value.trim(),
                ));
            }
            "content-transfer-encoding" | "content-type" => {}
            // A reader may strip white space from a name, or unfold lines.
            _ => return Err(odd()),
        }
        seen.push(name);
    }
    let rest = disposition
        .and_then(|value| value.strip_prefix("form-data"))
        .ok_or_else(odd)?;
    let (mut name, mut file_name, mut extended) = (None, None, None);
    for (key, value) in parameters(rest).ok_or_else(odd)? {
        let slot = match key.to_ascii_lowercase().as_str() {
            "name" => &mut name,
            "filename" => &mut file_name,
            "filename*" => &mut extended,
            _ => return Err(odd()),
        };
        if slot.replace(value).is_some() {
            return Err(Unreadable::duplicate("a parameter of Content-Disposition"));
        }
    }
    // .NET sends both forms; they must be the same name.
    if let Some(extended) = extended
        && extended
            .strip_prefix("utf-8''")
            .is_none_or(|text| Some(text) != file_name.as_deref())
    {
        return Err(Unreadable::malformed(
            "filename* of a part",
            "the same as filename",
            extended,
        ));
    }
    Ok((name.ok_or_else(odd)?, file_name))
}

/// The parameters of a header's value, each `; key=value` with a token or a quoted string without escapes.
fn parameters(mut rest: &str) -> Option<Vec<(&str, String)>> {
    let mut found = Vec::new();
    loop {
        rest = rest.trim_start_matches([' ', '\t']);
        if rest.is_empty() {
            return Some(found);
        }
        rest = rest.strip_prefix(';')?.trim_start_matches([' ', '\t']);
        // Some clients end the line with a semicolon.
        if rest.is_empty() {
            return Some(found);
        }
        let (key, value) = rest.split_once('=')?;
        let value_end;
        if let Some(quoted) = value.strip_prefix('"') {
            let (text, after) = quoted.split_once('"')?;
            if text.contains('\\') {
                return None;
            }
            found.push((key, text.to_owned()));
            value_end = after;
        } else {
            let end = value.find([';', ' ', '\t']).unwrap_or(value.len());
            let (text, after) = value.split_at_checked(end)?;
            found.push((key, text.to_owned()));
            value_end = after;
        }
        rest = value_end;
    }
}

/// Exactly these bytes of a body; the caller has bounded their number.
pub(crate) fn exactly(
    body: &mut (impl Read + Seek),
    offset: u64,
    length: u64,
) -> Result<Vec<u8>, Unreadable> {
    body.seek(SeekFrom::Start(offset))?;
    let mut bytes = Vec::new();
    let read = body.by_ref().take(length).read_to_end(&mut bytes)?;
    if size(read) == length {
        Ok(bytes)
    } else {
        Err(Unreadable::malformed(
            "the body",
            format!("of {length} more bytes at {offset}"),
            "its end",
        ))
    }
}

/// A length in memory as a length of a file.
pub(crate) fn size(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}
