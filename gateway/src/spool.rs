//! Bodies of publishing requests, in files without a name below one folder. A file is gone with the
//! last handle of it, also after a crash.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::Instant;

/// How long a client may send nothing.
const PATIENCE: Duration = Duration::from_secs(30);
/// The lowest rate of an upload on average in bytes per second, beyond the first [`PATIENCE`].
const SLOWEST: u64 = 32 * 1024;
/// How much is written, and read again, at a time.
const PIECE: usize = 512 * 1024;
/// How much room is taken at a time. It is taken as bytes come, so that announcing many costs nobody
/// his place.
const MORE: u64 = 1024 * 1024;
/// How many pieces are read ahead of the connection to the registry.
const AHEAD: usize = 4;
/// The unit in which the quota is counted: a semaphore counts less far than bytes go.
const UNIT: u64 = 4096;

/// The folder, and the room in it.
#[derive(Debug)]
pub struct Spool {
    folder: PathBuf,
    /// The longest body.
    most: u64,
    /// All of it, in bytes.
    quota: u64,
    room: Arc<Semaphore>,
}

/// Why a body was not received.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotReceived {
    /// It is longer than the limit, in bytes.
    #[error("the request must not exceed {0} bytes")]
    TooLarge(u64),
    /// All room is taken.
    #[error("the gateway has no room for the request at the moment")]
    NoRoom,
    /// It ended before, or went on after, the length that was announced.
    #[error("the request must be as long as its Content-Length says")]
    Length,
    /// Headers came behind it.
    #[error("the request must come without trailers")]
    Trailers,
    /// The client fell silent, or sent too slowly.
    #[error("the request was sent too slowly")]
    Slow,
    /// The connection of the client ended.
    #[error("the connection ended before the request did")]
    Cut,
    /// The file cannot be written.
    #[error("the request cannot be kept: {0}")]
    Storage(#[from] io::Error),
}

/// A body that was received whole.
#[derive(Debug)]
pub(crate) struct Spooled {
    file: File,
    length: u64,
    _room: OwnedSemaphorePermit,
}

impl Spool {
    /// A spool for bodies of at most `most` bytes each and `quota` bytes in all.
    pub fn new(folder: PathBuf, most: u64, quota: u64) -> Self {
        let units = usize::try_from(quota / UNIT).unwrap_or(usize::MAX);
        Self {
            folder,
            most,
            quota,
            room: Arc::new(Semaphore::new(units.min(Semaphore::MAX_PERMITS))),
        }
    }

    /// The longest body, in bytes.
    pub(crate) fn most(&self) -> u64 {
        self.most
    }

    /// Receives a body, whose length may be announced.
    pub(crate) async fn receive<B>(
        &self,
        body: B,
        announced: Option<u64>,
    ) -> Result<Spooled, NotReceived>
    where
        B: Body<Data = Bytes> + Send + Unpin,
    {
        let most = announced.unwrap_or(self.most);
        if most > self.most {
            return Err(NotReceived::TooLarge(self.most));
        }
        if announced.is_some_and(|length| length > self.quota) {
            return Err(NotReceived::NoRoom);
        }
        let mut room = self.room_for(0)?;
        let folder = self.folder.clone();
        let file = on_disk(move || tempfile::tempfile_in(folder)).await?;
        let filled = self.filled(file, &mut room, body, announced);
        let (file, length) = filled.await?;
        Ok(Spooled {
            file,
            length,
            _room: room,
        })
    }

    /// Writes a body into a file, and returns the file with the number of bytes. While one piece is
    /// written, the next one is received.
    async fn filled<B>(
        &self,
        file: File,
        room: &mut OwnedSemaphorePermit,
        mut body: B,
        announced: Option<u64>,
    ) -> Result<(File, u64), NotReceived>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let mut writing: JoinHandle<io::Result<File>> = spawn_blocking(move || Ok(file));
        let (mut pieces, mut gathered) = (Vec::new(), 0usize);
        let began = Instant::now();
        let (mut received, mut with_room) = (0u64, 0u64);
        while let Some(piece) = piece_of(&mut body).await? {
            received = received.saturating_add(u64::try_from(piece.len()).unwrap_or(u64::MAX));
            if announced.is_some_and(|length| received > length) {
                return Err(NotReceived::Length);
            }
            if received > self.most {
                return Err(NotReceived::TooLarge(self.most));
            }
            let late = began.elapsed().saturating_sub(PATIENCE).as_secs();
            if received < late.saturating_mul(SLOWEST) {
                return Err(NotReceived::Slow);
            }
            if received > with_room {
                let left = announced.map_or(MORE, |length| length.saturating_sub(with_room));
                let more = received.saturating_sub(with_room).max(MORE.min(left));
                room.merge(self.room_for(more)?);
                with_room = with_room.saturating_add(more);
            }
            gathered = gathered.saturating_add(piece.len());
            pieces.push(piece);
            if gathered >= PIECE {
                let file = written(writing).await?;
                writing = write(file, std::mem::take(&mut pieces));
                gathered = 0;
            }
        }
        if announced.is_some_and(|length| received != length) {
            return Err(NotReceived::Length);
        }
        let file = written(writing).await?;
        Ok((written(write(file, pieces)).await?, received))
    }

    fn room_for(&self, length: u64) -> Result<OwnedSemaphorePermit, NotReceived> {
        let units = u32::try_from(length.div_ceil(UNIT)).map_err(|_| NotReceived::NoRoom)?;
        let room = self.room.clone().try_acquire_many_owned(units);
        room.map_err(|_| NotReceived::NoRoom)
    }
}

/// The next piece of a body; `None` at its end.
async fn piece_of<B>(body: &mut B) -> Result<Option<Bytes>, NotReceived>
where
    B: Body<Data = Bytes> + Unpin,
{
    let frame = tokio::time::timeout(PATIENCE, body.frame()).await;
    let Some(frame) = frame.map_err(|_| NotReceived::Slow)? else {
        return Ok(None);
    };
    // Trailers would be headers that nobody looked at.
    let piece = frame.map_err(|_| NotReceived::Cut)?.into_data();
    piece.map(Some).map_err(|_| NotReceived::Trailers)
}

fn write(mut file: File, pieces: Vec<Bytes>) -> JoinHandle<io::Result<File>> {
    spawn_blocking(move || {
        for piece in pieces {
            file.write_all(&piece)?;
        }
        Ok(file)
    })
}

async fn written(writing: JoinHandle<io::Result<File>>) -> io::Result<File> {
    writing.await.map_err(io::Error::other)?
}

async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    spawn_blocking(work).await.map_err(io::Error::other)?
}

impl Spooled {
    /// The number of bytes.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// The file, for reading from wherever it stands.
    pub(crate) fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// The body to be sent, from its first byte, and how many bytes of it were not taken yet.
    pub(crate) fn into_body(self) -> (SpooledBody, Arc<AtomicU64>) {
        let (pieces, received) = mpsc::channel(AHEAD);
        let left = Arc::new(AtomicU64::new(self.length));
        spawn_blocking(move || send(self, &pieces));
        let body = SpooledBody {
            pieces: received,
            left: left.clone(),
        };
        (body, left)
    }
}

/// Reads the file piece by piece until its end, or until nobody takes the pieces any more.
fn send(mut spooled: Spooled, pieces: &mpsc::Sender<io::Result<Bytes>>) {
    let mut left = spooled.length;
    let mut next = spooled.file.seek(SeekFrom::Start(0)).map(drop);
    while left > 0 {
        let size = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
        let mut piece = vec![0; size];
        next = next.and_then(|()| spooled.file.read_exact(&mut piece));
        left = left.saturating_sub(u64::try_from(size).unwrap_or(left));
        let failed = next.is_err();
        let read = std::mem::replace(&mut next, Ok(())).map(|()| piece.into());
        if pieces.blocking_send(read).is_err() || failed {
            return;
        }
    }
}

/// The bytes of a spooled body, as the body of another request.
#[derive(Debug)]
pub(crate) struct SpooledBody {
    pieces: mpsc::Receiver<io::Result<Bytes>>,
    left: Arc<AtomicU64>,
}

impl Body for SpooledBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.pieces.poll_recv(context).map(|piece| match piece? {
            Ok(piece) => {
                let length = u64::try_from(piece.len()).unwrap_or(u64::MAX);
                self.left.fetch_sub(length, Ordering::Relaxed);
                Some(Ok(Frame::data(piece)))
            }
            Err(error) => Some(Err(error)),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.left.load(Ordering::Relaxed) == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left.load(Ordering::Relaxed))
    }
}
