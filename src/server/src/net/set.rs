//! A worker's connections to one server: not a pool, nothing is checked out; commands of all
//! requests share them.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, Wake, Waker};

use super::dial::Stream;
use super::driver::Driver;
use super::link::{Link, OwnedLink, Owner};

/// The links of one role. Clones are the same links.
pub struct Set<W> {
    links: Rc<[Rc<Link<W>>]>,
    drivers: Rc<[Rc<Driving>]>,
}

/// A driver, which its own task polls, and whoever wants to know now what has arrived.
#[derive(Default)]
struct Driving {
    future: RefCell<Option<Pin<Box<dyn Future<Output = ()>>>>>,
    /// Whoever polls the driver, its own task is to be woken.
    signal: RefCell<Option<(Arc<Signal>, Waker)>>,
}

/// Wakes a driver's task, and remembers it until the driver is next polled: the socket is ready,
/// there is something to send, or a timer is due.
struct Signal {
    task: Waker,
    rung: AtomicBool,
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.rung.store(true, Relaxed);
        self.task.wake_by_ref();
    }
}

impl Driving {
    /// Runs it by a task of its own, on the current worker's runtime.
    fn spawn(self: &Rc<Self>, driver: impl Future<Output = ()> + 'static) {
        *self.future.borrow_mut() = Some(Box::pin(driver));
        let driving = self.clone();
        tokio::task::spawn_local(poll_fn(move |cx| {
            driving.listen(cx.waker());
            driving.poll()
        }));
    }

    /// This is the waker of its own task.
    fn listen(&self, task: &Waker) {
        let mut signal = self.signal.borrow_mut();
        if signal
            .as_ref()
            .is_none_or(|(signal, _)| !signal.task.will_wake(task))
        {
            let new = Arc::new(Signal {
                task: task.clone(),
                rung: AtomicBool::new(false),
            });
            *signal = Some((new.clone(), new.into()));
        }
    }

    fn poll(&self) -> Poll<()> {
        let signal = self.signal.borrow();
        // It is running already if it can't be borrowed: then this is a call from within it.
        let (Some((signal, waker)), Ok(mut future)) = (&*signal, self.future.try_borrow_mut())
        else {
            return Poll::Pending;
        };
        let Some(driver) = &mut *future else {
            return Poll::Ready(());
        };
        signal.rung.store(false, Relaxed);
        let mut cx = Context::from_waker(waker);
        // Not held back by what its caller has done in this turn.
        let polled = pin!(tokio::task::unconstrained(driver.as_mut())).poll(&mut cx);
        if polled.is_ready() {
            *future = None;
        }
        polled
    }

    fn receive(&self) {
        let signal = self.signal.borrow();
        let Some((_, waker)) = signal
            .as_ref()
            .filter(|(signal, _)| signal.rung.load(Relaxed))
        else {
            return;
        };
        // Its end is seen by its own task.
        if self.poll().is_ready() {
            waker.wake_by_ref();
        }
    }
}

impl<W> Clone for Set<W> {
    fn clone(&self) -> Self {
        Set {
            links: self.links.clone(),
            drivers: self.drivers.clone(),
        }
    }
}

impl<W: 'static> Set<W> {
    /// So many links, none of them connected: [`drive`](Self::drive) connects them.
    pub fn new(connections: usize, metrics: &crate::metrics::RoleMetrics) -> Self {
        let link = |index| Rc::new(Link::new(index, metrics.clone()));
        Set {
            links: (0..connections).map(link).collect(),
            drivers: (0..connections).map(|_| Rc::default()).collect(),
        }
    }

    /// Starts the driver tasks on the current worker's runtime. `driver` gives each link its
    /// driver.
    ///
    /// The set holds the drivers, and they hold `owner`: it must not hold the set.
    pub fn drive(&self, owner: &Rc<dyn Owner<W>>, mut driver: impl FnMut() -> Driver) {
        for (link, driving) in self.links.iter().zip(&*self.drivers) {
            let (link, owner) = (link.clone(), owner.clone());
            driving.spawn(driver().run(OwnedLink { link, owner }));
        }
    }

    /// Starts the first link over a stream that is there already. Nothing is dialled, at the start
    /// or later: it is for benches, which put bytes in memory where the socket would be.
    #[doc(hidden)]
    pub fn drive_over(&self, stream: Stream, owner: &Rc<dyn Owner<W>>, driver: Driver) {
        if let (Some(link), Some(driving)) = (self.links.first(), self.drivers.first()) {
            let (link, owner) = (link.clone(), owner.clone());
            driving.spawn(driver.run_over(stream, OwnedLink { link, owner }));
        }
    }

    /// Has what the runtime knows to have arrived on the links handed out now, rather than when the
    /// turn comes to their tasks. Not for [`Owner`]'s methods.
    pub fn receive(&self) {
        self.drivers.iter().for_each(|driving| driving.receive());
    }

    /// Whether some link is admitted. Unlike [`pick`](Self::pick), it may be asked while a reply is
    /// handed out.
    pub fn is_usable(&self) -> bool {
        self.links.iter().any(|link| link.is_admitted())
    }

    /// Whether no command is unanswered on any link, and no login is under way.
    pub fn is_quiet(&self) -> bool {
        self.links.iter().all(|link| link.is_quiet())
    }

    /// The admitted link with the fewest unanswered commands. Not for [`Owner::reply`] and
    /// [`Owner::push`]: the connection that they come from is in use and can't be counted.
    pub fn pick(&self) -> Option<&Rc<Link<W>>> {
        let mut admitted = self.links.iter().filter(|link| link.is_admitted());
        let first = admitted.next()?;
        // One link is the default: nothing to compare then.
        Some(admitted.fold(first, |best, link| {
            if link.in_flight() < best.in_flight() {
                link
            } else {
                best
            }
        }))
    }

    /// All of them, by their index.
    pub fn links(&self) -> &[Rc<Link<W>>] {
        &self.links
    }
}
