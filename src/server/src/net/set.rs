//! A worker's connections to one server: not a pool, nothing is checked out; commands of all
//! requests share them.

use std::rc::Rc;

use super::dial::Stream;
use super::driver::Driver;
use super::link::{Link, OwnedLink, Owner};

/// The links of one role. Clones are the same links.
pub struct Set<W> {
    links: Rc<[Rc<Link<W>>]>,
}

impl<W> Clone for Set<W> {
    fn clone(&self) -> Self {
        Set {
            links: self.links.clone(),
        }
    }
}

impl<W: 'static> Set<W> {
    /// So many links, none of them connected: [`drive`](Self::drive) connects them.
    pub fn new(connections: usize, metrics: &crate::metrics::RoleOf) -> Self {
        let link = |index| Rc::new(Link::new(index, metrics.clone()));
        Set {
            links: (0..connections).map(link).collect(),
        }
    }

    /// Starts the driver tasks on the current worker's runtime. `driver` gives each link its
    /// driver.
    pub fn drive(&self, owner: &Rc<dyn Owner<W>>, mut driver: impl FnMut() -> Driver) {
        for link in &*self.links {
            let (link, owner) = (link.clone(), owner.clone());
            tokio::task::spawn_local(driver().run(OwnedLink { link, owner }));
        }
    }

    /// Starts the first link over a stream that is there already. Nothing is dialled, at the start
    /// or later: it is for benches, which put bytes in memory where the socket would be.
    #[doc(hidden)]
    pub fn drive_over(&self, stream: Stream, owner: &Rc<dyn Owner<W>>, driver: Driver) {
        if let Some(link) = self.links.first() {
            let (link, owner) = (link.clone(), owner.clone());
            tokio::task::spawn_local(driver.run_over(stream, OwnedLink { link, owner }));
        }
    }

    /// Whether some link is admitted. Unlike [`pick`](Self::pick), it may be asked while a reply is
    /// handed out.
    pub fn is_usable(&self) -> bool {
        self.links.iter().any(|link| link.is_admitted())
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
