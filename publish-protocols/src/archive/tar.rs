//! Tar archives (POSIX.1-2017, pax, and the GNU format), entry by entry.
//!
//! Headers are decoded by the `tar` crate. Its own iterator is not used: it holds long names and pax records in memory whatever
//! their length, and tolerates what is refused here.

use std::io::{self, Read};

use tar::{EntryType, Header};

use super::{Kind, entry_path};
use crate::{Limits, Text, Unreadable, multipart::size};

/// An entry of the archive.
pub(crate) struct Entry<'a> {
    pub(crate) path: &'a str,
    pub(crate) kind: Kind,
}

/// What to do with an entry.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Visit {
    /// Pass over it.
    Skip,
    /// Return its content, which must be within [`Limits::metadata`].
    Keep,
}

/// Whether records before an entry may give it another name.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Records {
    /// Records of pax and GNU, which most readers know.
    Known,
    /// None: RubyGems takes every record for a file of the name in its header.
    Refused,
}

const BLOCK: usize = 512;

/// The longest record of names that precedes an entry.
const LONGEST_RECORD: u64 = 1 << 16;

/// Walks the archive to its very end and returns the files that `visit` keeps.
pub(crate) fn scan(
    reader: &mut impl Read,
    records: Records,
    limits: &Limits,
    visit: &mut dyn FnMut(&Entry<'_>) -> Result<Visit, Unreadable>,
) -> Result<Vec<(String, Vec<u8>)>, Unreadable> {
    let mut source = Source {
        reader,
        read: 0,
        limit: limits.unpacked,
    };
    let mut kept = Vec::new();
    let mut entries: u64 = 0;
    let mut stated = Stated::default();
    while let Some(block) = source.block()? {
        if block.iter().all(|byte| *byte == 0) {
            return if stated.is_empty() {
                source.rest_is_zero().map(|()| kept)
            } else {
                Err(malformed("an entry after its name"))
            };
        }
        entries = entries.saturating_add(1);
        if entries > limits.entries {
            return Err(Unreadable::too_large(
                "the archive",
                limits.entries,
                "entries",
            ));
        }
        let (header, length) = header(&block)?;
        let entry_type = header.entry_type();
        if records == Records::Refused && entry_type != EntryType::Regular {
            return Err(Unreadable::ambiguous(
                "an entry must be a file",
                Text::of_bytes(&header.path_bytes()),
            ));
        }
        if is_record(entry_type) {
            let content = source.content(length, LONGEST_RECORD, "a record in the archive")?;
            record(entry_type, content, &mut stated)?;
            continue;
        }
        let raw = std::mem::take(&mut stated).path_of(header, length)?;
        let kind = kind(entry_type, &raw, length)?;
        let path = entry_path(&raw)?;
        match visit(&Entry { path: &path, kind })? {
            Visit::Skip => source.skip(length)?,
            Visit::Keep => {
                let content = source.content(length, limits.metadata, "metadata in the archive")?;
                kept.push((path, content));
            }
        }
    }
    Err(malformed("an end-of-archive block"))
}

/// Whether an entry describes those that follow it.
fn is_record(entry: EntryType) -> bool {
    matches!(
        entry,
        EntryType::XHeader
            | EntryType::XGlobalHeader
            | EntryType::GNULongName
            | EntryType::GNULongLink
    )
}

/// Takes what a record states of the next entry.
fn record(entry: EntryType, content: Vec<u8>, stated: &mut Stated) -> Result<(), Unreadable> {
    match entry {
        EntryType::XHeader => stated.add(pax_records(&content)?),
        EntryType::GNULongName => stated.add(Stated {
            path: Some(gnu_name(content)?),
            size: None,
        }),
        EntryType::XGlobalHeader if !pax_records(&content)?.is_empty() => {
            Err(Unreadable::ambiguous(
                "a global record names a path or a size",
                Text::of_bytes(&content),
            ))
        }
        // Records for all entries that state neither, and the target of a link, which nothing
        // follows.
        _ => Ok(()),
    }
}

fn malformed(expected: &'static str) -> Unreadable {
    Unreadable::malformed(
        "the archive",
        format!("a tar archive with {expected}"),
        "another",
    )
}

/// Decodes a header and the length of what follows it.
fn header(block: &[u8; BLOCK]) -> Result<(&Header, u64), Unreadable> {
    let header = Header::from_byte_slice(block);
    let sum: u32 = block
        .iter()
        .enumerate()
        .map(|(at, byte)| {
            if (148..156).contains(&at) {
                u32::from(b' ')
            } else {
                u32::from(*byte)
            }
        })
        .fold(0, u32::saturating_add);
    if header.cksum().ok() != Some(sum) {
        return Err(malformed("right checksums"));
    }
    if header.as_ustar().is_none() && header.as_gnu().is_none() {
        return Err(malformed("headers of POSIX or GNU"));
    }
    let length = header
        .entry_size()
        .map_err(|_| malformed("sizes in octal digits"))?;
    Ok((header, length))
}

fn kind(entry: EntryType, path: &[u8], length: u64) -> Result<Kind, Unreadable> {
    let kind = match entry {
        EntryType::Regular => Kind::File,
        EntryType::Directory => Kind::Directory,
        EntryType::Link | EntryType::Symlink => Kind::Link,
        _ => {
            return Err(Unreadable::ambiguous(
                "an entry must be a file, a directory or a link",
                Text::of_bytes(path),
            ));
        }
    };
    if kind != Kind::File && length != 0 {
        return Err(Unreadable::ambiguous(
            "an entry that is no file has content",
            Text::of_bytes(path),
        ));
    }
    // The oldest format wrote directories in this way.
    if kind != Kind::Directory && path.ends_with(b"/") {
        return Err(Unreadable::ambiguous(
            "a file has the path of a directory",
            Text::of_bytes(path),
        ));
    }
    Ok(kind)
}

/// What records before an entry say of it.
#[derive(Default)]
struct Stated {
    path: Option<Vec<u8>>,
    size: Option<u64>,
}

impl Stated {
    fn is_empty(&self) -> bool {
        self.path.is_none() && self.size.is_none()
    }

    /// Joins the records before one entry. Two names or sizes for it are one too many.
    fn add(&mut self, record: Self) -> Result<(), Unreadable> {
        if let Some(path) = record.path
            && let Some(other) = self.path.replace(path)
        {
            return Err(Unreadable::ambiguous(
                "an entry has two names",
                Text::of_bytes(&other),
            ));
        }
        if let Some(size) = record.size
            && self.size.replace(size).is_some()
        {
            return Err(Unreadable::duplicate("size of an archive's entry"));
        }
        Ok(())
    }

    /// The path of the entry with this header. A record of its size, which uv writes, has to repeat
    /// the header's: readers differ in which of them they follow.
    fn path_of(self, header: &Header, length: u64) -> Result<Vec<u8>, Unreadable> {
        let path = self
            .path
            .unwrap_or_else(|| header.path_bytes().into_owned());
        match self.size {
            Some(size) if size != length => Err(Unreadable::ambiguous(
                "a pax record gives an entry another size",
                Text::of_bytes(&path),
            )),
            _ => Ok(path),
        }
    }
}

/// Path and size in pax records, each `length key=value` and a line feed.
fn pax_records(mut records: &[u8]) -> Result<Stated, Unreadable> {
    let odd = || malformed("pax records of the right length");
    let mut stated = Stated::default();
    while !records.is_empty() {
        let digits = records
            .iter()
            .position(|byte| *byte == b' ')
            .ok_or_else(odd)?;
        let length = decimal(records.get(..digits).unwrap_or_default())
            .and_then(|length| usize::try_from(length).ok())
            .ok_or_else(odd)?;
        let (record, rest) = records.split_at_checked(length).ok_or_else(odd)?;
        records = rest;
        let record = record
            .get(digits.saturating_add(1)..)
            .and_then(|r| r.strip_suffix(b"\n"))
            .ok_or_else(odd)?;
        let equals = record
            .iter()
            .position(|byte| *byte == b'=')
            .ok_or_else(odd)?;
        let (key, value) = record.split_at_checked(equals).ok_or_else(odd)?;
        let value = value.get(1..).unwrap_or_default();
        if key == b"path" {
            if stated.path.replace(value.to_vec()).is_some() {
                return Err(Unreadable::duplicate("path of an archive's entry"));
            }
        } else if key == b"size" {
            let size = decimal(value).ok_or_else(|| malformed("sizes in decimal digits"))?;
            if stated.size.replace(size).is_some() {
                return Err(Unreadable::duplicate("size of an archive's entry"));
            }
        } else if matches!(key, b"hdrcharset" | b"SCHILY.realsize")
            || key.starts_with(b"GNU.sparse")
        {
            return Err(Unreadable::ambiguous(
                "a pax record changes how an entry is read",
                Text::of_bytes(key),
            ));
        }
    }
    Ok(stated)
}

/// A number in decimal digits alone.
fn decimal(digits: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(digits).ok()?;
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())?
}

/// A long name of the GNU format: it ends with a zero byte.
fn gnu_name(mut record: Vec<u8>) -> Result<Vec<u8>, Unreadable> {
    if record.pop() == Some(0) && !record.contains(&0) {
        Ok(record)
    } else {
        Err(Unreadable::ambiguous(
            "a long name must end with its only zero byte",
            Text::of_bytes(&record),
        ))
    }
}

/// The archive's bytes, counted.
struct Source<'a, R> {
    reader: &'a mut R,
    read: u64,
    limit: u64,
}

impl<R: Read> Source<'_, R> {
    /// Counts bytes before they are read.
    fn count(&mut self, more: u64) -> Result<(), Unreadable> {
        self.read = self.read.saturating_add(more);
        if self.read > self.limit {
            return Err(Unreadable::too_large(
                "the unpacked archive",
                self.limit,
                "bytes",
            ));
        }
        Ok(())
    }

    /// The next block; `None` at the end.
    fn block(&mut self) -> Result<Option<[u8; BLOCK]>, Unreadable> {
        self.count(size(BLOCK))?;
        let mut block = [0; BLOCK];
        let mut filled: usize = 0;
        while let Some(free) = block.get_mut(filled..).filter(|free| !free.is_empty()) {
            match self.reader.read(free) {
                Ok(0) => break,
                Ok(read) => filled = filled.saturating_add(read),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(decoding(error)),
            }
        }
        match filled {
            0 => Ok(None),
            BLOCK => Ok(Some(block)),
            _ => Err(malformed("whole blocks")),
        }
    }

    /// The content of an entry, and the padding behind it.
    fn content(
        &mut self,
        length: u64,
        longest: u64,
        what: &'static str,
    ) -> Result<Vec<u8>, Unreadable> {
        if length > longest {
            return Err(Unreadable::too_large(what, longest, "bytes"));
        }
        self.count(length)?;
        let mut content = Vec::new();
        self.reader
            .by_ref()
            .take(length)
            .read_to_end(&mut content)
            .map_err(decoding)?;
        if size(content.len()) != length {
            return Err(malformed("whole entries"));
        }
        self.skip_exactly(padding(length))?;
        Ok(content)
    }

    fn skip(&mut self, length: u64) -> Result<(), Unreadable> {
        self.skip_exactly(length)?;
        self.skip_exactly(padding(length))
    }

    fn skip_exactly(&mut self, length: u64) -> Result<(), Unreadable> {
        self.count(length)?;
        let skipped =
            io::copy(&mut self.reader.by_ref().take(length), &mut io::sink()).map_err(decoding)?;
        if skipped == length {
            Ok(())
        } else {
            Err(malformed("whole entries"))
        }
    }

    /// Behind the end of an archive, some readers go on and some stop.
    fn rest_is_zero(&mut self) -> Result<(), Unreadable> {
        while let Some(block) = self.block()? {
            if block.iter().any(|byte| *byte != 0) {
                return Err(Unreadable::ambiguous(
                    "data follow the end of the archive",
                    Text::of_bytes(block.get(..8).unwrap_or_default()),
                ));
            }
        }
        Ok(())
    }
}

/// The bytes between an entry's end and the next block.
fn padding(length: u64) -> u64 {
    length.next_multiple_of(size(BLOCK)).saturating_sub(length)
}

fn decoding(error: io::Error) -> Unreadable {
    Unreadable::decoding(
        "the archive",
        "a tar archive of which every byte is there",
        error,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads an archive with a file of three bytes, after these pax records.
    fn with_records(records: &[(&str, &[u8])]) -> Result<Vec<(String, Vec<u8>)>, Unreadable> {
        let mut builder = tar::Builder::new(Vec::new());
        builder
            .append_pax_extensions(records.iter().copied())
            .unwrap();
        let mut header = Header::new_ustar();
        header.set_path("short").unwrap();
        header.set_size(3);
        header.set_cksum();
        builder.append(&header, &b"abc"[..]).unwrap();
        let archive = builder.into_inner().unwrap();
        scan(
            &mut archive.as_slice(),
            Records::Known,
            &Limits::default(),
            &mut |_| Ok(Visit::Keep),
        )
    }

    #[test]
    fn a_record_of_the_size_has_to_repeat_the_header() {
        let read = with_records(&[("path", b"long"), ("size", b"3")]).unwrap();
        assert_eq!(read, [("long".to_owned(), b"abc".to_vec())]);
        assert!(with_records(&[("size", b"3")]).is_ok());
        let refused: [&[(&str, &[u8])]; 4] = [
            &[("size", b"4")],
            &[("size", b"+3")],
            &[("size", b"3"), ("size", b"3")],
            &[("size", b"3"), ("hdrcharset", b"BINARY")],
        ];
        for records in refused {
            assert!(with_records(records).is_err(), "{records:?}");
        }
    }
}
