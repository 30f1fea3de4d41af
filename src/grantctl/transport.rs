//! One HTTP exchange over one Unix connection: connect, send, and nothing more. Knows no route and no type.

use std::io;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;

/// How long to wait before knocking again at a socket whose queue is full.
const KNOCK_AGAIN: Duration = Duration::from_millis(10);

/// Connects to the socket at `path`. A full queue of waiting connections is waited for: Linux reports it at once as
/// `EAGAIN` to a non-blocking caller (connect(2)). The caller sets the time limit.
pub async fn connect(path: &Path) -> io::Result<UnixStream> {
    loop {
        match UnixStream::connect(path).await {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => tokio::time::sleep(KNOCK_AGAIN).await,
            done => return done,
        }
    }
}

/// Sends `request` over `io` and gives the head of the response; its body arrives as it is read.
///
/// Head and body leave in one write, so that a server which answers without reading the body has both already.
pub async fn exchange<I>(io: I, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, hyper::Error>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(EarlyAnswer(io))).await?;
    // What goes wrong with the connection reaches the caller through the response or its body.
    tokio::spawn(connection);
    sender.send_request(request).await
}

/// A stream on which a write to a closed peer is no error: a server that refuses a connection answers and closes
/// before it has read anything, and that answer must still be read.
struct EarlyAnswer<I>(I);

impl<I> EarlyAnswer<I> {
    fn forgive(written: Poll<io::Result<usize>>, length: usize) -> Poll<io::Result<usize>> {
        match written {
            Poll::Ready(Err(error))
                if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) =>
            {
                Poll::Ready(Ok(length))
            }
            other => other,
        }
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for EarlyAnswer<I> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for EarlyAnswer<I> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Self::forgive(Pin::new(&mut self.0).poll_write(cx, buf), buf.len())
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let length = bufs.iter().map(|buf| buf.len()).sum();
        Self::forgive(Pin::new(&mut self.0).poll_write_vectored(cx, bufs), length)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use http_body_util::BodyExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// Counts the writes that pass through it.
    struct Counted(UnixStream, Arc<Mutex<Vec<usize>>>);

    impl AsyncRead for Counted {
        fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_read(cx, buf)
        }
    }

    impl AsyncWrite for Counted {
        fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
            let written = Pin::new(&mut self.0).poll_write(cx, buf);
            if let Poll::Ready(Ok(n)) = written {
                self.1.lock().unwrap().push(n);
            }
            written
        }

        fn poll_write_vectored(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            bufs: &[io::IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            let written = Pin::new(&mut self.0).poll_write_vectored(cx, bufs);
            if let Poll::Ready(Ok(n)) = written {
                self.1.lock().unwrap().push(n);
            }
            written
        }

        fn is_write_vectored(&self) -> bool {
            self.0.is_write_vectored()
        }

        fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_flush(cx)
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_shutdown(cx)
        }
    }

    fn post(body: &str) -> Request<Full<Bytes>> {
        Request::post("/v1/leases").header("host", "grantd").body(Full::new(Bytes::from(body.to_owned()))).unwrap()
    }

    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";

    #[tokio::test]
    async fn head_and_body_leave_in_one_write() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let writes = Arc::new(Mutex::new(Vec::new()));
        let server = tokio::spawn(async move {
            let mut seen = vec![0; 65_536];
            let n = theirs.read(&mut seen).await.unwrap();
            theirs.write_all(ANSWER).await.unwrap();
            String::from_utf8(seen[..n].to_vec()).unwrap()
        });
        let body = "x".repeat(9_000);
        exchange(Counted(ours, Arc::clone(&writes)), post(&body)).await.unwrap();
        let seen = server.await.unwrap();
        assert!(seen.starts_with("POST /v1/leases HTTP/1.1\r\n") && seen.ends_with(&body), "{seen}");
        assert_eq!(writes.lock().unwrap().as_slice(), [seen.len()], "head and body in more than one write");
    }

    #[tokio::test]
    async fn the_answer_of_a_server_that_closed_without_reading_is_read() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(ANSWER).await.unwrap();
        drop(theirs);
        let response = exchange(ours, post("{}")).await.unwrap();
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes().as_ref(), b"{}");
    }
}
