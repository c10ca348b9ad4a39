//! Medians and their spread.

/// Of some values: the median, the quartiles, the ends, and between what the true median lies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    pub count: usize,
    pub median: f64,
    pub quartiles: (f64, f64),
    pub ends: (f64, f64),
    /// With 95 % confidence, from ranks alone: no distribution is assumed. With fewer than six
    /// values no such bounds exist, and these are the ends.
    pub bounds: (f64, f64),
}

impl Spread {
    /// `None` of no values.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = values
            .into_iter()
            .filter(|value| value.is_finite())
            .collect();
        sorted.sort_by(f64::total_cmp);
        let (first, last) = (*sorted.first()?, *sorted.last()?);
        let rank = rank_of_bound(sorted.len());
        Some(Self {
            count: sorted.len(),
            median: quantile(&sorted, 0.5),
            quartiles: (quantile(&sorted, 0.25), quantile(&sorted, 0.75)),
            ends: (first, last),
            bounds: (sorted[rank], sorted[sorted.len() - 1 - rank]),
        })
    }
}

/// Between the two nearest values.
fn quantile(sorted: &[f64], part: f64) -> f64 {
    let at = part * (sorted.len() - 1) as f64;
    let (below, above) = (at.floor() as usize, at.ceil() as usize);
    sorted[below] + (sorted[above] - sorted[below]) * (at - below as f64)
}

/// How many values may be left out at each end: the greatest rank whose binomial tail
/// P(X ≤ rank) with X ~ B(count, ½) is at most 2.5 %.
fn rank_of_bound(count: usize) -> usize {
    let mut term = 0.5_f64.powi(count as i32);
    let mut tail = term;
    let mut rank = 0;
    while rank + 1 < count / 2 {
        term *= (count - rank) as f64 / (rank + 1) as f64;
        if tail + term > 0.025 {
            break;
        }
        tail += term;
        rank += 1;
    }
    rank
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_those_of_the_tables() {
        // Ranks (from 1) of the usual table: 6: 1 and 6; 15: 4 and 12; 30: 10 and 21.
        let ranks = |count| {
            let spread = Spread::of((1..=count).map(f64::from)).unwrap();
            spread.bounds
        };
        assert_eq!(ranks(6), (1.0, 6.0));
        assert_eq!(ranks(15), (4.0, 12.0));
        assert_eq!(ranks(30), (10.0, 21.0));
        assert_eq!(ranks(3), (1.0, 3.0));
    }

    #[test]
    fn quantiles_lie_between_values() {
        let spread = Spread::of([4.0, 1.0, 3.0, 2.0]).unwrap();
        assert_eq!(spread.median, 2.5);
        assert_eq!(spread.quartiles, (1.75, 3.25));
        assert_eq!(Spread::of([]), None);
    }
}
