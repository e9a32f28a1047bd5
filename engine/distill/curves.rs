//! Columns of numbers, one row an epoch.

/// What a training was like, epoch by epoch. The first column is `epoch`, from 1; missing values are NaN.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Curves {
    columns: Vec<(String, Vec<f64>)>,
}

impl Curves {
    /// Empty columns of these names.
    pub(crate) fn new(names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Curves { columns: names.into_iter().map(|name| (name.into(), Vec::new())).collect() }
    }

    /// Names and values of the columns, in order; all of one length.
    pub fn columns(&self) -> &[(String, Vec<f64>)] {
        &self.columns
    }

    /// A column by name.
    pub fn column(&self, name: &str) -> Option<&[f64]> {
        self.columns.iter().find(|(column, _)| column == name).map(|(_, values)| values.as_slice())
    }

    /// How many epochs there are.
    pub fn epochs(&self) -> usize {
        self.columns.first().map_or(0, |(_, values)| values.len())
    }

    /// Adds an epoch: one value a column.
    pub(crate) fn push(&mut self, row: &[f64]) {
        debug_assert_eq!(row.len(), self.columns.len());
        for ((_, values), value) in self.columns.iter_mut().zip(row) {
            values.push(*value);
        }
    }

    /// Replaces a column's values, in resuming.
    pub(crate) fn restore(&mut self, index: usize, values: Vec<f64>) {
        self.columns[index].1 = values;
    }
}
