//! Everything in talkflow that learns. Knows no engine, no data sets and no manifests: plain numbers go in, a trained model comes out.
//!
//! From the bottom up:
//!
//! - `random`, `tensors`, [`metrics`], `losses`: streams, named tensors, measures;
//! - [`Augment`]: images changed at random before they are learnt from;
//! - `gpu`, `ops`, `graph`, `params`, `table`, [`Optimizer`]: what differs between devices, a batch's forward and backward pass, weights and their updates;
//! - `models`, [`RatingModel`]: rating models while they are trained, and when they are done;
//! - [`Distance`], `modules`, [`TeacherUpper`]: what methods are made of;
//! - [`Method`]: the list of methods, one file each;
//! - `task`: what the trainer knows of ratings and classes;
//! - `trace`, [`step_cost`]: what a step costs, from its shapes;
//! - [`train`]: the loop, with monitors, curves and checkpoints;
//! - [`NetSpec`], [`Inputs`], [`Words`]: networks for tasks with classes, over texts and images;
//! - [`Transformer`]: foundation models for texts and images, frozen, with their upper layers live.
//!
//! A training in one piece: [`TrainConfig::check`] refuses what cannot be trained; [`train`] builds a student and the method's modules,
//! then for each batch gathers embeddings on the host, runs dense layers on the device, lets the method add its terms, goes back, and moves
//! the weights; after each epoch it validates and keeps the best weights, which become the [`RatingModel`].

mod augment;
mod batches;
mod checkpoint;
mod cka;
#[cfg_attr(not(test), expect(dead_code, reason = "what trains these networks is not here yet"))]
mod classes;
mod config;
mod cost;
mod curves;
mod data;
mod device;
mod distance;
mod error;
#[cfg(feature = "cuda")]
mod gpu;
mod graph;
mod io;
mod losses;
mod methods;
pub mod metrics;
mod model;
mod models;
mod modules;
mod monitor;
mod objective;
mod ops;
mod optim;
mod params;
mod random;
mod ranking;
#[cfg(all(test, feature = "cuda-check"))]
mod standin;
mod stream;
mod table;
mod task;
mod teacher;
mod tensors;
#[cfg(test)]
mod testing;
mod trace;
mod trainer;
mod transformer;

pub use augment::{Augment, ImageShape};
pub use cka::linear_cka;
pub use classes::{
    Bag, ClassData, ClassExamples, ClassPart, ClassTaps, Classifier, Conv, InputShape, Inputs, Linear, NetSpec, Pixels, Source,
    Standard, TextTransformer, Texts, TokenCounts, Vectors, Vit, Vocabulary, Words, train_classes,
};
pub use config::{Kept, TrainConfig};
pub use cost::{Cost, StepCost, step_cost};
pub use curves::Curves;
pub use data::{Examples, Scale, TaskData};
pub use device::DeviceKind;
pub use distance::{CORR_ROWS, Distance};
pub use error::{ModelError, SpecError, TrainError};
pub use io::{Earlier, Progress, TrainIo};
pub use methods::{
    Annealed, Beside, Bounded, Crd, De, Dist, Distances, Dkd, Feature, IakdAdapter, InteractInto, Label, Method, Negatives,
    OneWay, Protocol, QuestionPath, Refilled, Replies, Rkd, Sp, Srd, Talk, Tap, Upper, Vid, Weights,
};
pub use model::{Predictions, RatingModel, Taps};
pub use models::{Mf, ModelSpec, Ncf, TaskKind, Wide};
pub use monitor::{COLLAPSED, Monitor};
pub use objective::Term;
pub use optim::{Adam, Course, Decay, Optimizer, Schedule, Sgd};
pub use ranking::Rank;
pub use stream::{RowFeatures, RowTokens, Shard, Shards, Stream};
pub use task::Measure;
pub use teacher::{By, States, TeacherNeeds, TeacherSpec, TeacherUpper, TeacherView, TokenStates, means, variances};
pub use trainer::{Trained, train};
pub use transformer::{
    CHARACTER_TOKENS, Family, Hidden, IMAGENET, Images, Pooling, Reads, Tokenizer, Tokens, Transformer, TransformerConfig,
    TransformerError, TransformerFiles, TransformerUpper, Until, tokenizer_of_characters,
};
