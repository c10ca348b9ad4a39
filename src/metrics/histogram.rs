//! A histogram with fixed buckets and one writer.

use std::array;

use super::Cell;

/// Counts values by `N` fixed buckets and one for all values above; also their sum.
#[derive(Debug)]
pub struct Histogram<const N: usize> {
    bounds: &'static [u64; N],
    /// Values up to the bound of the same place, and above the one before it: not cumulative, so
    /// that a value touches one bucket.
    buckets: [Cell; N],
    above: Cell,
    sum: Cell,
}

impl<const N: usize> Histogram<N> {
    /// An empty histogram. `bounds` are inclusive upper bounds, in rising order.
    pub fn new(bounds: &'static [u64; N]) -> Histogram<N> {
        debug_assert!(bounds.is_sorted());
        Histogram {
            bounds,
            buckets: array::from_fn(|_| Cell::default()),
            above: Cell::default(),
            sum: Cell::default(),
        }
    }

    /// Counts `value`.
    pub fn observe(&self, value: u64) {
        // Comparing with every bound has no branch to mispredict; a search has several.
        let place: usize = self
            .bounds
            .iter()
            .map(|&bound| usize::from(value > bound))
            .sum();
        self.buckets.get(place).unwrap_or(&self.above).add(1);
        self.sum.add(value);
    }

    /// The state as it stands, not cumulative: the bounds, a count for each and one more for the
    /// values above, and the sum. A value counted meanwhile may be in the sum and not in a count.
    pub(super) fn snapshot(&self) -> Snapshot<N> {
        Snapshot {
            bounds: self.bounds,
            buckets: array::from_fn(|place| self.buckets.get(place).map_or(0, Cell::get)),
            above: self.above.get(),
            sum: self.sum.get(),
        }
    }
}

/// A histogram's numbers at one moment.
pub(super) struct Snapshot<const N: usize> {
    pub(super) bounds: &'static [u64; N],
    pub(super) buckets: [u64; N],
    pub(super) above: u64,
    pub(super) sum: u64,
}

impl<const N: usize> Snapshot<N> {
    /// Adds the numbers of another histogram with the same bounds.
    pub(super) fn merge(mut self, other: Snapshot<N>) -> Snapshot<N> {
        for (count, more) in self.buckets.iter_mut().zip(other.buckets) {
            *count = count.wrapping_add(more);
        }
        self.above = self.above.wrapping_add(other.above);
        self.sum = self.sum.wrapping_add(other.sum);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static BOUNDS: [u64; 3] = [10, 20, 400];

    #[test]
    fn a_value_falls_into_one_bucket() {
        fn check(value: u64, buckets: [u64; 3], above: u64) {
            let histogram = Histogram::new(&BOUNDS);
            histogram.observe(value);
            let seen = histogram.snapshot();
            assert_eq!((seen.buckets, seen.above), (buckets, above), "{value}");
            assert_eq!(seen.sum, value);
        }
        check(0, [1, 0, 0], 0);
        check(10, [1, 0, 0], 0);
        check(11, [0, 1, 0], 0);
        check(20, [0, 1, 0], 0);
        check(21, [0, 0, 1], 0);
        check(400, [0, 0, 1], 0);
        check(401, [0, 0, 0], 1);
        check(u64::MAX, [0, 0, 0], 1);
    }

    #[test]
    fn merging_adds_up() {
        let (a, b) = (Histogram::new(&BOUNDS), Histogram::new(&BOUNDS));
        a.observe(5);
        a.observe(500);
        b.observe(6);
        b.observe(15);
        let both = a.snapshot().merge(b.snapshot());
        assert_eq!((both.buckets, both.above, both.sum), ([2, 1, 0], 1, 526));
    }
}
