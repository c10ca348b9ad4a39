//! A wire between a client and a server that can be cut (bytes stop, connections stay open, as when
//! a switch between them dies), made slow or faulty, and led to another server.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, Weak};
use std::thread;
use std::time::Duration;

use socket2::SockRef;

/// What the wire does with what passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    None,
    /// Nothing passes.
    Cut,
    /// Everything arrives so much later.
    Slow(Duration),
    /// Two of a hundred pieces arrive so much later: what a lost packet does.
    Stalls(Duration),
    /// The first bytes of each piece arrive one at a time.
    Bytewise,
    /// One of forty replies arrives by half, and a reset behind it.
    Resets,
}

/// How many bytes of a piece come one at a time.
const SINGLE: usize = 40;

struct State {
    fault: Fault,
    target: SocketAddr,
    over: bool,
    /// Of the connections that are open.
    ends: Vec<Weak<Ends>>,
    random: fastrand::Rng,
}

type Shared = Arc<(Mutex<State>, Condvar)>;

/// See the module. Closes what is open when dropped.
pub struct Wire {
    addr: SocketAddr,
    state: Shared,
}

impl Wire {
    /// A wire to `target`.
    pub fn to(target: SocketAddr) -> Wire {
        Wire::between((Ipv4Addr::LOCALHOST, 0).into(), target)
    }

    /// A wire whose near end is at `addr`.
    pub fn between(addr: SocketAddr, target: SocketAddr) -> Wire {
        let listener = TcpListener::bind(addr).expect("the address is free");
        let addr = listener.local_addr().expect("it is bound");
        let state = State {
            fault: Fault::None,
            target,
            over: false,
            ends: Vec::new(),
            random: fastrand::Rng::with_seed(1),
        };
        let state = Arc::new((Mutex::new(state), Condvar::new()));
        let shared = Arc::clone(&state);
        thread::spawn(move || accept(&listener, &shared));
        Wire { addr, state }
    }

    /// Its near end.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// From now on nothing passes, in either direction.
    pub fn cut(&self) {
        self.fault(Fault::Cut);
    }

    /// Everything passes again, what was held back first.
    pub fn mend(&self) {
        self.fault(Fault::None);
    }

    /// From now on this happens to what passes.
    pub fn fault(&self, fault: Fault) {
        self.set(|state| state.fault = fault);
    }

    /// New connections go there; the others stay.
    pub fn lead_to(&self, target: SocketAddr) {
        self.set(|state| state.target = target);
    }

    fn set(&self, change: impl FnOnce(&mut State)) {
        let (state, changed) = &*self.state;
        change(&mut lock(state));
        changed.notify_all();
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.set(|state| {
            state.over = true;
            for ends in state.ends.drain(..).filter_map(|ends| ends.upgrade()) {
                ends.shut(Shutdown::Both);
            }
        });
        // Wakes the accepting thread.
        let _ = TcpStream::connect(self.addr);
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().expect("no thread panics with the lock")
}

/// Waits until bytes may pass; `false` at the end.
fn may_pass((state, changed): &(Mutex<State>, Condvar)) -> bool {
    let holds = |state: &mut State| state.fault == Fault::Cut && !state.over;
    let waited = changed.wait_while(lock(state), holds);
    !waited.expect("no thread panics with the lock").over
}

/// Lets time pass, or the end come.
fn delay((state, changed): &(Mutex<State>, Condvar), time: Duration) {
    let waited = changed.wait_timeout_while(lock(state), time, |state| !state.over);
    drop(waited.expect("no thread panics with the lock"));
}

fn accept(listener: &TcpListener, shared: &Shared) {
    for near in listener.incoming().map_while(Result::ok) {
        let shared = Arc::clone(shared);
        if lock(&shared.0).over {
            return;
        }
        // Ends with its connection.
        thread::spawn(move || {
            if !may_pass(&shared) {
                return;
            }
            let target = lock(&shared.0).target;
            if let Ok(far) = TcpStream::connect(target) {
                let _ = join(near, far, &shared);
            }
        });
    }
}

/// Both ends of a connection. Only its two threads own them, so that they are closed, with a reset
/// if there is to be one, when those end.
struct Ends {
    near: TcpStream,
    far: TcpStream,
    reset: AtomicBool,
}

impl Ends {
    fn shut(&self, how: Shutdown) {
        let _ = self.near.shutdown(how);
        let _ = self.far.shutdown(how);
    }
}

fn join(near: TcpStream, far: TcpStream, shared: &Shared) -> std::io::Result<()> {
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    let reset = AtomicBool::new(false);
    let ends = Arc::new(Ends { near, far, reset });
    lock(&shared.0).ends.push(Arc::downgrade(&ends));
    let (other, state) = (Arc::clone(&ends), Arc::clone(shared));
    thread::spawn(move || carry(&other, true, &state));
    carry(&ends, false, shared);
    Ok(())
}

/// Takes bytes from one end to the other; `replies` are those to the near end.
fn carry(ends: &Ends, replies: bool, shared: &Shared) {
    let (mut from, to) = match replies {
        true => (&ends.far, &ends.near),
        false => (&ends.near, &ends.far),
    };
    let mut buffer = [0; 16 * 1024];
    while let Ok(n) = from.read(&mut buffer) {
        let is_over = n == 0 || ends.reset.load(Ordering::Relaxed);
        // An end passes only while the wire is whole.
        if !may_pass(shared) || is_over || !pass_on(ends, to, &buffer[..n], shared) {
            break;
        }
    }
    match ends.reset.load(Ordering::Relaxed) {
        // Wakes the other thread, and says nothing to the near end before the reset.
        true => ends.shut(Shutdown::Read),
        false => ends.shut(Shutdown::Both),
    }
}

/// One piece, with what the fault does to it; `false` when the connection is over.
fn pass_on(ends: &Ends, mut to: &TcpStream, piece: &[u8], shared: &Shared) -> bool {
    let (fault, draw) = {
        let mut state = lock(&shared.0);
        (state.fault, state.random.u32(0..1000))
    };
    let mut rest = piece;
    match fault {
        Fault::Slow(time) => delay(shared, time),
        Fault::Stalls(time) if draw < 20 => delay(shared, time),
        Fault::Bytewise => {
            let (single, after) = piece.split_at(piece.len().min(SINGLE));
            rest = after;
            if single.iter().any(|byte| to.write_all(&[*byte]).is_err()) {
                return false;
            }
        }
        Fault::Resets if std::ptr::eq(to, &ends.near) && draw < 25 => {
            let _ = to.write_all(&piece[..piece.len() / 2]);
            let _ = SockRef::from(to).set_linger(Some(Duration::ZERO));
            ends.reset.store(true, Ordering::Relaxed);
            return false;
        }
        _ => {}
    }
    to.write_all(rest).is_ok()
}
