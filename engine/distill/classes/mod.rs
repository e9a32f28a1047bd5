//! Networks for tasks with classes: what a student of such a task is made of, from its settings to a batch's logits and back.
//!
//! From the bottom up: `spec` says what a network is; `inputs` and `words` what it reads; `operations` what of its layers is no dense
//! layer; `bag`, `encoder` and `conv` are four networks, a head alone is a fifth; `net` holds what all share: weights, tables, a batch's way through; `model` is a
//! network that is done, and `task` tells the trainer how one is trained.
//!
//! Every network has a low state and a high one, as rating models have, so that methods can compare them and talk through them. The low
//! state has a row a *place*: a token, a patch, a pixel; of a bag of words a row a text. The high state is one row an example, and a dense
//! layer, the head, makes logits of it. The room knows no methods and no optimiser's schedule.

mod bag;
mod conv;
#[cfg(test)]
mod costs;
mod encoder;
mod inputs;
mod model;
pub(crate) mod net;
mod operations;
#[cfg(test)]
mod planted;
mod spec;
#[cfg(test)]
mod streams;
mod task;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod trainings;
mod words;

pub use inputs::{InputShape, Inputs, Pixels, Standard, Texts, Vectors};
pub use model::{ClassTaps, Classifier};
pub use spec::{Bag, Conv, Linear, NetSpec, TextTransformer, Vit, Vocabulary};
pub use task::{ClassData, ClassExamples, ClassPart, Source, train_classes};
pub use words::{TokenCounts, Words};
