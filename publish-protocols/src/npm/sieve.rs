//! Takes the base64 of tarballs out of a packument, so that the rest fits into memory.
//!
//! `data` of a member of `_attachments` with a name that ends in `.tgz` is left out of the text and its place in the body noted.
//! Nothing is interpreted here beyond strings and nesting: the text that remains is parsed as JSON afterwards. A member that is
//! spelled with escapes passes the sieve and is then too long, or fails as an attachment without a place.

use std::io::{self, Read, Seek, SeekFrom};

use memchr::memchr2;

use crate::{Limits, Unreadable, multipart::size};

pub(super) struct Sieved {
    /// The packument with empty texts for tarballs.
    pub(super) text: Vec<u8>,
    /// Where the tarballs' base64 is in the body: offset and length.
    pub(super) tarballs: Vec<(u64, u64)>,
}

/// The deepest nesting; `serde_json` stops at the same.
const DEEPEST: usize = 128;

/// The longest name of an attachment that is told apart.
const LONGEST_KEY: usize = 512;

pub(super) fn sieve(body: &mut (impl Read + Seek), limits: &Limits) -> Result<Sieved, Unreadable> {
    body.seek(SeekFrom::Start(0))?;
    let mut state = State {
        sieved: Sieved {
            text: Vec::new(),
            tarballs: Vec::new(),
        },
        stack: Vec::new(),
        within: Within::Structure,
        expects_key: false,
        at: 0,
    };
    let mut buffer = vec![0; 1 << 16];
    loop {
        let read = match body.read(&mut buffer) {
            Ok(0) => return Ok(state.sieved),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error.into()),
        };
        let mut chunk = buffer.get(..read).unwrap_or_default();
        while let Some(rest) = state.step(chunk)? {
            chunk = rest;
        }
        if size(state.sieved.text.len()) > limits.packument {
            return Err(Unreadable::too_large(
                "the packument",
                limits.packument,
                "bytes",
            ));
        }
    }
}

enum Within {
    Structure,
    /// A string: whether it is a key, and whether the next byte is escaped.
    String {
        is_key: bool,
        escaped: bool,
    },
    /// The base64 of a tarball.
    Tarball,
}

struct Frame {
    is_object: bool,
    /// The key that was read last, without quotes, as it is spelled.
    key: Vec<u8>,
}

struct State {
    sieved: Sieved,
    stack: Vec<Frame>,
    within: Within,
    expects_key: bool,
    /// The place in the body of the next byte.
    at: u64,
}

impl State {
    /// Takes some bytes of a chunk; `None` if there are none.
    fn step<'a>(&mut self, chunk: &'a [u8]) -> Result<Option<&'a [u8]>, Unreadable> {
        let Some((first, rest)) = chunk.split_first() else {
            return Ok(None);
        };
        let taken = match &mut self.within {
            Within::Structure => {
                self.sieved.text.push(*first);
                self.structure(*first)?;
                1
            }
            Within::Tarball => {
                let end = memchr2(b'"', b'\\', chunk);
                let taken = end.unwrap_or(chunk.len());
                if let Some((_, length)) = self.sieved.tarballs.last_mut() {
                    *length = length.saturating_add(size(taken));
                }
                match end.and_then(|end| chunk.get(end)) {
                    Some(b'"') => {
                        self.sieved.text.push(b'"');
                        self.within = Within::Structure;
                        taken.saturating_add(1)
                    }
                    Some(_) => {
                        return Err(Unreadable::malformed(
                            "data of an attachment",
                            "base64 without escapes",
                            "a backslash",
                        ));
                    }
                    None => taken,
                }
            }
            Within::String { is_key, escaped } => {
                self.sieved.text.push(*first);
                let ends = !*escaped && *first == b'"';
                *escaped = !*escaped && *first == b'\\';
                if ends {
                    self.within = Within::Structure;
                } else if *is_key
                    && let Some(frame) = self.stack.last_mut()
                    && frame.key.len() <= LONGEST_KEY
                {
                    frame.key.push(*first);
                }
                1
            }
        };
        self.at = self.at.saturating_add(size(taken));
        Ok(Some(if taken == 1 {
            rest
        } else {
            chunk.get(taken..).unwrap_or_default()
        }))
    }

    fn structure(&mut self, byte: u8) -> Result<(), Unreadable> {
        match byte {
            b'"' if self.begins_tarball() => {
                if self.sieved.tarballs.len() > 1 {
                    return Err(several());
                }
                self.sieved.tarballs.push((self.at.saturating_add(1), 0));
                self.within = Within::Tarball;
            }
            b'"' => {
                let is_key = self.expects_key;
                if let Some(frame) = self.stack.last_mut().filter(|_| is_key) {
                    frame.key.clear();
                }
                self.within = Within::String {
                    is_key,
                    escaped: false,
                };
            }
            b'{' | b'[' => {
                if self.stack.len() >= DEEPEST {
                    return Err(Unreadable::too_large(
                        "the nesting of the packument",
                        size(DEEPEST),
                        "levels",
                    ));
                }
                self.stack.push(Frame {
                    is_object: byte == b'{',
                    key: Vec::new(),
                });
                self.expects_key = byte == b'{';
            }
            b'}' | b']' => {
                self.stack.pop();
                self.expects_key = false;
            }
            b',' => self.expects_key = self.stack.last().is_some_and(|frame| frame.is_object),
            b':' => self.expects_key = false,
            _ => {}
        }
        Ok(())
    }

    fn begins_tarball(&self) -> bool {
        match self.stack.as_slice() {
            [top, attachments, attachment] => {
                !self.expects_key
                    && [top, attachments, attachment]
                        .iter()
                        .all(|frame| frame.is_object)
                    && top.key == b"_attachments"
                    && attachments.key.ends_with(b".tgz")
                    && attachment.key == b"data"
            }
            _ => false,
        }
    }
}

pub(super) fn several() -> Unreadable {
    Unreadable::malformed(
        "_attachments of the packument",
        "one tarball and at most one provenance",
        "several attachments",
    )
}
