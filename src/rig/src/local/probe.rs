//! Whether a child does its work yet.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The most that is read of an answer: all that is looked for stands near its beginning.
const MAX_ANSWER: u64 = 16 * 1024;

/// What a child must do to be ready.
#[derive(Clone, Copy, Debug)]
pub enum Probe {
    /// Nothing: it listens nowhere.
    Runs,
    /// Accept a connection.
    Accepts(SocketAddr),
    /// Be a replica whose link to its master is up.
    InSync(SocketAddr),
    /// Answer `GET /readyz` with `200`.
    Ready(SocketAddr),
    /// Answer `GET /livez` with `200`.
    Live(SocketAddr),
}

impl Probe {
    /// # Errors
    /// What is still lacking, in words.
    pub(super) async fn look(self) -> Result<(), String> {
        match self {
            Probe::Runs => Ok(()),
            Probe::Accepts(addr) => connect(addr).await.map(drop),
            Probe::InSync(addr) => {
                // Redis takes commands as plain lines too ("inline"), and ends after QUIT.
                let info = exchange(addr, "INFO replication\r\nQUIT\r\n").await?;
                if info.contains("master_link_status:up") {
                    Ok(())
                } else {
                    Err("its link to the master is not up".into())
                }
            }
            Probe::Ready(addr) => is_good(addr, "/readyz").await,
            Probe::Live(addr) => is_good(addr, "/livez").await,
        }
    }
}

async fn is_good(addr: SocketAddr, path: &str) -> Result<(), String> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n");
    let answer = exchange(addr, &request).await?;
    if answer.starts_with("HTTP/1.1 200 ") {
        return Ok(());
    }
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    Err(format!("{path} says {}", body.trim()))
}

async fn connect(addr: SocketAddr) -> Result<TcpStream, String> {
    TcpStream::connect(addr)
        .await
        .map_err(|error| format!("no connection to {addr}: {error}"))
}

async fn exchange(addr: SocketAddr, request: &str) -> Result<String, String> {
    let mut stream = connect(addr).await?;
    let mut answer = Vec::new();
    let outcome: io::Result<()> = async {
        stream.write_all(request.as_bytes()).await?;
        stream.take(MAX_ANSWER).read_to_end(&mut answer).await?;
        Ok(())
    }
    .await;
    outcome.map_err(|error| format!("no answer from {addr}: {error}"))?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
