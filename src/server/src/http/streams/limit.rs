//! How many streams the process has.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// The streams of all workers together. They are opened seldom, so that one count for all of them
/// costs nothing that can be measured.
#[derive(Clone, Debug, Default)]
pub struct Places {
    max: usize,
    taken: Arc<AtomicUsize>,
}

/// The right to one stream, for as long as it lives.
pub struct Place(Arc<AtomicUsize>);

impl Places {
    /// At most so many; 0: there are no streams.
    pub fn new(max: usize) -> Self {
        Places {
            max,
            taken: Arc::default(),
        }
    }

    /// Whether there are streams at all.
    pub fn is_any(&self) -> bool {
        self.max > 0
    }

    /// Takes a place, if one is free.
    pub fn take(&self) -> Option<Place> {
        let place = Place(self.taken.clone());
        let before = self.taken.fetch_add(1, Relaxed);
        (before < self.max).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_free_again_when_it_is_left() {
        let places = Places::new(2);
        let (first, second) = (places.take(), places.clone().take());
        assert!(first.is_some() && second.is_some());
        assert!(places.take().is_none());
        assert!(places.take().is_none());
        drop(first);
        assert!(places.take().is_some());
        assert!(!Places::new(0).is_any());
    }
}
