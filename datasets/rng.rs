//! The one source of randomness: small, ours, and the same on every machine for good.
//!
//! xoshiro256++ (Blackman and Vigna, "Scrambled Linear Pseudorandom Number Generators", ACM TOMS 47, 2021), its state the SHA-256 of
//! the stream's role, the user's seed and an index: streams of different roles have nothing to do with each other, and any
//! part of a large whole can be made without making what comes before it. No floating point function but the four operations
//! and the square root is used, because those alone are the same in the last bit everywhere.

use sha2::{Digest, Sha256};

/// A stream of random numbers.
#[derive(Clone, Debug)]
pub struct Rng([u64; 4]);

impl Rng {
    /// The stream for one use (`role`) of the user's `seed`; `index` tells the parts of that use apart.
    pub fn stream(seed: u64, role: &str, index: u64) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"talkflow datasets 1\0");
        hash.update(role.as_bytes());
        hash.update([0]);
        hash.update(seed.to_le_bytes());
        hash.update(index.to_le_bytes());
        let digest: [u8; 32] = hash.finalize().into();
        let mut state = [0; 4];
        for (word, bytes) in state.iter_mut().zip(digest.as_chunks::<8>().0) {
            *word = u64::from_le_bytes(*bytes);
        }
        Self(state)
    }

    /// 64 random bits.
    #[inline]
    pub fn bits(&mut self) -> u64 {
        let [a, b, c, d] = &mut self.0;
        let out = a.wrapping_add(*d).rotate_left(23).wrapping_add(*a);
        let shifted = *b << 17;
        *c ^= *a;
        *d ^= *b;
        *b ^= *c;
        *a ^= *d;
        *c ^= shifted;
        *d = d.rotate_left(45);
        out
    }

    /// A whole number below `end`, which is not 0, each with the same probability (Lemire, ACM TOMACS 29, 2019).
    #[inline]
    pub fn below(&mut self, end: u64) -> u64 {
        let mut product = u128::from(self.bits()) * u128::from(end);
        if (product as u64) < end {
            let reject = end.wrapping_neg() % end;
            while (product as u64) < reject {
                product = u128::from(self.bits()) * u128::from(end);
            }
        }
        (product >> 64) as u64
    }

    /// A number in `[0, 1)`, a multiple of 2^-53.
    #[inline]
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 * (1.0 / (1_u64 << 53) as f64)
    }

    /// A number that is normal for our purposes: the sum of twelve uniform ones less six has mean 0, variance 1, and ends at 6.
    #[inline]
    pub fn normal(&mut self) -> f64 {
        let mut sum = 0_u64;
        for _ in 0..3 {
            let bits = self.bits();
            sum += (bits & 0xffff) + (bits >> 16 & 0xffff) + (bits >> 32 & 0xffff) + (bits >> 48);
        }
        // Twelve numbers of 16 bits have the mean 12 * 65535 / 2.
        (sum as f64 - 393_210.0) * (1.0 / 65_536.0)
    }

    /// Puts `values` into a random order, each order with the same probability.
    pub fn shuffle<T>(&mut self, values: &mut [T]) {
        for end in (1..values.len()).rev() {
            values.swap(end, self.below(end as u64 + 1) as usize);
        }
    }
}

/// e^x within a percent for -4 < x < 4, by arithmetic alone and so the same everywhere: (1 + x/1024)^1024.
pub(crate) fn exp(x: f64) -> f64 {
    let mut power = 1.0 + x / 1024.0;
    for _ in 0..10 {
        power *= power;
    }
    power
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_is_what_it_always_was() {
        let mut rng = Rng::stream(7, "test", 0);
        let first = [rng.bits(), rng.bits(), rng.bits()];
        assert_eq!(first, [7_208_035_756_948_612_403, 12_308_682_030_618_612_537, 7_066_850_441_038_411_908]);
    }

    #[test]
    fn xoshiro_agrees_with_its_authors() {
        // The reference code's first three outputs from the state 1, 2, 3, 4.
        let mut rng = Rng([1, 2, 3, 4]);
        assert_eq!([rng.bits(), rng.bits(), rng.bits()], [41_943_041, 58_720_359, 3_588_806_011_781_223]);
    }

    #[test]
    fn role_seed_and_index_all_tell_streams_apart() {
        let first = |seed, role, index| Rng::stream(seed, role, index).bits();
        let streams = [first(1, "a", 0), first(2, "a", 0), first(1, "b", 0), first(1, "a", 1)];
        for (at, one) in streams.iter().enumerate() {
            assert!(!streams[..at].contains(one));
        }
    }

    #[test]
    fn the_moments_are_right() {
        let mut rng = Rng::stream(1, "moments", 0);
        let draws: Vec<f64> = (0..100_000).map(|_| rng.normal()).collect();
        let mean = draws.iter().sum::<f64>() / 1e5;
        let variance = draws.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 1e5;
        assert!(mean.abs() < 0.02 && (variance - 1.0).abs() < 0.03, "{mean} {variance}");
        let mean = (0..100_000).map(|_| rng.unit()).sum::<f64>() / 1e5;
        assert!((mean - 0.5).abs() < 0.01, "{mean}");
    }

    #[test]
    fn below_is_even_and_never_reaches_its_end() {
        let (mut rng, mut counts) = (Rng::stream(1, "below", 0), [0_u32; 6]);
        for _ in 0..60_000 {
            counts[rng.below(6) as usize] += 1;
        }
        assert!(counts.iter().all(|&count| (9_600..10_400).contains(&count)), "{counts:?}");
    }

    #[test]
    fn exp_is_good_enough() {
        for x in [-3.0, -0.5, 0.0, 1.0, 3.0_f64] {
            assert!((exp(x) / x.exp() - 1.0).abs() < 0.01, "{x}");
        }
    }
}
