//! Measures of predicted classes. A model gives each row a number for every class, its logits; what it answers is the class with the highest,
//! and how sure it is stands in the softmax over them. All sums are in double precision and in the order of the rows. The room knows
//! neither models nor what classes are called.

/// Bins of the expected calibration error, as in Guo et al. (2017).
pub const BINS: usize = 15;

/// What logits and labels are refused for.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ClassesError {
    /// There is nothing to choose from.
    #[error("there are no classes to predict")]
    NoClasses,
    /// The logits are not one a row and class.
    #[error("{rows} rows of {classes} classes have {} logits, and {found} are given", rows.saturating_mul(*classes))]
    Shape {
        /// How many labels there are.
        rows: usize,
        /// How many classes there are.
        classes: usize,
        /// How many logits there are.
        found: usize,
    },
    /// A label that names no class.
    #[error("row {row} is labelled {label}, and there are {classes} classes, counted from 0")]
    Label {
        /// The row, counted from 0.
        row: usize,
        /// Its label.
        label: u32,
        /// How many classes there are.
        classes: usize,
    },
    /// A logit that is infinite or no number, which has no softmax.
    #[error("row {row} has a logit that is no finite number: the model's training may have diverged")]
    NotFinite {
        /// The row, counted from 0.
        row: usize,
    },
}

/// The logits of some rows beside their labels.
#[derive(Clone, Copy, Debug)]
pub struct ClassPredictions<'a> {
    logits: &'a [f32],
    labels: &'a [u32],
    classes: usize,
}

impl<'a> ClassPredictions<'a> {
    /// `logits` of shape (rows, `classes`), row by row, and `labels` of shape (rows), each below `classes`.
    ///
    /// # Errors
    /// [`ClassesError`] where the shapes do not fit, a label names no class, or a logit is no finite number.
    pub fn new(logits: &'a [f32], labels: &'a [u32], classes: usize) -> Result<Self, ClassesError> {
        if classes == 0 {
            return Err(ClassesError::NoClasses);
        }
        if labels.len().checked_mul(classes) != Some(logits.len()) {
            return Err(ClassesError::Shape { rows: labels.len(), classes, found: logits.len() });
        }
        if let Some((row, label)) = labels.iter().enumerate().find(|(_, label)| **label as usize >= classes) {
            return Err(ClassesError::Label { row, label: *label, classes });
        }
        if let Some(at) = logits.iter().position(|logit| !logit.is_finite()) {
            return Err(ClassesError::NotFinite { row: at / classes });
        }
        Ok(Self { logits, labels, classes })
    }

    /// Each row's logits and label.
    fn rows(self) -> impl Iterator<Item = (&'a [f32], usize)> {
        self.logits.chunks_exact(self.classes).zip(self.labels).map(|(logits, label)| (logits, *label as usize))
    }

    /// The share of rows whose label is the class with the highest logit; of several with the same logit the lowest class is the answer. None
    /// without rows.
    #[must_use]
    pub fn accuracy(self) -> Option<f64> {
        super::mean(self.rows().map(|(logits, label)| f64::from(answer(logits) == label)))
    }

    /// Mean negative log-likelihood of the labels in nats: the mean over rows of log sum_j exp(z_j) - z_y, where z are the logits and y is the
    /// label. The highest logit is taken out first, so nothing overflows. None without rows.
    #[must_use]
    pub fn nll(self) -> Option<f64> {
        let missed = |logits: &[f32], label: usize| f64::from(logits[answer(logits)]) - f64::from(logits[label]);
        super::mean(self.rows().map(|(logits, label)| missed(logits, label) + against_highest(logits).ln()))
    }

    /// The expected calibration error (Guo et al., *On Calibration of Modern Neural Networks*, 2017, equation 3): how far what a model is sure of
    /// is from what it gets right. Rows are put into [`BINS`] bins of equal width by the probability p of their answer, bin m of M being
    /// ((m - 1) / M, m / M], so that a value on an edge belongs to the bin below it; then
    ///
    /// sum_m (n_m / n) |accuracy of bin m - mean p of bin m|
    ///
    /// with n_m of the n rows in bin m. None without rows.
    #[must_use]
    pub fn ece(self) -> Option<f64> {
        let mut right_less_sure = [0.0; BINS];
        for (logits, label) in self.rows() {
            let sure = 1.0 / against_highest(logits);
            right_less_sure[bin(sure)] += f64::from(answer(logits) == label) - sure;
        }
        let rows = self.labels.len() as f64;
        (rows > 0.0).then(|| right_less_sure.iter().map(|of_bin| of_bin.abs()).sum::<f64>() / rows)
    }

    /// How often each class was taken for each.
    #[must_use]
    pub fn confusion(self) -> Confusion {
        let mut counts = vec![0; self.classes * self.classes];
        for (logits, label) in self.rows() {
            counts[label * self.classes + answer(logits)] += 1;
        }
        Confusion { counts, classes: self.classes }
    }
}

/// The class with the highest logit, of several the lowest.
fn answer(logits: &[f32]) -> usize {
    let better = |best: usize, class: usize| if logits[class] > logits[best] { class } else { best };
    (1..logits.len()).fold(0, better)
}

/// sum_j exp(z_j - z_max), from 1 to the number of classes: one over the probability of the answer.
fn against_highest(logits: &[f32]) -> f64 {
    let highest = f64::from(logits[answer(logits)]);
    logits.iter().map(|logit| (f64::from(*logit) - highest).exp()).sum()
}

/// The bin of a probability.
fn bin(sure: f64) -> usize {
    (0..BINS - 1).find(|bin| sure <= (bin + 1) as f64 / BINS as f64).unwrap_or(BINS - 1)
}

/// How many rows of each true class were predicted to be of each class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confusion {
    /// Of shape (true class, predicted class), row by row.
    counts: Vec<u64>,
    classes: usize,
}

impl Confusion {
    /// How many classes there are.
    #[must_use]
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// How often `class` was taken for each class, itself among them; nothing of a class that there is not.
    #[must_use]
    pub fn of(&self, class: usize) -> &[u64] {
        self.counts.chunks_exact(self.classes).nth(class).unwrap_or_default()
    }

    /// How many rows a class has.
    #[must_use]
    pub fn rows(&self, class: usize) -> u64 {
        self.of(class).iter().sum()
    }

    /// How many of them were predicted to be of it.
    #[must_use]
    pub fn right(&self, class: usize) -> u64 {
        self.of(class).get(class).copied().unwrap_or(0)
    }

    /// The accuracy on a class, its recall: the share of its rows that were predicted to be of it. None of a class without rows.
    #[must_use]
    pub fn recall(&self, class: usize) -> Option<f64> {
        let rows = self.rows(class);
        (rows > 0).then(|| self.right(class) as f64 / rows as f64)
    }

    /// The mean of the accuracies on single classes, over the classes that have rows: each class counts alike, however many rows it has. Also
    /// known as balanced accuracy (Brodersen et al., *The Balanced Accuracy and Its Posterior Distribution*, 2010). None without rows.
    #[must_use]
    pub fn macro_accuracy(&self) -> Option<f64> {
        super::mean((0..self.classes).filter_map(|class| self.recall(class)))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test may panic")]
    use super::*;

    /// Logits of which the softmax is these probabilities.
    fn logits(probabilities: &[f64]) -> Vec<f32> {
        probabilities.iter().map(|p| p.ln() as f32).collect()
    }

    fn near(found: Option<f64>, expected: f64, tolerance: f64) {
        assert!((found.unwrap() - expected).abs() < tolerance, "{found:?} is not {expected}");
    }

    /// Three classes: two rows of the first, one of them right; three of the second, two right; none of the third.
    #[test]
    fn measures_by_hand() {
        let rows = [[0.7, 0.2, 0.1], [0.3, 0.6, 0.1], [0.1, 0.8, 0.1], [0.2, 0.7, 0.1], [0.3, 0.3, 0.4]];
        let (logits, labels) = (logits(rows.as_flattened()), [0, 0, 1, 1, 1]);
        let of = ClassPredictions::new(&logits, &labels, 3).unwrap();
        near(of.accuracy(), 0.6, 1e-12);
        near(of.nll(), -(0.7 * 0.3 * 0.8 * 0.7 * 0.3_f64).ln() / 5.0, 1e-6);
        // 0.7 twice in a bin, both right; each other one alone: 0.6 wrong, 0.8 right, 0.4 wrong.
        near(of.ece(), (0.6 + 0.6 + 0.2 + 0.4) / 5.0, 1e-6);
        let confusion = of.confusion();
        assert_eq!([confusion.of(0), confusion.of(1), confusion.of(2)], [&[1, 1, 0], &[0, 2, 1], &[0, 0, 0]]);
        assert_eq!([0, 1, 2].map(|class| (confusion.rows(class), confusion.right(class))), [(2, 1), (3, 2), (0, 0)]);
        assert_eq!((confusion.recall(0), confusion.recall(2)), (Some(0.5), None));
        // The class without rows is left out, and is not 0.
        near(confusion.macro_accuracy(), (0.5 + 2.0 / 3.0) / 2.0, 1e-12);
        assert_eq!((confusion.classes(), confusion.of(3), confusion.recall(3)), (3, &[][..], None));
    }

    #[test]
    fn of_equal_logits_the_lowest_class_is_the_answer() {
        let of = ClassPredictions::new(&[1.0, 2.0, 2.0, 5.0, 5.0, 5.0], &[1, 2], 3).unwrap();
        assert_eq!((of.accuracy(), of.confusion().of(1), of.confusion().of(2)), (Some(0.5), &[0, 1, 0][..], &[1, 0, 0][..]));
    }

    #[test]
    fn large_logits_neither_overflow_nor_vanish() {
        let of = ClassPredictions::new(&[3e38, -3e38, 0.0, -2000.0], &[1, 1], 2).unwrap();
        // The first is 6e38 off, as float32 has 3e38; the second 2000.
        near(of.nll(), (2.0 * f64::from(3e38_f32) + 2000.0) / 2.0, 1e25);
        near(of.ece(), 1.0, 1e-12);
        near(ClassPredictions::new(&[1000.0, 1000.0], &[0], 2).unwrap().nll(), 2f64.ln(), 1e-12);
    }

    #[test]
    fn a_probability_on_an_edge_belongs_to_the_bin_below() {
        // 1/15, 3/15, 10/15 and 15/15 as 15 bins have them, and what is just above an edge.
        assert_eq!([1.0 / 15.0, 0.2, 10.0 / 15.0, 1.0].map(bin), [0, 2, 9, 14]);
        assert_eq!([0.2_f64.next_up(), f64::MIN_POSITIVE, 0.0].map(bin), [3, 0, 0]);
        // Two classes that are as likely: 0.5 is in the bin from 7/15 to 8/15, with what is right and what is wrong.
        near(ClassPredictions::new(&[0.0; 8], &[0, 1, 1, 1], 2).unwrap().ece(), 0.25, 1e-12);
        // Five that are: 0.2 is an edge; beside it 0.21 would be in another bin.
        let mut two = logits(&[0.2; 5]);
        two.extend(logits(&[0.215, 0.2, 0.2, 0.2, 0.185]));
        near(ClassPredictions::new(&two, &[0, 1], 5).unwrap().ece(), (0.8 + 0.215) / 2.0, 1e-6);
    }

    #[test]
    fn what_has_no_softmax_or_no_class_is_refused() {
        let refused = |logits: &[f32], labels: &[u32], classes| ClassPredictions::new(logits, labels, classes).unwrap_err();
        assert_eq!(refused(&[], &[], 0), ClassesError::NoClasses);
        assert_eq!(refused(&[1.0; 5], &[0, 1], 2), ClassesError::Shape { rows: 2, classes: 2, found: 5 });
        assert_eq!(refused(&[1.0; 4], &[0, 2], 2), ClassesError::Label { row: 1, label: 2, classes: 2 });
        assert_eq!(refused(&[1.0, 1.0, 1.0, f32::NAN], &[0, 1], 2), ClassesError::NotFinite { row: 1 });
        assert_eq!(refused(&[f32::INFINITY, 1.0], &[0], 2), ClassesError::NotFinite { row: 0 });
        let none = ClassPredictions::new(&[], &[], 2).unwrap();
        assert_eq!((none.accuracy(), none.nll(), none.ece(), none.confusion().macro_accuracy()), (None, None, None, None));
    }

    /// What numpy and scikit-learn make of the same logits:
    ///
    /// ```python
    /// import numpy as np
    /// from sklearn.metrics import accuracy_score, balanced_accuracy_score, confusion_matrix, log_loss
    /// row, column = np.arange(200)[:, None], np.arange(6)[None, :]
    /// labels = (row[:, 0] * row[:, 0] + 3 * row[:, 0]) % 7 % 6
    /// logits = (((31 * row + 17 * column + row * column * column) % 41) / 8.0 + 2.0 * (column == labels[:, None])).astype(np.float32).astype(np.float64)
    /// p = np.exp(logits - logits.max(1, keepdims=True))
    /// p /= p.sum(1, keepdims=True)
    /// predicted, sure = logits.argmax(1), p.max(1)
    /// bins = np.digitize(sure, np.arange(1, 15) / 15, right=True)
    /// ece = sum(abs(((predicted == labels) - sure)[bins == m].mean()) * (bins == m).mean() for m in np.unique(bins))
    /// print(repr(accuracy_score(labels, predicted)), repr(log_loss(labels, p, labels=range(6))), repr(ece))
    /// print(repr(balanced_accuracy_score(labels, predicted)), len(np.unique(bins)))
    /// print(confusion_matrix(labels, predicted, labels=range(6)).tolist())
    /// ```
    #[test]
    fn measures_are_those_of_scikit_learn() {
        let labels: Vec<u32> = (0..200).map(|row| (row * row + 3 * row) % 7 % 6).collect();
        let logit = |row: u32, column: u32| {
            let own = if column == labels[row as usize] { 2.0 } else { 0.0 };
            ((31 * row + 17 * column + row * column * column) % 41) as f32 / 8.0 + own
        };
        let logits: Vec<f32> =
            (0..200).flat_map(|row| (0..6).map(move |column| (row, column))).map(|(r, c)| logit(r, c)).collect();
        let of = ClassPredictions::new(&logits, &labels, 6).unwrap();
        let confusion = of.confusion();
        for (found, expected) in [of.accuracy(), of.nll(), of.ece(), confusion.macro_accuracy()].into_iter().zip(SCIKIT_LEARN) {
            near(found, expected, 1e-12);
        }
        assert_eq!([0, 1, 2, 3, 4, 5].map(|class| <[u64; 6]>::try_from(confusion.of(class)).unwrap()), CONFUSION);
    }

    const SCIKIT_LEARN: [f64; 4] = [0.485, 1.222_729_370_555_165_6, 0.147_446_079_104_807_12, 0.493_650_613_602_972_9];
    const CONFUSION: [[u64; 6]; 6] =
        [[28, 6, 5, 6, 5, 7], [0; 6], [0; 6], [2, 5, 2, 16, 1, 3], [5, 9, 2, 7, 24, 11], [2, 5, 6, 4, 10, 29]];
}
