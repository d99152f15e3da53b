//! What the file system says of a file without reading it.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

/// Tells whether a file is still the one that was read. Links are followed, so that a link which is
/// replaced is a change: Kubernetes updates mounted secrets in this way. `None` if there is no file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp(Option<FileState>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileState {
    device: u64,
    inode: u64,
    size: u64,
    /// Seconds and nanoseconds.
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    pub(super) fn of(file: &Path) -> Self {
        Self(std::fs::metadata(file).ok().map(|file| FileState {
            device: file.dev(),
            inode: file.ino(),
            size: file.size(),
            modified: (file.mtime(), file.mtime_nsec()),
            changed: (file.ctime(), file.ctime_nsec()),
        }))
    }
}

/// Whether a file with a key is open to more than its owner and readers of its group. A TLS key may be
/// readable by a group, in which servers get the keys of a machine, and Kubernetes mounts secrets so.
pub(super) fn is_exposed(file: &Path) -> bool {
    std::fs::metadata(file).is_ok_and(|file| file.permissions().mode() & 0o037 != 0)
}
