//! How a histogram's observations are spread over its buckets, and what can be said of them.
//!
//! Pure. Must not know what was observed.

/// Observations by bucket.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Spread {
    /// Upper edge of each bucket and how many observations lie in it; the last edge is infinite.
    buckets: Vec<(f64, u64)>,
}

impl Spread {
    /// From cumulative counts by upper edge in rising order, and the count of all.
    pub fn cumulative(edges: impl IntoIterator<Item = (f64, u64)>, all: u64) -> Self {
        let mut below = 0;
        let edges = edges.into_iter().chain([(f64::INFINITY, all)]);
        let single = |(edge, count): (f64, u64)| {
            let alone = count.saturating_sub(below);
            below = count;
            (edge, alone)
        };
        Self { buckets: edges.map(single).collect() }
    }

    /// Both together; the edges must be the same, unless one has none.
    #[must_use]
    pub fn and(self, other: &Self) -> Self {
        if self.buckets.is_empty() {
            return other.clone();
        }
        let counts = other.buckets.iter().map(|(_, count)| *count).chain(std::iter::repeat(0));
        Self { buckets: self.buckets.iter().zip(counts).map(|((edge, n), more)| (*edge, n + more)).collect() }
    }

    /// What came after `before`.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let counts = before.buckets.iter().map(|(_, count)| *count).chain(std::iter::repeat(0));
        let rest = |((edge, n), less): (&(f64, u64), u64)| (*edge, n.saturating_sub(less));
        Self { buckets: self.buckets.iter().zip(counts).map(rest).collect() }
    }

    /// The value that the fraction `q` of all observations does not exceed, as Prometheus estimates it: evenly spread
    /// within a bucket, and beyond the last edge not more than that edge. None without an observation.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        let all: u64 = self.buckets.iter().map(|(_, count)| count).sum();
        let rank = q * real(all);
        let (mut lower, mut below) = (0.0, 0.0);
        for (edge, count) in self.buckets.iter().filter(|_| all > 0) {
            let count = real(*count);
            if count > 0.0 && below + count >= rank {
                let within = (rank - below) / count;
                return Some(if edge.is_finite() { lower + (edge - lower) * within } else { lower });
            }
            (lower, below) = (*edge, below + count);
        }
        None
    }
}

#[expect(clippy::cast_precision_loss, reason = "nobody counts to 2^53")]
pub(super) fn real(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(counts: [u64; 3]) -> Spread {
        Spread::cumulative([(1.0, counts[0]), (2.0, counts[0] + counts[1])], counts.iter().sum())
    }

    fn close(found: Option<f64>, expected: f64) -> bool {
        found.is_some_and(|found| (found - expected).abs() < 1e-9)
    }

    #[test]
    fn a_quantile_lies_within_its_bucket() {
        let spread = spread([2, 2, 0]);
        assert!(close(spread.quantile(0.25), 0.5) && close(spread.quantile(0.5), 1.0), "{spread:?}");
        assert!(close(spread.quantile(0.75), 1.5) && close(spread.quantile(1.0), 2.0), "{spread:?}");
    }

    #[test]
    fn beyond_the_last_edge_nothing_is_known_but_the_edge() {
        assert!(close(spread([0, 0, 5]).quantile(0.5), 2.0));
    }

    #[test]
    fn of_nothing_there_is_no_quantile() {
        assert_eq!(spread([0, 0, 0]).quantile(0.5), None);
        assert_eq!(Spread::default().quantile(0.5), None);
    }

    #[test]
    fn spreads_add_up_and_differ_bucket_by_bucket() {
        assert_eq!(spread([1, 2, 3]).and(&spread([1, 0, 1])), spread([2, 2, 4]));
        assert_eq!(Spread::default().and(&spread([1, 2, 3])), spread([1, 2, 3]));
        assert_eq!(spread([5, 5, 5]).since(&spread([1, 2, 9])), spread([4, 3, 0]));
        assert_eq!(spread([5, 5, 5]).since(&Spread::default()), spread([5, 5, 5]));
    }
}
