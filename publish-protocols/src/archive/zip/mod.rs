//! Zip archives (APPNOTE 6.3), read by their central directory and accepted only if a reader of the local headers sees the same.
//!
//! The archive must be what packaging tools write: entry follows entry from the first byte on, the central directory follows the
//! last, the end record ends the file. Two directories, gaps, overlaps, zip64 and sizes that differ are refused; crates for zip are
//! made to tolerate these, and give no bound on the directory's size, so that this reader does without one.

mod records;

use std::io::{self, BufReader, Read, Seek};

use flate2::{Crc, bufread::DeflateDecoder};

use self::records::{DESCRIPTOR, End, Entry, Fields, directory_entries, extra_fields, malformed};
use crate::{Limits, Unreadable, file::Section, multipart::size};

/// A checked archive.
pub(crate) struct Archive<'a, B> {
    file: Section<'a, B>,
    pub(crate) entries: Vec<Entry>,
}

/// The longest central directory.
const LONGEST_DIRECTORY: u64 = 16 << 20;
impl<'a, B: Read + Seek> Archive<'a, B> {
    /// Reads the directory and compares it with the local headers.
    pub(crate) fn open(mut file: Section<'a, B>, limits: &Limits) -> Result<Self, Unreadable> {
        let end = End::read(&mut file)?;
        if u64::from(end.entries) > limits.entries {
            return Err(Unreadable::too_large(
                "the archive",
                limits.entries,
                "entries",
            ));
        }
        if end.length > LONGEST_DIRECTORY {
            return Err(Unreadable::too_large(
                "the archive's directory",
                LONGEST_DIRECTORY,
                "bytes",
            ));
        }
        let directory = bytes_at(&mut file, end.start, end.length)?;
        let mut entries = directory_entries(&directory, end.entries)?;
        drop(directory);
        let mut next = 0;
        let mut unpacked = Budget {
            left: limits.unpacked,
            limit: limits.unpacked,
        };
        for entry in &mut entries {
            if entry.header != next {
                return Err(Unreadable::ambiguous(
                    "entries must follow each other without gaps",
                    &entry.path,
                ));
            }
            next = local_entry(&mut file, entry, &mut unpacked)?;
        }
        if next != end.start {
            return Err(Unreadable::ambiguous(
                "the directory must follow the last entry",
                format!("offset {next}"),
            ));
        }
        Ok(Self { file, entries })
    }

    /// The content of a file, which must be within the limit of metadata.
    pub(crate) fn content(&mut self, entry: usize, limits: &Limits) -> Result<Vec<u8>, Unreadable> {
        let Some(entry) = self.entries.get(entry) else {
            return Err(malformed("this entry"));
        };
        if entry.is_symlink || entry.is_directory {
            return Err(Unreadable::ambiguous(
                "the metadata must be a file of the usual name",
                &entry.path,
            ));
        }
        if entry.length > limits.metadata {
            return Err(Unreadable::too_large(
                "metadata in the archive",
                limits.metadata,
                "bytes",
            ));
        }
        let mut content = Vec::new();
        inflate(&mut self.file, entry, &mut content)?;
        Ok(content)
    }
}

/// Compares the local header with the directory and returns where the entry ends.
fn local_entry(
    file: &mut Section<'_, impl Read + Seek>,
    entry: &mut Entry,
    unpacked: &mut Budget,
) -> Result<u64, Unreadable> {
    let odd = |entry: &Entry| {
        Unreadable::ambiguous(
            "an entry's own header differs from the directory",
            &entry.path,
        )
    };
    let bytes = bytes_at(file, entry.header, 30)?;
    let mut fields = Fields(&bytes);
    if fields.u32()? != 0x0403_4b50 {
        return Err(odd(entry));
    }
    let _version = fields.u16()?;
    let (flags, method) = (fields.u16()?, fields.u16()?);
    let _time = fields.u32()?;
    let stated = (
        fields.u32()?,
        u64::from(fields.u32()?),
        u64::from(fields.u32()?),
    );
    let (name, extra) = (fields.u16()?, fields.u16()?);
    let names = bytes_at(
        file,
        entry.header.saturating_add(30),
        u64::from(name).saturating_add(u64::from(extra)),
    )?;
    let mut fields = Fields(&names);
    let described = flags & DESCRIPTOR != 0;
    let real = (entry.crc, entry.packed, entry.length);
    let same = stated == real || described && stated == (0, 0, 0);
    if fields.bytes(name)? != entry.raw_name
        || flags != entry.flags
        || method != entry.method
        || !same
    {
        return Err(odd(entry));
    }
    extra_fields(fields.0, &entry.path)?;
    entry.data = entry
        .header
        .saturating_add(30)
        .saturating_add(size(names.len()));
    let end = entry.data.saturating_add(entry.packed);
    if !described {
        return Ok(end);
    }
    // A reader of local headers finds the entry's end by inflating it.
    unpacked.spend(entry.length)?;
    inflate(file, entry, &mut io::sink())?;
    descriptor(file, entry, end)
}

/// Checks the data descriptor behind an entry, with or without its signature, and returns where it ends.
fn descriptor(
    file: &mut Section<'_, impl Read + Seek>,
    entry: &Entry,
    end: u64,
) -> Result<u64, Unreadable> {
    const SIGNATURE: u32 = 0x0807_4b50;
    let bytes = bytes_at(file, end, 16)?;
    let mut fields = Fields(&bytes);
    let first = fields.u32()?;
    let (crc, length) = if first == SIGNATURE {
        (fields.u32()?, 16)
    } else {
        (first, 12)
    };
    let sizes = (u64::from(fields.u32()?), u64::from(fields.u32()?));
    if crc != entry.crc || sizes != (entry.packed, entry.length) {
        return Err(Unreadable::ambiguous(
            "an entry's data descriptor differs from the directory",
            &entry.path,
        ));
    }
    Ok(end.saturating_add(length))
}

/// Writes an entry's content, which must be as long as the directory says and fill its place.
fn inflate(
    file: &mut Section<'_, impl Read + Seek>,
    entry: &Entry,
    into: &mut impl io::Write,
) -> Result<(), Unreadable> {
    file.go_to(entry.data)?;
    let packed = BufReader::with_capacity(1 << 15, file.by_ref().take(entry.packed));
    let mut counted = Counted {
        into,
        crc: Crc::new(),
        length: 0,
    };
    let most = entry.length.saturating_add(1);
    let decoding = |error| {
        Unreadable::decoding(
            "the archive",
            "a zip archive of which every byte is there",
            error,
        )
    };
    let left = if entry.method == 0 {
        let mut packed = packed.take(most);
        io::copy(&mut packed, &mut counted).map_err(decoding)?;
        0
    } else {
        let mut decoder = DeflateDecoder::new(packed).take(most);
        io::copy(&mut decoder, &mut counted).map_err(decoding)?;
        entry.packed.saturating_sub(decoder.into_inner().total_in())
    };
    if left != 0 || counted.length != entry.length || counted.crc.sum() != entry.crc {
        return Err(Unreadable::ambiguous(
            "an entry's content differs from the directory",
            &entry.path,
        ));
    }
    Ok(())
}

struct Counted<'a, W> {
    into: &'a mut W,
    crc: Crc,
    length: u64,
}

impl<W: io::Write> io::Write for Counted<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.into.write(bytes)?;
        let bytes = bytes.get(..written).unwrap_or_default();
        self.crc.update(bytes);
        self.length = self.length.saturating_add(size(written));
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.into.flush()
    }
}

/// What may still be inflated.
struct Budget {
    left: u64,
    limit: u64,
}

impl Budget {
    fn spend(&mut self, bytes: u64) -> Result<(), Unreadable> {
        self.left = self
            .left
            .checked_sub(bytes)
            .ok_or_else(|| Unreadable::too_large("the unpacked archive", self.limit, "bytes"))?;
        Ok(())
    }
}

/// Bytes of the file; the caller has bounded their number.
fn bytes_at(
    file: &mut Section<'_, impl Read + Seek>,
    at: u64,
    length: u64,
) -> Result<Vec<u8>, Unreadable> {
    file.go_to(at)?;
    let mut bytes = Vec::new();
    file.by_ref().take(length).read_to_end(&mut bytes)?;
    if size(bytes.len()) == length {
        Ok(bytes)
    } else {
        Err(malformed("whole records"))
    }
}
