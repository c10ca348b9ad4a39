//! A worker's connections to one server: not a pool, nothing is checked out; commands of all
//! requests share them.

use std::rc::Rc;

use super::dial::Stream;
use super::driver::Driver;
use super::link::{Link, OwnedLink, Owner};

/// The links of one role.
pub struct Set<W> {
    links: Vec<Rc<Link<W>>>,
}

impl<W: 'static> Set<W> {
    /// Makes the set and its driver tasks on the current worker's runtime. `driver` gives each link
    /// its driver.
    pub fn start(
        connections: usize,
        metrics: &crate::metrics::RoleOf,
        owner: &Rc<dyn Owner<W>>,
        mut driver: impl FnMut() -> Driver,
    ) -> Self {
        let links: Vec<_> = (0..connections)
            .map(|index| Rc::new(Link::new(index, metrics.clone())))
            .collect();
        for link in &links {
            tokio::task::spawn_local(driver().run(OwnedLink {
                link: link.clone(),
                owner: owner.clone(),
            }));
        }
        Set { links }
    }

    /// A set of one link over a stream that is there already. Nothing is dialled, at the start or
    /// later: it is for benches, which put bytes in memory where the socket would be.
    #[doc(hidden)]
    pub fn over(
        stream: Stream,
        metrics: &crate::metrics::RoleOf,
        owner: &Rc<dyn Owner<W>>,
        driver: Driver,
    ) -> Self {
        let link = Rc::new(Link::new(0, metrics.clone()));
        let owned = OwnedLink {
            link: link.clone(),
            owner: owner.clone(),
        };
        tokio::task::spawn_local(driver.run_over(stream, owned));
        Set { links: vec![link] }
    }

    /// A set without driver tasks.
    #[cfg(test)]
    pub(super) fn of(links: Vec<Rc<Link<W>>>) -> Self {
        Set { links }
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

    /// All links, by their index.
    pub fn links(&self) -> &[Rc<Link<W>>] {
        &self.links
    }
}
