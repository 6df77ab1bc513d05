//! The instruments themselves. One core writes each, any thread reads it: relaxed words that are loaded, added to and stored, which
//! the processor does as for plain memory. Nothing is locked, published or allocated, and a reader disturbs the writer only by
//! fetching its cache lines.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Only grows. Written by one core.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    #[inline]
    pub fn add(&self, more: u64) {
        // No read-modify-write: nobody else writes.
        self.0.store(self.0.load(Relaxed).wrapping_add(more), Relaxed);
    }

    /// Takes over a count that is kept elsewhere.
    #[inline]
    pub fn set(&self, total: u64) {
        self.0.store(total, Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// What is the case now. Written by one core.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    #[inline]
    pub fn set(&self, value: u64) {
        self.0.store(value, Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Counts by size, two buckets to each power of two from `2^FROM` on: up to 1, 1.5, 2, 3, 4, 6, 8 ... times that. The last takes
/// all that is larger. Written by one core.
#[derive(Debug)]
pub struct Histogram<const FROM: u32, const BUCKETS: usize> {
    buckets: [Counter; BUCKETS],
    sum: Counter,
}

/// Nanoseconds: 1 us to 17 s.
pub type Times = Histogram<10, 50>;
/// Bytes: 4 KiB to 64 MiB.
pub type Sizes = Histogram<12, 30>;
/// Things: 2 to 4096.
pub type Counts = Histogram<1, 24>;

impl<const FROM: u32, const BUCKETS: usize> Default for Histogram<FROM, BUCKETS> {
    fn default() -> Self {
        Histogram { buckets: [const { Counter(AtomicU64::new(0)) }; BUCKETS], sum: Counter::default() }
    }
}

impl<const FROM: u32, const BUCKETS: usize> Histogram<FROM, BUCKETS> {
    #[inline]
    pub fn record(&self, value: u64) {
        self.buckets[Self::bucket(value)].add(1);
        self.sum.add(value);
    }

    #[inline]
    fn bucket(value: u64) -> usize {
        // A bound belongs to the bucket below it.
        let below = value.saturating_sub(1);
        if below >> FROM == 0 {
            return 0;
        }
        let power = below.ilog2();
        let upper_half = (below >> (power - 1)) & 1;
        (1 + 2 * (power - FROM) as usize + upper_half as usize).min(BUCKETS - 1)
    }

    /// The upper bound of a bucket; `None` for the last.
    pub fn bound(bucket: usize) -> Option<u64> {
        let power = FROM + bucket as u32 / 2;
        let bound = if bucket.is_multiple_of(2) { 1 << power } else { (1 << power) + (1 << (power - 1)) };
        (bucket + 1 < BUCKETS).then_some(bound)
    }

    /// The count of each bucket, and the sum of all values.
    pub fn read(&self) -> ([u64; BUCKETS], u64) {
        (self.buckets.each_ref().map(Counter::get), self.sum.get())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_counted_between_its_bounds() {
        fn check<const FROM: u32, const BUCKETS: usize>() {
            let bounds: Vec<u64> = (0..BUCKETS).filter_map(Histogram::<FROM, BUCKETS>::bound).collect();
            assert_eq!(bounds.len(), BUCKETS - 1);
            assert!(bounds.windows(2).all(|pair| pair[0] < pair[1]), "{bounds:?}");
            assert_eq!(bounds[0], 1 << FROM);
            let near = bounds.iter().flat_map(|bound| [bound - 1, *bound, bound + 1]);
            for value in near.chain([0, 1, u64::MAX]) {
                let expected = bounds.iter().position(|bound| value <= *bound).unwrap_or(BUCKETS - 1);
                assert_eq!(Histogram::<FROM, BUCKETS>::bucket(value), expected, "{value}");
            }
        }
        check::<10, 50>();
        check::<12, 30>();
        check::<1, 24>();
        assert_eq!(Times::bound(48), Some(1 << 34), "17 seconds");
        assert_eq!(Sizes::bound(28), Some(64 << 20));
        assert_eq!(Counts::bound(22), Some(4096));
    }

    #[test]
    fn counts_and_sums_are_read_back() {
        let times = Times::default();
        [500, 1024, 1025, 3_000_000].iter().for_each(|value| times.record(*value));
        let (buckets, sum) = times.read();
        assert_eq!((buckets[0], buckets[1], buckets.iter().sum::<u64>(), sum), (2, 1, 4, 3_002_549));
    }
}
