//! What is drawn by chance, from a seed, so that a run can be had again: sizes, keys and the partition that Kafka's default
//! partitioner gives a key, and the bytes that values are filled with.

use crate::bench::workload::{Keys, Size};

/// Spreads every bit of a number over all 64.
pub(super) fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// A stream of numbers from a seed (splitmix64).
#[derive(Debug, Clone)]
pub(super) struct Rng(u64);

impl Rng {
    pub(super) fn new(seed: u64) -> Rng {
        Rng(mix(seed ^ 0x5851_f42d_4c95_7f2d))
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// Below `n`, which is not 0.
    pub(super) fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(n)) >> 64) as u64
    }

    /// From 0 to 1, 1 left out.
    pub(super) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Lengths of values.
#[derive(Debug, Clone)]
pub(super) enum Sizes {
    Fixed(usize),
    Uniform(usize, usize),
    /// Lengths with the share of chance up to and including each.
    Weighted(Vec<(usize, f64)>),
}

impl Sizes {
    /// No length is below `least`.
    pub(super) fn new(size: &Size, least: usize) -> Sizes {
        let at_least = |len: &u32| (*len as usize).max(least);
        match size {
            Size::Fixed(len) => Sizes::Fixed(at_least(len)),
            Size::Uniform { from, to } => Sizes::Uniform(at_least(from), at_least(to).max(at_least(from))),
            Size::Weighted(of) => {
                let total: f64 = of.iter().map(|(_, weight)| weight.max(0.0)).sum();
                let mut sum = 0.0;
                let share = |(len, weight): &(u32, f64)| {
                    sum += weight.max(0.0) / total;
                    (at_least(len), sum)
                };
                let shares: Vec<_> = of.iter().map(share).collect();
                if shares.is_empty() || total <= 0.0 { Sizes::Fixed(least) } else { Sizes::Weighted(shares) }
            }
        }
    }

    pub(super) fn draw(&self, rng: &mut Rng) -> usize {
        match self {
            Sizes::Fixed(len) => *len,
            Sizes::Uniform(from, to) => from + rng.below((to - from + 1) as u64) as usize,
            Sizes::Weighted(shares) => {
                let at = rng.unit();
                shares.iter().find(|(_, share)| at < *share).or(shares.last()).map_or(0, |(len, _)| *len)
            }
        }
    }

    pub(super) fn largest(&self) -> usize {
        match self {
            Sizes::Fixed(len) | Sizes::Uniform(_, len) => *len,
            Sizes::Weighted(shares) => shares.iter().map(|(len, _)| *len).max().unwrap_or(0),
        }
    }

    pub(super) fn mean(&self) -> f64 {
        match self {
            Sizes::Fixed(len) => *len as f64,
            Sizes::Uniform(from, to) => (from + to) as f64 / 2.0,
            Sizes::Weighted(shares) => {
                let before = std::iter::once(0.0).chain(shares.iter().map(|(_, share)| *share));
                shares.iter().zip(before).map(|((len, share), before)| *len as f64 * (share - before)).sum()
            }
        }
    }
}

/// Zipf's law over 1 to `count`, by rejection from the area under its curve (Hörmann and Derflinger).
#[derive(Debug, Clone)]
pub(super) struct Zipf {
    count: f64,
    exponent: f64,
    first: f64,
    last: f64,
    sure: f64,
}

impl Zipf {
    pub(super) fn new(count: u64, exponent: f64) -> Zipf {
        let mut zipf = Zipf { count: count.max(1) as f64, exponent, first: 0.0, last: 0.0, sure: 0.0 };
        zipf.first = zipf.area(1.5) - 1.0;
        zipf.last = zipf.area(zipf.count + 0.5);
        zipf.sure = 2.0 - zipf.at_area(zipf.area(2.5) - zipf.height(2.0));
        zipf
    }

    fn height(&self, x: f64) -> f64 {
        x.powf(-self.exponent)
    }

    fn area(&self, x: f64) -> f64 {
        let left = 1.0 - self.exponent;
        if left.abs() < 1e-9 { x.ln() } else { (x.powf(left) - 1.0) / left }
    }

    fn at_area(&self, area: f64) -> f64 {
        let left = 1.0 - self.exponent;
        if left.abs() < 1e-9 { area.exp() } else { (area * left + 1.0).max(0.0).powf(1.0 / left) }
    }

    pub(super) fn draw(&self, rng: &mut Rng) -> u64 {
        loop {
            let area = self.last + rng.unit() * (self.first - self.last);
            let x = self.at_area(area);
            let k = x.round().clamp(1.0, self.count);
            if k - x <= self.sure || area >= self.area(k + 0.5) - self.height(k) {
                return k as u64;
            }
        }
    }
}

/// Keys of records.
#[derive(Debug, Clone)]
pub(super) enum KeyDraw {
    Uniform(u64),
    Zipf(Zipf),
}

impl KeyDraw {
    pub(super) fn new(keys: &Keys) -> Option<KeyDraw> {
        match keys {
            Keys::None => None,
            Keys::Uniform { count } => Some(KeyDraw::Uniform((*count).max(1))),
            Keys::Zipf { count, exponent } => Some(KeyDraw::Zipf(Zipf::new(*count, *exponent))),
        }
    }

    pub(super) fn draw(&self, rng: &mut Rng) -> u64 {
        match self {
            KeyDraw::Uniform(count) => rng.below(*count),
            KeyDraw::Zipf(zipf) => zipf.draw(rng) - 1,
        }
    }
}

/// The hash of Kafka's default partitioner (murmur2).
pub(super) fn murmur2(bytes: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mut hash = 0x9747_b28c ^ bytes.len() as u32;
    let mut chunks = bytes.chunks_exact(4);
    for chunk in &mut chunks {
        let mut k = u32::from_le_bytes(chunk.try_into().expect("four bytes")).wrapping_mul(M);
        k = (k ^ (k >> 24)).wrapping_mul(M);
        hash = hash.wrapping_mul(M) ^ k;
    }
    let rest = chunks.remainder();
    if !rest.is_empty() {
        let last = rest.iter().rev().fold(0u32, |last, byte| last << 8 | u32::from(*byte));
        hash = (hash ^ last).wrapping_mul(M);
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(M);
    hash ^ (hash >> 15)
}

/// The partition of a key: its eight bytes' hash without its sign, over the number of partitions.
pub(super) fn partition_of(key: u64, partitions: u32) -> u32 {
    (murmur2(&key.to_be_bytes()) & 0x7fff_ffff) % partitions
}

/// Bytes to fill values with: in each 64, this share is all alike.
pub(super) fn content(rng: &mut Rng, bytes: usize, compressible: f64) -> Vec<u8> {
    let alike = (compressible.clamp(0.0, 1.0) * 64.0).round() as usize;
    let mut out: Vec<u8> = Vec::with_capacity(bytes + 64);
    while out.len() < bytes {
        let random: [[u8; 8]; 8] = std::array::from_fn(|_| rng.next().to_le_bytes());
        let mut block: [u8; 64] = random.concat().try_into().expect("eight times eight bytes");
        block[..alike].fill(b'.');
        out.extend(block);
    }
    out.truncate(bytes);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_go_where_kafka_puts_them() {
        // From the tests of Kafka's own hash.
        for (text, hash) in
            [("21", -973_932_308i32), ("foobar", -790_332_482), ("a-little-bit-long-string", -985_981_536)]
        {
            assert_eq!(murmur2(text.as_bytes()) as i32, hash, "{text}");
        }
        assert!((0..1000).all(|key| partition_of(key, 7) < 7));
    }

    #[test]
    fn zipf_follows_its_law() {
        for exponent in [0.7, 1.0, 1.3] {
            let (zipf, mut rng) = (Zipf::new(100, exponent), Rng::new(1));
            let mut found = [0u32; 101];
            (0..200_000).for_each(|_| found[zipf.draw(&mut rng) as usize] += 1);
            let total: f64 = (1..=100).map(|k| f64::from(k).powf(-exponent)).sum();
            for k in [1usize, 2, 10, 50] {
                let wanted = (k as f64).powf(-exponent) / total * 200_000.0;
                let off = (f64::from(found[k]) - wanted).abs();
                assert!(off < 5.0 * wanted.sqrt() + 1.0, "exponent {exponent}, {k}: {} for {wanted}", found[k]);
            }
        }
    }

    #[test]
    fn sizes_keep_their_bounds_and_shares() {
        let mut rng = Rng::new(2);
        let uniform = Sizes::new(&Size::Uniform { from: 10, to: 30 }, 24);
        assert!((0..1000).map(|_| uniform.draw(&mut rng)).all(|len| (24..=30).contains(&len)));
        let weighted = Sizes::new(&Size::Weighted(vec![(100, 3.0), (1000, 1.0)]), 24);
        let large = (0..4000).filter(|_| weighted.draw(&mut rng) == 1000).count();
        assert!((800..1200).contains(&large), "{large}");
        assert_eq!((weighted.mean(), weighted.largest()), (325.0, 1000));
    }

    #[test]
    fn the_same_seed_draws_the_same() {
        let draw = |seed| content(&mut Rng::new(seed), 1000, 0.5);
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        assert_eq!(
            draw(7).iter().filter(|b| **b == b'.').count().clamp(500, 520),
            draw(7).iter().filter(|b| **b == b'.').count()
        );
    }
}
