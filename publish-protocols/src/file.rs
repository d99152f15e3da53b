//! Files inside a body: where they are, and how they are read again.

use std::io::{self, BufReader, Read, Seek, SeekFrom};

use base64::{engine::general_purpose::STANDARD, read::DecoderReader};
use sha2::Digest as _;

use crate::Unreadable;

/// A file that the body of a request carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// The file's name as the protocol gives it or as its clients derive it from name and version.
    pub name: String,
    /// The SHA-256 of the content, in lower-case hexadecimal.
    pub sha256: String,
    /// The length of the content in bytes.
    pub length: u64,
    /// Where the file begins in the body, in bytes.
    pub offset: u64,
    /// How many bytes of the body it takes up: more than `length` if it is encoded.
    pub encoded_length: u64,
    /// How the content is written in the body.
    pub encoding: Encoding,
}

/// How a file's content is written in a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// As it is.
    Raw,
    /// In base64 (RFC 4648, section 4), as in npm's `_attachments`.
    Base64,
}

impl File {
    /// A file that is in the body as it is.
    pub(crate) fn raw(name: String, digests: Digests, offset: u64) -> Self {
        Self {
            name,
            sha256: digests.sha256,
            length: digests.length,
            offset,
            encoded_length: digests.length,
            encoding: Encoding::Raw,
        }
    }

    /// Reads the file's content out of the body that it was found in.
    ///
    /// # Errors
    /// The reader fails as `body` fails, and where `body` is not the one that was read before.
    pub fn open<'a, B: Read + Seek>(&self, body: &'a mut B) -> io::Result<Content<'a, B>> {
        open(body, self.offset, self.encoded_length, self.encoding)
    }
}

/// The content of a [`File`], decoded.
pub struct Content<'a, B: Read + Seek>(Kind<'a, B>);

enum Kind<'a, B: Read + Seek> {
    Raw(Section<'a, B>),
    Base64(Box<DecoderReader<'static, base64::engine::GeneralPurpose, BufReader<Section<'a, B>>>>),
}

impl<B: Read + Seek> Read for Content<'_, B> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.0 {
            Kind::Raw(section) => section.read(buffer),
            Kind::Base64(decoder) => decoder.read(buffer),
        }
    }
}

pub(crate) fn open<B: Read + Seek>(
    body: &mut B,
    offset: u64,
    length: u64,
    encoding: Encoding,
) -> io::Result<Content<'_, B>> {
    let section = Section::new(body, offset, length)?;
    Ok(Content(match encoding {
        Encoding::Raw => Kind::Raw(section),
        Encoding::Base64 => Kind::Base64(Box::new(DecoderReader::new(
            BufReader::with_capacity(1 << 16, section),
            &STANDARD,
        ))),
    }))
}

/// A part of a body as a file of its own.
pub(crate) struct Section<'a, B> {
    body: &'a mut B,
    start: u64,
    length: u64,
    at: u64,
}

impl<'a, B: Read + Seek> Section<'a, B> {
    pub(crate) fn new(body: &'a mut B, start: u64, length: u64) -> io::Result<Self> {
        body.seek(SeekFrom::Start(start))?;
        Ok(Self {
            body,
            start,
            length,
            at: 0,
        })
    }

    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// Goes to a place counted from the section's start.
    pub(crate) fn go_to(&mut self, at: u64) -> io::Result<()> {
        let at = at.min(self.length);
        self.body
            .seek(SeekFrom::Start(self.start.saturating_add(at)))?;
        self.at = at;
        Ok(())
    }
}

impl<B: Read> Read for Section<'_, B> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.length.saturating_sub(self.at);
        let most = usize::try_from(left)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let Some(buffer) = buffer.get_mut(..most) else {
            return Ok(0);
        };
        let read = self.body.read(buffer)?;
        self.at = self
            .at
            .saturating_add(u64::try_from(read).unwrap_or(u64::MAX));
        Ok(read)
    }
}

/// The digests of a file that protocols state, in lower-case hexadecimal unless said otherwise.
pub(crate) struct Digests {
    pub(crate) length: u64,
    pub(crate) sha256: String,
    /// Computed if asked for, as are the others below.
    pub(crate) other: Vec<Vec<u8>>,
}

/// The hash functions besides SHA-256.
#[derive(Clone, Copy)]
pub(crate) enum Hash {
    Md5,
    Sha1,
    Sha512,
    Blake2b256,
}

enum State {
    Md5(md5::Md5),
    Sha1(sha1::Sha1),
    Sha512(sha2::Sha512),
    Blake2b256(blake2::Blake2b<blake2::digest::consts::U32>),
}

/// Reads a file to its end and computes its digests; `other` in the order asked for.
pub(crate) fn digest(
    reader: &mut impl Read,
    other: &[Hash],
    what: &'static str,
) -> Result<Digests, Unreadable> {
    let mut sha256 = sha2::Sha256::new();
    let mut states: Vec<State> = other
        .iter()
        .map(|hash| match hash {
            Hash::Md5 => State::Md5(md5::Md5::new()),
            Hash::Sha1 => State::Sha1(sha1::Sha1::new()),
            Hash::Sha512 => State::Sha512(sha2::Sha512::new()),
            Hash::Blake2b256 => State::Blake2b256(blake2::Blake2b::new()),
        })
        .collect();
    let mut buffer = vec![0; 1 << 16];
    let mut length: u64 = 0;
    loop {
        let read = match reader.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Unreadable::decoding(what, "an encoded file", error)),
        };
        let chunk = buffer.get(..read).unwrap_or_default();
        length = length.saturating_add(u64::try_from(read).unwrap_or(u64::MAX));
        sha256.update(chunk);
        for state in &mut states {
            match state {
                State::Md5(state) => state.update(chunk),
                State::Sha1(state) => state.update(chunk),
                State::Sha512(state) => state.update(chunk),
                State::Blake2b256(state) => state.update(chunk),
            }
        }
    }
    let other = states
        .into_iter()
        .map(|state| match state {
            State::Md5(state) => state.finalize().to_vec(),
            State::Sha1(state) => state.finalize().to_vec(),
            State::Sha512(state) => state.finalize().to_vec(),
            State::Blake2b256(state) => state.finalize().to_vec(),
        })
        .collect();
    Ok(Digests {
        length,
        sha256: hex(&sha256.finalize()),
        other,
    })
}

/// Refuses a digest or a length that is not the one computed.
pub(crate) fn same_digest(
    field: &'static str,
    stated: &str,
    computed: &str,
) -> Result<(), Unreadable> {
    if stated == computed {
        return Ok(());
    }
    Err(Unreadable::DigestMismatch {
        field: field.into(),
        expected: computed.into(),
        received: stated.into(),
    })
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a `String` cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
