//! What training reads: rated rows, tables' sizes, the scale of ratings. Knows no files.

use serde::{Deserialize, Serialize};

use crate::batches::batches;
use crate::config::TrainConfig;
use crate::device::failed;
use crate::error::{ModelError, TrainError};
use crate::metrics::{mae, rmse};
use crate::model::{RatingModel, clip};
use crate::models::student::{CHUNK, Student};
use crate::models::{ModelSpec, TaskKind};
use crate::monitor::Monitor;
use crate::ops::Ops;
use crate::task::{Judged, Measure, Sizes, Targets, Task};
use crate::tensors::Tensors;

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

/// Rated pairs of a batch.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pairs {
    pub(crate) users: Vec<u32>,
    pub(crate) items: Vec<u32>,
    pub(crate) ratings: Vec<f32>,
}

/// The entries of a column at some places.
pub(crate) fn pick<T: Copy>(column: &[T], places: &[u32], into: &mut Vec<T>) {
    into.clear();
    into.extend(places.iter().map(|&at| column[at as usize]));
}

impl Task for TaskData<'_> {
    type Batch = Pairs;
    type Body<D: Ops> = Student<D>;
    type Model = RatingModel;

    fn check(&self, config: &TrainConfig) -> Result<(), TrainError> {
        let data = self;
        let wrong = |what: String, advice| Err(TrainError::Data { what, advice });
        if config.model.task() != TaskKind::Ratings {
            let what = format!("a model `{}` predicts classes, and these rows have ratings", config.model.name());
            return wrong(what, "take an `ncf` or `mf` model");
        }
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

    fn measure(&self) -> Measure {
        Measure::Rmse
    }

    fn train_rows(&self) -> &[u32] {
        &self.train.row
    }

    fn train_items(&self) -> Option<&[u32]> {
        Some(&self.train.item)
    }

    fn outputs(&self) -> usize {
        1
    }

    fn words(&self, column: &mut dyn FnMut(&mut dyn Iterator<Item = u32>)) {
        for examples in [self.train, self.validation] {
            let Examples { row, user, item, rating } = examples;
            for words in [row, user, item] {
                column(&mut words.iter().copied());
            }
            column(&mut rating.iter().map(|rating| rating.to_bits()));
        }
        column(&mut [self.users as u32, self.items as u32].into_iter());
        column(&mut [self.scale.min, self.scale.max].into_iter().map(f32::to_bits));
    }

    fn columns(&self, spec: &ModelSpec) -> Vec<&'static str> {
        let mut columns = vec!["validation_rmse", "validation_mae"];
        if spec.high_width().is_some() {
            columns.extend(["deep_sd", "deep_share"]);
        }
        columns
    }

    fn fresh<D: Ops>(&self, device: &D, spec: &ModelSpec, seed: u64) -> Result<Student<D>, D::Err> {
        Student::fresh(device, spec, seed, (self.users, self.items), self.train)
    }

    fn import<D: Ops>(&self, device: &D, spec: &ModelSpec, weights: &Tensors) -> Result<Student<D>, ModelError> {
        Student::import(device, spec, weights)
    }

    fn pick(&self, _: &ModelSpec, places: &[u32], _: (u64, usize), batch: &mut Pairs) -> Result<(), TrainError> {
        pick(&self.train.user, places, &mut batch.users);
        pick(&self.train.item, places, &mut batch.items);
        pick(&self.train.rating, places, &mut batch.ratings);
        Ok(())
    }

    fn targets(batch: &Pairs) -> Targets<'_> {
        Targets::Ratings(&batch.ratings)
    }

    fn judge<D: Ops>(&self, student: &Student<D>) -> Result<Judged, TrainError> {
        let Examples { user, item, rating, .. } = self.validation;
        let some = |indices: &[u32]| indices.iter().copied().map(Some).collect::<Vec<_>>();
        let raw = student.predict(&some(user), &some(item)).map_err(failed::<D>)?;
        // Clipping hides an infinity, so what is clipped is looked at.
        let unclipped = raw.ratings.clone();
        let predictions = clip(raw, self.scale);
        let error = rmse(&predictions.ratings, rating).unwrap_or(f64::NAN);
        let monitor = Monitor::of(&predictions, &unclipped, self.scale, student.spec.high_width().is_some());
        let mut columns = vec![error, mae(&predictions.ratings, rating).unwrap_or(f64::NAN)];
        columns.extend([monitor.deep_sd, monitor.deep_share].into_iter().flatten());
        let not_finite = unclipped.into_iter().find(|value| !value.is_finite());
        Ok(Judged { error, columns, monitor, not_finite })
    }

    fn model(&self, spec: ModelSpec, weights: Tensors) -> Result<RatingModel, ModelError> {
        RatingModel::new(spec, self.scale, weights)
    }

    fn sizes(&self, spec: &ModelSpec) -> Sizes {
        let (users, items) = (self.users as u64, self.items as u64);
        // The embedding and the bias term.
        let width = 1 + spec.embedding().unwrap_or(0) as u64;
        Sizes {
            tables: (users + items) * width,
            touched: [(users, width), (items, width)],
            looked_up: [1, 1],
            // User, item, rating.
            read: 3,
            // Row, user, item, rating, and the place in the epoch's order.
            data: self.train.len() as u64 * 5 + self.validation.len() as u64 * 4,
            validated: self.validation.len().min(CHUNK) as u64,
        }
    }

    fn sample<D: Ops>(&self, device: &D, spec: &ModelSpec, seed: u64) -> Result<(Student<D>, Pairs), D::Err> {
        let example = Examples { row: vec![0], user: vec![0], item: vec![0], rating: vec![0.0] };
        let student = Student::fresh(device, spec, seed, (1, 1), &example)?;
        Ok((student, Pairs { users: example.user, items: example.item, ratings: example.rating }))
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
