//! A histogram with fixed buckets and one writer.

use std::array;

use super::Cell;

/// Upper bounds of buckets, inclusive, in rising order, with an index that finds a value's bucket
/// in one load and one comparison.
#[derive(Debug)]
pub struct Bounds<const N: usize> {
    upper: [u64; N],
    /// For each number of significant bits: how many bounds have fewer.
    shorter: [u8; 65],
}

impl<const N: usize> Bounds<N> {
    /// Bounds with their index. For constants: a list that does not rise, or has two bounds between
    /// a power of two and the next, does not compile.
    pub const fn new(upper: [u64; N]) -> Bounds<N> {
        assert!(N < 255);
        let mut shorter = [0; 65];
        let mut bits = 0;
        while bits <= 64 {
            let mut place = 0;
            while place < N && u64::BITS - upper[place].leading_zeros() < bits {
                place += 1;
            }
            shorter[bits as usize] = place as u8;
            bits += 1;
        }
        let mut place = 1;
        while place < N {
            let (below, above) = (upper[place - 1], upper[place]);
            assert!(below < above, "bounds must rise");
            assert!(
                below.leading_zeros() > above.leading_zeros(),
                "bounds are too close"
            );
            place += 1;
        }
        Bounds { upper, shorter }
    }

    /// The bucket of `value`; `N` or more: above all.
    fn place(&self, value: u64) -> usize {
        let bits = (u64::BITS - value.leading_zeros()) as usize;
        let place = self
            .shorter
            .get(bits)
            .map_or(N, |&place| usize::from(place));
        // Of the bounds not shorter than the value, only the first can be as long, and so below it.
        place
            + self
                .upper
                .get(place)
                .map_or(0, |&bound| usize::from(value > bound))
    }
}

/// Counts values by `N` fixed buckets and one for all values above; also their sum.
#[derive(Debug)]
pub struct Histogram<const N: usize> {
    bounds: &'static Bounds<N>,
    /// Values up to the bound of the same place, and above the one before it: not cumulative, so
    /// that a value touches one bucket.
    buckets: [Cell; N],
    above: Cell,
    sum: Cell,
}

impl<const N: usize> Histogram<N> {
    /// An empty histogram.
    pub fn new(bounds: &'static Bounds<N>) -> Histogram<N> {
        Histogram {
            bounds,
            buckets: array::from_fn(|_| Cell::default()),
            above: Cell::default(),
            sum: Cell::default(),
        }
    }

    /// Counts `value`.
    pub fn observe(&self, value: u64) {
        let bucket = self.buckets.get(self.bounds.place(value));
        bucket.unwrap_or(&self.above).add(1);
        self.sum.add(value);
    }

    /// How many values were counted, wrapping.
    pub(super) fn count(&self) -> u64 {
        let counts = self.buckets.iter().map(Cell::get);
        counts.fold(self.above.get(), u64::wrapping_add)
    }

    /// The state as it stands, not cumulative: the bounds, a count for each and one more for the
    /// values above, and the sum. A value counted meanwhile may be in the sum and not in a count.
    pub(super) fn snapshot(&self) -> Snapshot<N> {
        Snapshot {
            bounds: &self.bounds.upper,
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
    use crate::metrics::{BATCH_BOUNDS, DURATION_BOUNDS_NS};

    static BOUNDS: Bounds<3> = Bounds::new([10, 20, 400]);

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
        check(15, [0, 1, 0], 0);
        check(16, [0, 1, 0], 0);
        check(20, [0, 1, 0], 0);
        check(21, [0, 0, 1], 0);
        check(400, [0, 0, 1], 0);
        check(401, [0, 0, 0], 1);
        check(512, [0, 0, 0], 1);
        check(u64::MAX, [0, 0, 0], 1);
    }

    #[test]
    fn the_index_finds_what_a_search_finds() {
        for bound in DURATION_BOUNDS_NS
            .upper
            .into_iter()
            .chain(BATCH_BOUNDS.upper)
        {
            for value in [bound - 1, bound, bound + 1, bound / 2, bound * 2] {
                let search = |upper: &[u64]| upper.iter().take_while(|&&up| up < value).count();
                let found = (DURATION_BOUNDS_NS.place(value), BATCH_BOUNDS.place(value));
                let expected = (
                    search(&DURATION_BOUNDS_NS.upper),
                    search(&BATCH_BOUNDS.upper),
                );
                assert_eq!(found, expected, "{value}");
            }
        }
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
