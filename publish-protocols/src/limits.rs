//! How much of a request is looked at.

/// Upper bounds on what reading one request costs, whatever the body holds.
///
/// Memory stays within a small multiple of `metadata` (of `packument` for an npm packument without attachments), and time within
/// what it takes to read the body three times and to inflate `unpacked` bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The longest body, in bytes.
    pub body: u64,
    /// The longest single piece of metadata that is held in memory, in bytes: a manifest, a form field, an archive's own metadata
    /// after it is inflated.
    pub metadata: u64,
    /// The longest npm packument without attachments, in bytes: clients send back all versions of a package to deprecate one.
    pub packument: u64,
    /// The greatest number of entries of an archive.
    pub entries: u64,
    /// The greatest number of bytes that an archive inflates to.
    pub unpacked: u64,
    /// The greatest number of parts of a form.
    pub parts: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body: 1 << 30,
            metadata: 1 << 20,
            packument: 8 << 20,
            entries: 100_000,
            unpacked: 4 << 30,
            parts: 2048,
        }
    }
}
