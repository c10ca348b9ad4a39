//! Free TCP ports on the loopback.

use std::net::TcpListener;
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

/// Below Linux' ephemeral range (from 32768 on), so that no outgoing connection can take a port
/// between this look and the server's own bind, nor while a server is restarted on it.
const FIRST: u32 = 12_000;
const COUNT: u32 = 20_000;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A port on 127.0.0.1 on which nothing listens now, given to nobody else in this process.
pub fn free_port() -> u16 {
    // Runs at the same time start far apart; a prime step spreads neighbouring process ids.
    let start = process::id().wrapping_mul(7_919) % COUNT;
    for _ in 0..COUNT {
        let offset = start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT;
        let port = u16::try_from(FIRST + offset).expect("the range is below 65536");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!(
        "no free port on 127.0.0.1 from {FIRST} to {}",
        FIRST + COUNT
    );
}
