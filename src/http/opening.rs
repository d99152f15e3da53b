//! Reads the first request head of a connection before hyper gets the connection.
//!
//! Until that head is complete, a connection holds only the bytes it has sent; the buffers and
//! tasks for requests are set up afterwards. Idle connections therefore stay small
//! (`docs/src/reference/limits.md`).

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes per read. The buffer is on the stack, and only while something is read.
const AT_ONCE: usize = 4096;
/// Bytes of a head that are read here. hyper reads the rest of a longer head, within its own limit.
const MAX_OPENING: usize = 8 * 1024;

/// A connection together with the bytes that were already read from it, which come first when it is
/// read again.
#[derive(Debug)]
pub struct Opened<S> {
    read: Vec<u8>,
    taken: usize,
    stream: S,
}

impl<S> Opened<S> {
    /// A connection from which these bytes were read.
    pub const fn replaying(read: Vec<u8>, stream: S) -> Self {
        Self {
            read,
            taken: 0,
            stream,
        }
    }
}

/// Reads until the head is complete, or the bytes cannot be one. `begun` tells whether any byte has
/// arrived, so that a shutdown can drop idle connections. `None` if the peer closed the connection
/// before it sent anything.
pub async fn open<S: AsyncRead + Unpin>(
    mut stream: S,
    begun: &AtomicBool,
) -> io::Result<Option<Opened<S>>> {
    let (mut read, mut head) = (Vec::new(), Head::default());
    while read.len() < MAX_OPENING {
        let before = read.len();
        poll_fn(|context| read_some(Pin::new(&mut stream), context, &mut read)).await?;
        let new = read.get(before..).unwrap_or_default();
        begun.store(!read.is_empty(), Ordering::Relaxed);
        if new.is_empty() || head.ends_in(new) {
            break;
        }
    }
    Ok((!read.is_empty()).then_some(Opened::replaying(read, stream)))
}

/// Reads what has arrived and appends it; nothing at the end of the stream.
pub(super) fn read_some(
    stream: Pin<&mut impl AsyncRead>,
    context: &mut Context<'_>,
    read: &mut Vec<u8>,
) -> Poll<io::Result<()>> {
    let mut room = [MaybeUninit::uninit(); AT_ONCE];
    let mut some = ReadBuf::uninit(&mut room);
    ready!(stream.poll_read(context, &mut some))?;
    read.reserve_exact(some.filled().len());
    read.extend_from_slice(some.filled());
    Poll::Ready(Ok(()))
}

/// State of the search for the end of a head.
#[derive(Debug, Default)]
struct Head {
    begun: bool,
    line_is_empty: bool,
}

impl Head {
    /// Whether these bytes end the head: with an empty line (RFC 9112 section 2.1), where empty
    /// lines before the head do not count (section 2.2), or with a control character, which no head
    /// contains and a TLS handshake begins with.
    fn ends_in(&mut self, bytes: &[u8]) -> bool {
        bytes.iter().any(|byte| match byte {
            b'\r' => false,
            b'\n' => std::mem::replace(&mut self.line_is_empty, self.begun),
            _ => {
                (self.begun, self.line_is_empty) = (true, false);
                byte.is_ascii_control() && *byte != b'\t'
            }
        })
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Opened<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let rest = this.read.get(this.taken..).unwrap_or_default();
        if rest.is_empty() {
            return Pin::new(&mut this.stream).poll_read(context, into);
        }
        let some = rest.get(..into.remaining()).unwrap_or(rest);
        into.put_slice(some);
        this.taken = this.taken.saturating_add(some.len());
        if this.taken >= this.read.len() {
            (this.read, this.taken) = (Vec::new(), 0);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Opened<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// Sends the bytes one at a time and returns how many `open` read.
    async fn handed_on(bytes: &[u8]) -> usize {
        let (mut sender, receiver) = tokio::io::duplex(1);
        let read = async {
            open(receiver, &AtomicBool::default())
                .await
                .unwrap()
                .map_or(0, |opened| opened.read.len())
        };
        let (_sent, read) =
            tokio::join!(async move { sender.write_all(bytes).await.is_ok() }, read);
        read
    }

    #[tokio::test]
    async fn sec_h1__a_connection_is_handed_on_once_its_first_request_head_is_whole() {
        for (head, rest) in [
            ("GET / HTTP/1.1\r\nhost: a\r\n\r\n", "GET /"),
            ("GET / HTTP/1.1\nhost: a\n\n", "x"),
            ("GET / HTTP/1.1\nhost: a\n\r\n", "x"),
            ("\r\n\r\n\n\nGET / HTTP/1.1\r\n\r\n", "x"),
            ("PRI * HTTP/2.0\r\n\r\n", "SM\r\n\r\n"),
            ("\u{16}", "\u{3}\u{1}"),
            ("GET /\u{7f}", "x"),
        ] {
            assert_eq!(
                handed_on(format!("{head}{rest}").as_bytes()).await,
                head.len(),
                "{head:?}"
            );
        }
        // A head that the stream's end cuts off is handed on as it is, and so is one too long.
        assert_eq!(handed_on(b"GET /").await, 5);
        assert_eq!(handed_on("ä\t".as_bytes()).await, 3);
        assert_eq!(handed_on(b"").await, 0);
        assert_eq!(handed_on("a".repeat(20_000).as_bytes()).await, MAX_OPENING);
    }

    #[tokio::test]
    async fn sec_h1__bytes_read_before_the_hand_over_of_a_connection_are_replayed_first() {
        let (mut sender, receiver) = tokio::io::duplex(64);
        sender.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        let mut opened = open(receiver, &AtomicBool::default())
            .await
            .unwrap()
            .unwrap();
        sender.write_all(b"body").await.unwrap();
        drop(sender);
        let mut some = [0; 5];
        opened.read_exact(&mut some).await.unwrap();
        assert_eq!(&some, b"GET /");
        let mut rest = String::new();
        opened.read_to_string(&mut rest).await.unwrap();
        assert_eq!(rest, " HTTP/1.1\r\n\r\nbody");
    }
}
