//! Networks for tasks with classes: what a student of such a task is made of, from its settings to a batch's logits and back.
//!
//! From the bottom up: `spec` says what a network is; `inputs` and `words` what it reads; `operations` what of its layers is no dense
//! layer; `bag`, `encoder` and `conv` are the four networks; `net` holds what all share: weights, tables, a batch's way through.
//!
//! Every network has a low state and a high one, as rating models have, so that methods can compare them and talk through them. The low
//! state has a row a *place*: a token, a patch, a pixel; of a bag of words a row a text. The high state is one row an example, and a dense
//! layer, the head, makes logits of it. The room knows no methods, no losses and no optimiser's schedule.

mod bag;
mod conv;
mod encoder;
mod inputs;
pub(crate) mod net;
mod operations;
mod spec;
#[cfg(test)]
mod tests;
mod words;

pub use inputs::{InputShape, Inputs, Pixels, Standard, Texts};
pub use spec::{Bag, Conv, NetSpec, TextTransformer, Vit, Vocabulary};
pub use words::Words;
