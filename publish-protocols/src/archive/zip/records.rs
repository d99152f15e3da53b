//! The records of a zip archive (APPNOTE 6.3, section 4.3).

use std::{
    collections::HashSet,
    io::{Read, Seek},
};

use super::bytes_at;
use crate::{
    Unreadable,
    archive::{entry_path, fold},
    file::Section,
};

/// An entry of the central directory.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) path: String,
    pub(crate) is_directory: bool,
    /// The content's length, inflated.
    pub(super) length: u64,
    pub(super) raw_name: Vec<u8>,
    pub(super) flags: u16,
    pub(super) method: u16,
    pub(super) crc: u32,
    pub(super) packed: u64,
    pub(super) header: u64,
    /// Where the content begins.
    pub(super) data: u64,
    pub(super) is_symlink: bool,
}

const END_LENGTH: u64 = 22;
const ENCRYPTED: u16 = 1;
pub(super) const DESCRIPTOR: u16 = 1 << 3;
const UTF8: u16 = 1 << 11;
/// The bits a writer may set: the level of compression, a data descriptor, names in UTF-8.
const KNOWN_FLAGS: u16 = 0b110 | DESCRIPTOR | UTF8;

pub(super) fn malformed(expected: &'static str) -> Unreadable {
    Unreadable::malformed(
        "the archive",
        format!("a zip archive with {expected}"),
        "another",
    )
}

/// The end record: the last 22 bytes, without a comment.
pub(super) struct End {
    pub(super) entries: u16,
    pub(super) start: u64,
    pub(super) length: u64,
}

impl End {
    pub(super) fn read(file: &mut Section<'_, impl Read + Seek>) -> Result<Self, Unreadable> {
        let odd = || malformed("its end record in the last 22 bytes, without a comment");
        let at = file.length().checked_sub(END_LENGTH).ok_or_else(odd)?;
        let bytes = bytes_at(file, at, END_LENGTH)?;
        let mut fields = Fields(&bytes);
        if fields.u32()? != 0x0605_4b50 {
            return Err(odd());
        }
        let (disk, directory_disk) = (fields.u16()?, fields.u16()?);
        let (here, entries) = (fields.u16()?, fields.u16()?);
        let (length, start) = (u64::from(fields.u32()?), u64::from(fields.u32()?));
        if disk != 0 || directory_disk != 0 || here != entries || fields.u16()? != 0 {
            return Err(odd());
        }
        if entries == u16::MAX || start.checked_add(length) != Some(at) {
            return Err(malformed(
                "its directory right before the end record, without zip64",
            ));
        }
        Ok(Self {
            entries,
            start,
            length,
        })
    }
}

/// The entries of the directory, in the order of the file.
pub(super) fn directory_entries(
    mut directory: &[u8],
    count: u16,
) -> Result<Vec<Entry>, Unreadable> {
    let mut entries = Vec::new();
    let mut names = HashSet::new();
    for _ in 0..count {
        let (entry, rest) = directory_entry(directory)?;
        directory = rest;
        if !names.insert(fold(&entry.path)) {
            return Err(Unreadable::duplicate(format!("entry {}", entry.path)));
        }
        entries.push(entry);
    }
    if !directory.is_empty() {
        return Err(malformed("as many entries as its end record says"));
    }
    entries.sort_by_key(|entry: &Entry| entry.header);
    Ok(entries)
}

fn directory_entry(directory: &[u8]) -> Result<(Entry, &[u8]), Unreadable> {
    let mut fields = Fields(directory);
    if fields.u32()? != 0x0201_4b50 {
        return Err(malformed("entries in its directory"));
    }
    let _versions = fields.u32()?;
    let (flags, method) = (fields.u16()?, fields.u16()?);
    let _time = fields.u32()?;
    let (crc, packed, length) = (fields.u32()?, fields.u32()?, fields.u32()?);
    let (name, extra, comment) = (fields.u16()?, fields.u16()?, fields.u16()?);
    let disk = fields.u16()?;
    let _internal = fields.u16()?;
    let external = fields.u32()?;
    let header = fields.u32()?;
    let raw_name = fields.bytes(name)?.to_vec();
    let path = entry_path(&raw_name)?;
    extra_fields(fields.bytes(extra)?, &path)?;
    fields.bytes(comment)?;
    if [packed, length, header].contains(&u32::MAX) || disk != 0 {
        return Err(Unreadable::ambiguous(
            "zip64 and several disks are not supported",
            &path,
        ));
    }
    if flags & ENCRYPTED != 0 || flags & !KNOWN_FLAGS != 0 || !matches!(method, 0 | 8) {
        return Err(Unreadable::ambiguous(
            "an entry must be stored or deflated, without encryption",
            &path,
        ));
    }
    if method == 0 && (packed != length || flags & DESCRIPTOR != 0 && packed != 0) {
        return Err(Unreadable::ambiguous(
            "a stored entry must have one size that is known before it",
            &path,
        ));
    }
    let is_directory = raw_name.ends_with(b"/");
    if is_directory && length != 0 {
        return Err(Unreadable::ambiguous("a directory has content", &path));
    }
    let entry = Entry {
        path,
        is_directory,
        length: u64::from(length),
        raw_name,
        flags,
        method,
        crc,
        packed: u64::from(packed),
        header: u64::from(header),
        data: 0,
        // The upper half is the mode of a Unix file.
        is_symlink: (external >> 16) & 0o170_000 == 0o120_000,
    };
    Ok((entry, fields.0))
}

/// Refuses fields that give an entry another size or another name.
pub(super) fn extra_fields(extra: &[u8], path: &str) -> Result<(), Unreadable> {
    const ZIP64: u16 = 0x0001;
    const UNICODE_PATH: u16 = 0x7075;
    let mut fields = Fields(extra);
    while !fields.0.is_empty() {
        let (kind, length) = (fields.u16()?, fields.u16()?);
        fields.bytes(length)?;
        if matches!(kind, ZIP64 | UNICODE_PATH) {
            return Err(Unreadable::ambiguous(
                "zip64 and second names are not supported",
                path,
            ));
        }
    }
    Ok(())
}

/// Little-endian numbers, one after the other.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn u16(&mut self) -> Result<u16, Unreadable> {
        let (first, rest) = self
            .0
            .split_first_chunk()
            .ok_or_else(|| malformed("whole records"))?;
        self.0 = rest;
        Ok(u16::from_le_bytes(*first))
    }

    pub(super) fn u32(&mut self) -> Result<u32, Unreadable> {
        let (first, rest) = self
            .0
            .split_first_chunk()
            .ok_or_else(|| malformed("whole records"))?;
        self.0 = rest;
        Ok(u32::from_le_bytes(*first))
    }

    pub(super) fn bytes(&mut self, length: u16) -> Result<&'a [u8], Unreadable> {
        let (bytes, rest) = self
            .0
            .split_at_checked(usize::from(length))
            .ok_or_else(|| malformed("whole records"))?;
        self.0 = rest;
        Ok(bytes)
    }
}
