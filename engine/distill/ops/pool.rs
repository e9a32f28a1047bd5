//! Memory for the matrices of a batch, handed on to the next batch: after the first steps of a training nothing that grows with the batch is
//! allocated any more.
//!
//! A [`Buffer`] goes back to its pool when it is dropped. What it holds when taken is left over from before, so whoever takes one
//! writes all of it; debug builds fill it with NaN, so that a forgotten entry shows. Lengths that are nearly the same share their memory:
//! batches of texts have another number of rows each, and must not leave a set of buffers behind each.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Buffers of earlier batches, by how much they can hold. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pool(Arc<Mutex<BTreeMap<usize, Vec<Vec<f32>>>>>);

impl Pool {
    /// `len` numbers of unspecified value.
    pub(crate) fn take(&self, len: usize) -> Buffer {
        let room = room(len);
        let mut values = self.shelves().get_mut(&room).and_then(Vec::pop).unwrap_or_else(|| vec![0.0; room]);
        values.resize(len, 0.0);
        if cfg!(debug_assertions) {
            values.fill(f32::NAN);
        }
        Buffer { values, pool: self.clone() }
    }

    /// `len` zeros.
    pub(crate) fn zeros(&self, len: usize) -> Buffer {
        let mut buffer = self.take(len);
        buffer.fill(0.0);
        buffer
    }

    /// A copy.
    pub(crate) fn copy(&self, values: &[f32]) -> Buffer {
        let mut buffer = self.take(values.len());
        buffer.copy_from_slice(values);
        buffer
    }

    /// What an iterator yields, which must be `len` numbers.
    pub(crate) fn collect(&self, len: usize, values: impl Iterator<Item = f32>) -> Buffer {
        let mut buffer = self.take(len);
        let mut written = 0;
        for (slot, value) in buffer.iter_mut().zip(values) {
            *slot = value;
            written += 1;
        }
        debug_assert_eq!(written, len, "a buffer is written in full");
        buffer
    }

    fn shelves(&self) -> MutexGuard<'_, BTreeMap<usize, Vec<Vec<f32>>>> {
        // A panic elsewhere leaves the shelves as sound as they were.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a buffer of so many numbers can hold: an eighth more at most.
fn room(len: usize) -> usize {
    len.next_multiple_of((len.next_power_of_two() / 16).max(1))
}

/// Numbers on loan from a [`Pool`].
#[derive(Debug)]
pub(crate) struct Buffer {
    values: Vec<f32>,
    pool: Pool,
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let values = std::mem::take(&mut self.values);
        self.pool.shelves().entry(room(values.len())).or_default().push(values);
    }
}

impl Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.values
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.values
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_used_again() {
        let pool = Pool::default();
        let first = pool.copy(&[1.0, 2.0]);
        let place = first.as_ptr();
        drop(first);
        let again = pool.zeros(2);
        assert_eq!((again.as_ptr(), &again[..]), (place, &[0.0, 0.0][..]));
        // Another length, or a buffer that is still out, is other memory.
        assert_ne!(pool.take(2).as_ptr(), place);
        assert_eq!(pool.take(3).len(), 3);
    }

    #[test]
    fn lengths_that_are_nearly_the_same_share_memory() {
        let pool = Pool::default();
        let first = pool.take(1000);
        let place = first.as_ptr();
        drop(first);
        let longer = pool.zeros(1024);
        assert_eq!((longer.as_ptr(), longer.len()), (place, 1024));
        drop(longer);
        let shorter = pool.take(961);
        assert_eq!((shorter.as_ptr(), shorter.len()), (place, 961));
        for len in 1..5000 {
            assert!(room(len) >= len && room(len) <= len + len / 8, "{len}: {}", room(len));
        }
    }
}
