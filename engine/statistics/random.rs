//! Seeded streams of random numbers, named by what they are for.
//!
//! The generator is the one used everywhere in talkflow, xoshiro256++ (Blackman and Vigna, "Scrambled Linear Pseudorandom Number
//! Generators", ACM TOMS 47, 2021), here from `rand_xoshiro`: data sets and learning keep their own few lines of it because the names of
//! their streams are in the bytes of people's results, and this crate shall not need either to be built.

use rand_xoshiro::{
    SplitMix64, Xoshiro256PlusPlus,
    rand_core::{Rng, SeedableRng},
};

/// What a stream is for; streams of different roles have nothing to do with each other.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Role {
    /// Resamples of differences; index = resample.
    Differences = 1,
    /// Resamples of clusters; index = resample.
    Clusters = 2,
    /// Signs of differences.
    Signs = 3,
}

/// A stream.
pub(crate) struct Stream(Xoshiro256PlusPlus);

impl Stream {
    /// The stream named by (`seed`, `role`, `index`). Each part of a name goes through a bijection, so no two indexes share a stream.
    pub(crate) fn new(seed: u64, role: Role, index: u64) -> Self {
        let mixed = |word| SplitMix64::seed_from_u64(word).next_u64();
        Self(Xoshiro256PlusPlus::seed_from_u64(mixed(mixed(mixed(seed) ^ role as u64) ^ index)))
    }

    /// 64 random bits.
    #[inline]
    pub(crate) fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A place below `end`, which is not 0, each with the same probability (Lemire, ACM TOMACS 29, 2019).
    #[inline]
    pub(crate) fn below(&mut self, end: usize) -> usize {
        let end = end as u64;
        let mut product = u128::from(self.bits()) * u128::from(end);
        if (product as u64) < end {
            let reject = end.wrapping_neg() % end;
            while (product as u64) < reject {
                product = u128::from(self.bits()) * u128::from(end);
            }
        }
        (product >> 64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generator_is_the_one_of_the_other_rooms() {
        // The reference code's first three outputs from the state 1, 2, 3, 4, which their tests hold to as well.
        let mut state = [0; 32];
        for (word, bytes) in state.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            *bytes = (word as u64 + 1).to_le_bytes();
        }
        let mut rng = Stream(Xoshiro256PlusPlus::from_seed(state));
        assert_eq!([rng.bits(), rng.bits(), rng.bits()], [41_943_041, 58_720_359, 3_588_806_011_781_223]);
    }

    #[test]
    fn every_part_of_a_name_tells_streams_apart() {
        let first = |seed, role, index| Stream::new(seed, role, index).bits();
        let streams = [first(1, Role::Signs, 0), first(2, Role::Signs, 0), first(1, Role::Clusters, 0), first(1, Role::Signs, 1)];
        for (at, one) in streams.iter().enumerate() {
            assert!(!streams[..at].contains(one));
        }
    }

    #[test]
    fn below_is_even_and_never_reaches_its_end() {
        let (mut rng, mut counts) = (Stream::new(1, Role::Signs, 0), [0_u32; 6]);
        for _ in 0..60_000 {
            counts[rng.below(6)] += 1;
        }
        assert!(counts.iter().all(|&count| (9_600..10_400).contains(&count)), "{counts:?}");
    }
}
