//! What training reads: rated rows, tables' sizes, the scale of ratings. Knows no files.

use serde::{Deserialize, Serialize};

use crate::batches::batches;
use crate::config::TrainConfig;
use crate::error::TrainError;

/// Rated pairs, one entry a row; all columns of one length.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Examples {
    /// The row's id in the data set, by which a teacher's features are found.
    pub row: Vec<u32>,
    /// Dense index of the user.
    pub user: Vec<u32>,
    /// Dense index of the item.
    pub item: Vec<u32>,
    /// The rating.
    pub rating: Vec<f32>,
}

impl Examples {
    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.row.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.row.is_empty()
    }
}

/// The range of ratings.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scale {
    /// The least rating there is.
    pub min: f32,
    /// The greatest rating there is; above `min`.
    pub max: f32,
}

/// What a training reads.
#[derive(Clone, Copy, Debug)]
pub struct TaskData<'a> {
    /// Rows that weights are fitted to.
    pub train: &'a Examples,
    /// Rows that epochs are judged by.
    pub validation: &'a Examples,
    /// Rows of the user table: one more than the greatest index there can be.
    pub users: usize,
    /// Rows of the item table.
    pub items: usize,
    /// The range of ratings.
    pub scale: Scale,
}

impl TaskData<'_> {
    /// Whether these rows can be trained on, with this configuration.
    pub(crate) fn check(&self, config: &TrainConfig) -> Result<(), TrainError> {
        let data = self;
        let wrong = |what: String, advice| Err(TrainError::Data { what, advice });
        for (name, examples) in [("train", data.train), ("validation", data.validation)] {
            let n = examples.len();
            if n == 0 {
                return wrong(
                    format!("there are no {name} rows"),
                    "choose rows that are there in every part, or other fractions of the split",
                );
            }
            if [examples.user.len(), examples.item.len(), examples.rating.len()] != [n; 3] {
                return wrong(
                    format!("the columns of the {name} rows differ in length"),
                    "give each row an id, a user, an item and a rating",
                );
            }
            let outside = |indices: &[u32], count: usize| indices.iter().any(|&index| index as usize >= count);
            if outside(&examples.user, data.users) || outside(&examples.item, data.items) {
                return wrong(
                    format!("a {name} row has a user or an item outside of the tables"),
                    "number users and items densely from 0",
                );
            }
            if examples.rating.iter().any(|rating| !rating.is_finite()) {
                return wrong(format!("a {name} row has a rating that is not a finite number"), "correct or drop the row");
            }
        }
        let Scale { min, max } = data.scale;
        if !(min.is_finite() && max.is_finite()) || min >= max {
            return wrong(
                format!("the rating scale {} to {} is empty", data.scale.min, data.scale.max),
                "give a least rating below the greatest",
            );
        }
        // A correlation is refused for small batches; so are so few rows that they make no larger one.
        let smallest = data.train.len() / batches(data.train.len(), config.batch);
        config.method.check(&config.model, None, smallest)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test may panic")]
    use super::*;
    use crate::testing::{ITEMS, SCALE, Task, USERS, config};
    use crate::{DeviceKind, train};

    #[test]
    fn data_that_cannot_be_trained_on_is_refused() {
        let change = |change: &dyn Fn(&mut Task)| {
            let mut task = Task::new();
            change(&mut task);
            let error = train(&config(), &task.data(), None, DeviceKind::Cpu, &mut ()).unwrap_err();
            error.to_string()
        };
        for (message, part) in [
            (change(&|task| task.train = Examples::default()), "there are no train rows"),
            (change(&|task| task.validation = Examples::default()), "there are no validation rows"),
            (change(&|task| task.train.rating.push(1.0)), "differ in length"),
            (change(&|task| task.train.user[0] = USERS as u32), "outside of the tables"),
            (change(&|task| task.validation.item[0] = ITEMS as u32), "a validation row has"),
            (change(&|task| task.train.rating[3] = f32::NAN), "not a finite number"),
        ] {
            assert!(message.contains(part), "{message}");
        }
        let task = Task::new();
        let data = TaskData { scale: Scale { min: 5.0, ..SCALE }, ..task.data() };
        let error = train(&config(), &data, None, DeviceKind::Cpu, &mut ()).unwrap_err();
        assert!(error.to_string().contains("the rating scale 5 to 5"), "{error}");
    }
}
