//! The one source of randomness: a small generator, and streams named by what they are for.
//!
//! A stream is derived from a seed, a [`Role`], a path and an index, by hashing; nothing else reaches it: no clock, no
//! entropy, no matrix coordinates, no order of calls. So two methods trained with one seed share the student's initial
//! weights and the order of batches, and a resumed run finds its streams again without having stored any.
//!
//! Generator: xoshiro256++ (Blackman and Vigna, *Scrambled linear pseudorandom number generators*, 2021), its four words
//! filled by SplitMix64. Only integer operations and exact scaling are used, so streams are the same on every machine.

/// What a random stream is for; part of its name, so that streams of different roles never meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Initial weights of the student (or teacher); path = the tensor's name.
    Init,
    /// The order of training rows; index = epoch.
    Order,
    /// Initial weights of modules that only training needs; path = the tensor's name.
    Modules,
    /// Dropout masks; path = the place in the network, index = step.
    Dropout,
    /// What a method draws in a step; path = what for, index = step.
    Step,
    /// How an image is changed; path = its row, index = epoch.
    Augment,
}

impl Role {
    fn name(self) -> &'static str {
        match self {
            Role::Init => "init",
            Role::Order => "order",
            Role::Modules => "modules",
            Role::Dropout => "dropout",
            Role::Step => "step",
            Role::Augment => "augment",
        }
    }
}

/// FNV-1a over bytes, 64 bits: the hash behind stream names and fingerprints. Not cryptographic.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fnv(u64);

impl Fnv {
    pub(crate) fn new() -> Self {
        Fnv(0xcbf2_9ce4_8422_2325)
    }

    /// Feeds bytes, preceded by their number, so that consecutive fields cannot run into each other.
    pub(crate) fn field(&mut self, bytes: &[u8]) -> &mut Self {
        self.raw(&(bytes.len() as u64).to_le_bytes());
        self.raw(bytes)
    }

    /// Feeds one word of a column whose length is fed apart. Coarser than bytes, and eight times as fast.
    pub(crate) fn word(&mut self, word: u64) {
        self.0 = (self.0 ^ word).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(29);
    }

    fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        self
    }

    pub(crate) fn finish(&self) -> u64 {
        self.0
    }
}

/// A random stream.
#[derive(Clone, Debug)]
pub(crate) struct Rng {
    state: [u64; 4],
}

impl Rng {
    /// The stream named by (`seed`, `role`, `path`, `index`).
    pub(crate) fn stream(seed: u64, role: Role, path: &str, index: u64) -> Self {
        let mut name = Fnv::new();
        name.field(&seed.to_le_bytes()).field(role.name().as_bytes()).field(path.as_bytes()).field(&index.to_le_bytes());
        let mut word = name.finish();
        // SplitMix64: spreads the hash over 256 bits; never all zero.
        let state = std::array::from_fn(|_| {
            word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = word;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        });
        Rng { state }
    }

    /// 64 random bits.
    #[inline]
    pub(crate) fn next_u64(&mut self) -> u64 {
        let [a, b, c, d] = &mut self.state;
        let result = a.wrapping_add(*d).rotate_left(23).wrapping_add(*a);
        let t = *b << 17;
        *c ^= *a;
        *d ^= *b;
        *b ^= *c;
        *a ^= *d;
        *c ^= t;
        *d = d.rotate_left(45);
        result
    }

    /// Uniform in `[-bound, bound)`, on a grid of 2^-23 of the bound.
    #[inline]
    pub(crate) fn symmetric(&mut self, bound: f32) -> f32 {
        let unit = (self.next_u64() >> 40) as f32 / (1u64 << 24) as f32;
        (2.0 * unit - 1.0) * bound
    }

    /// From Gumbel's standard distribution: -ln(-ln u), u uniform between 0 and 1.
    pub(crate) fn gumbel(&mut self) -> f32 {
        let unit = ((self.next_u64() >> 40) as f64 + 0.5) / (1u64 << 24) as f64;
        -(-unit.ln()).ln() as f32
    }

    /// Uniform in `0..n`, without bias (Lemire 2019, multiply and reject).
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        let threshold = n.wrapping_neg() % n;
        loop {
            let product = u128::from(self.next_u64()) * u128::from(n);
            if product as u64 >= threshold {
                return (product >> 64) as u64;
            }
        }
    }

    /// Puts `items` into a uniformly random order (Fisher and Yates).
    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let other = self.below(last as u64 + 1) as usize;
            items.swap(last, other);
        }
    }

    /// Fills a mask for inverted dropout: each entry 0 with probability `rate`, else `1 / (1 - rate)`.
    ///
    /// `rate` is rounded to 1/65536: one draw serves four entries.
    pub(crate) fn dropout_mask(&mut self, rate: f32, mask: &mut [f32]) {
        let threshold = (rate * 65536.0).round() as u64;
        let kept = 1.0 / (1.0 - rate);
        for four in mask.chunks_mut(4) {
            let mut bits = self.next_u64();
            for factor in four {
                *factor = if bits & 0xffff < threshold { 0.0 } else { kept };
                bits >>= 16;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// xoshiro256++ from the state (1, 2, 3, 4): the first outputs follow from the definition by hand:
    /// rotl(1 + 4, 23) + 1 = 5 * 2^23 + 1 = 41943041, then the state is (7, 0, 262146, 6 * 2^45), and so on.
    #[test]
    fn generator_follows_its_definition() {
        let mut rng = Rng { state: [1, 2, 3, 4] };
        assert_eq!(rng.next_u64(), 41_943_041);
        assert_eq!(rng.state, [7, 0, 262_146, 6 << 45]);
        assert_eq!(rng.next_u64(), 58_720_359);
    }

    #[test]
    fn streams_differ_in_every_part_of_their_name() {
        let first = |seed, role, path, index| Rng::stream(seed, role, path, index).next_u64();
        let base = first(1, Role::Init, "a", 0);
        assert_eq!(base, first(1, Role::Init, "a", 0));
        assert_ne!(base, first(2, Role::Init, "a", 0));
        assert_ne!(base, first(1, Role::Modules, "a", 0));
        assert_ne!(base, first(1, Role::Init, "b", 0));
        assert_ne!(base, first(1, Role::Init, "a", 1));
    }

    #[test]
    fn shuffle_is_a_permutation_and_unbiased() {
        let mut counts = [[0u32; 4]; 4];
        let mut rng = Rng::stream(3, Role::Order, "", 0);
        for _ in 0..8000 {
            let mut items = [0, 1, 2, 3];
            rng.shuffle(&mut items);
            for (place, &item) in items.iter().enumerate() {
                counts[place][item as usize] += 1;
            }
        }
        // 2000 expected, standard deviation 39: within five of them.
        for count in counts.iter().flatten() {
            assert!(count.abs_diff(2000) < 200, "{counts:?}");
        }
    }

    #[test]
    fn dropout_keeps_the_mean() {
        let mut mask = vec![0.0; 100_001];
        Rng::stream(1, Role::Dropout, "x", 0).dropout_mask(0.25, &mut mask);
        assert_eq!(mask.len(), 100_001);
        let mean = mask.iter().map(|&m| f64::from(m)).sum::<f64>() / mask.len() as f64;
        assert!((mean - 1.0).abs() < 0.01, "{mean}");
        assert!(mask.iter().all(|&m| m == 0.0 || (m - 4.0 / 3.0).abs() < 1e-6));
    }

    #[test]
    fn symmetric_stays_inside_its_bound() {
        let mut rng = Rng::stream(1, Role::Init, "x", 0);
        let values: Vec<f32> = (0..10_000).map(|_| rng.symmetric(0.5)).collect();
        assert!(values.iter().all(|v| (-0.5..0.5).contains(v)));
        let sd = (values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>() / 1e4).sqrt();
        assert!((sd - 0.5 / 3f64.sqrt()).abs() < 0.01);
    }
}
