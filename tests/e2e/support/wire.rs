//! A wire between a replica and its master that can be cut: bytes stop, connections stay open, as
//! when a switch between them dies.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

#[derive(Default)]
struct State {
    cut: bool,
    over: bool,
    streams: Vec<TcpStream>,
}

/// See the module. Closes what is open when dropped.
pub struct Wire {
    addr: SocketAddr,
    state: Arc<(Mutex<State>, Condvar)>,
}

impl Wire {
    /// A wire to `target`.
    pub fn to(target: SocketAddr) -> Wire {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        let addr = listener.local_addr().expect("it is bound");
        let state: Arc<(Mutex<State>, Condvar)> = Arc::default();
        let shared = state.clone();
        thread::spawn(move || accept(&listener, target, &shared));
        Wire { addr, state }
    }

    /// Its near end.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// From now on nothing passes, in either direction.
    pub fn cut(&self) {
        self.set(|state| state.cut = true);
    }

    /// Everything passes again, what was held back first.
    pub fn mend(&self) {
        self.set(|state| state.cut = false);
    }

    fn set(&self, change: impl FnOnce(&mut State)) {
        let (state, changed) = &*self.state;
        change(&mut state.lock().expect("no thread panics with the lock"));
        changed.notify_all();
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.set(|state| {
            state.over = true;
            for stream in state.streams.drain(..) {
                let _ = stream.shutdown(Shutdown::Both);
            }
        });
        // Wakes the accepting thread.
        let _ = TcpStream::connect(self.addr);
    }
}

/// Waits until bytes may pass; `false` at the end.
fn may_pass(shared: &(Mutex<State>, Condvar)) -> bool {
    let (state, changed) = shared;
    let state = state.lock().expect("no thread panics with the lock");
    let waited = changed.wait_while(state, |state| state.cut && !state.over);
    !waited.expect("no thread panics with the lock").over
}

fn accept(listener: &TcpListener, target: SocketAddr, shared: &Arc<(Mutex<State>, Condvar)>) {
    for near in listener.incoming().map_while(Result::ok) {
        let shared = shared.clone();
        if shared.0.lock().is_ok_and(|state| state.over) {
            return;
        }
        // Ends with its connection.
        thread::spawn(move || {
            if may_pass(&shared)
                && let Ok(far) = TcpStream::connect(target)
            {
                let _ = join(near, far, &shared);
            }
        });
    }
}

fn join(
    near: TcpStream,
    far: TcpStream,
    shared: &Arc<(Mutex<State>, Condvar)>,
) -> std::io::Result<()> {
    let known = [near.try_clone()?, far.try_clone()?];
    if let Ok(mut state) = shared.0.lock() {
        state.streams.extend(known);
    }
    let (from, to, other) = (far.try_clone()?, near.try_clone()?, shared.clone());
    thread::spawn(move || carry(from, to, &other));
    carry(near, far, shared);
    Ok(())
}

fn carry(mut from: TcpStream, mut to: TcpStream, shared: &(Mutex<State>, Condvar)) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(n) = from.read(&mut buffer) {
        if !may_pass(shared) || n == 0 || to.write_all(&buffer[..n]).is_err() {
            break;
        }
    }
    // An end passes only while the wire is whole.
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}
