//! A proxy of HTTPS connections that leads every host to one address of this machine.

use std::net::SocketAddr;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

/// Starts a proxy whose tunnels all lead to `target`; its URL.
pub async fn tunnel_to(target: SocketAddr) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(open(stream, target));
        }
    });
    url
}

/// Reads a `CONNECT` request and passes on what follows it.
async fn open(stream: TcpStream, target: SocketAddr) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    let mut first = true;
    while line != "\r\n" {
        line.clear();
        if stream.read_line(&mut line).await? == 0 || (first && !line.starts_with("CONNECT ")) {
            return Ok(());
        }
        first = false;
    }
    let mut onward = TcpStream::connect(target).await?;
    stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
    copy_bidirectional(&mut stream, &mut onward).await?;
    Ok(())
}
