//! The methods: what a student is trained to do. One list, [`Method`]; one file a method.
//!
//! A method says what it needs of a teacher before anything runs ([`Method::needs`]), whether it can be trained at all
//! ([`Method::check`]), builds its modules, and adds the terms of its loss in every step. It knows neither data files nor optimisers. A new
//! method is a file, a variant, and its arms below.

mod bias_only;
mod bounded;
mod chain;
mod conversation;
mod crd;
mod de;
mod dist;
mod dkd;
mod feature;
mod iakd;
mod label;
mod one_way;
#[cfg(test)]
mod oracle;
#[cfg(test)]
mod oracle_classes;
mod refilled;
mod rkd;
mod scratch;
mod sp;
mod srd;
mod talk;
mod vid;

use serde::{Deserialize, Serialize};

pub use bounded::Bounded;
pub use crd::{Crd, Negatives};
pub use de::{Annealed, De};
pub use dist::Dist;
pub use dkd::Dkd;
pub use feature::Feature;
pub use iakd::IakdAdapter;
pub use label::Label;
pub use one_way::OneWay;
pub use refilled::Refilled;
pub use rkd::Rkd;
pub use sp::Sp;
pub use srd::Srd;
pub use talk::{Beside, Distances, InteractInto, Protocol, QuestionPath, Replies, Talk, Tap, Upper, Weights};
pub use vid::Vid;

use crate::distance::{CORR_ROWS, Distance, compare};
use crate::error::{SpecError, TrainError};
use crate::graph::Graph;
use crate::losses;
use crate::models::student::Dropout;
use crate::models::{ModelSpec, TaskKind};
use crate::objective::{Part, Term};
use crate::ops::{Ops, Var};
use crate::optim::{not_negative, positive};
use crate::params::Params;
use crate::task::{Forward, Interpreter, Targets};
use crate::teacher::{States, TeacherBatch, TeacherNeeds, TeacherSpec, TeacherView, missing};
use crate::trace::Relation;

/// A way to train a student.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// Mean, user bias and item bias alone; whatever deep path the model has is left out. The control that any deep path must beat.
    BiasOnly,
    /// The task alone. Also how a teacher is trained.
    #[default]
    Scratch,
    /// The task and the teacher's predictions (Hinton et al. 2015).
    Label(Label),
    /// The task and the teacher's high state through a projector (FitNets, Romero et al. 2015).
    Feature(Feature),
    /// The teacher as an upper bound (Chen et al. 2017).
    Bounded(Bounded),
    /// The teacher's embeddings, by experts (Kang et al. 2020).
    De(De),
    /// The teacher's predictions of a row's own class, and of the others (Zhao et al. 2022); of classes.
    Dkd(Dkd),
    /// How the teacher's predictions are related over the batch (Huang et al. 2022).
    Dist(Dist),
    /// Which rows are alike (Tung and Mori 2019).
    Sp(Sp),
    /// How far rows are from each other (Park et al. 2019).
    Rkd(Rkd),
    /// How well the teacher's state can be told from the student's (Ahn et al. 2019).
    Vid(Vid),
    /// Who is whose partner (Ye et al. 2020).
    Refilled(Refilled),
    /// A linear projector, normalised, and the logarithm of its errors (Miles and Mikolajczyk 2024).
    Srd(Srd),
    /// Which row's state the teacher's is (Tian et al. 2020); of classes.
    Crd(Crd),
    /// Layers of student and teacher swapped by way of modules (after Fu et al. 2021).
    IakdAdapter(IakdAdapter),
    /// The modules of a talk in one direction: the control with the same kind of extra parameters.
    OneWay(OneWay),
    /// Interactive communication (Zhao et al. 2023).
    Talk(Talk),
}

impl Method {
    /// The method's name, as in settings.
    pub fn name(&self) -> &'static str {
        match self {
            Method::BiasOnly => "bias_only",
            Method::Scratch => "scratch",
            Method::Label(_) => "label",
            Method::Feature(_) => "feature",
            Method::Bounded(_) => "bounded",
            Method::De(_) => "de",
            Method::Dkd(_) => "dkd",
            Method::Dist(_) => "dist",
            Method::Sp(_) => "sp",
            Method::Rkd(_) => "rkd",
            Method::Vid(_) => "vid",
            Method::Refilled(_) => "refilled",
            Method::Srd(_) => "srd",
            Method::Crd(_) => "crd",
            Method::IakdAdapter(_) => "iakd_adapter",
            Method::OneWay(_) => "one_way",
            Method::Talk(_) => "talk",
        }
    }

    /// What the method, with these settings, needs of a teacher; anything else need not be made or loaded.
    pub fn needs(&self) -> TeacherNeeds {
        match self {
            Method::BiasOnly | Method::Scratch => TeacherNeeds::default(),
            Method::Label(_) => label::NEEDS,
            Method::Feature(_) | Method::Sp(_) | Method::Rkd(_) | Method::Vid(_) => HIGH,
            Method::Refilled(_) | Method::Srd(_) | Method::Crd(_) => HIGH,
            Method::Bounded(_) => bounded::NEEDS,
            Method::De(_) => de::NEEDS,
            Method::Dkd(_) => dkd::NEEDS,
            Method::Dist(_) => dist::NEEDS,
            Method::IakdAdapter(_) => iakd::NEEDS,
            Method::OneWay(one_way) => one_way.needs(),
            Method::Talk(talk) => talk.needs(),
        }
    }

    /// Whether the method can train `student` with batches of `batch` rows from `teacher`. A teacher whose model is not known yet is
    /// not looked at; training looks again.
    ///
    /// # Errors
    /// [`SpecError`] says what does not fit, and what to change.
    pub fn check(&self, student: &ModelSpec, teacher: Option<&TeacherSpec>, batch: usize) -> Result<(), SpecError> {
        self.check_task(student)?;
        self.check_predictions(student, teacher)?;
        match self {
            Method::BiasOnly => bias_only::check(student),
            Method::Scratch => Ok(()),
            Method::Label(label) => label.check(student),
            Method::Feature(feature) => feature.check(student, teacher, batch),
            Method::Bounded(bounded) => bounded.check(),
            Method::De(de) => de.check(student, teacher, batch),
            Method::Dkd(dkd) => dkd.check(),
            Method::Dist(dist) => dist.check(student, batch),
            Method::Sp(sp) => sp.check(student, teacher),
            Method::Rkd(rkd) => rkd.check(student, teacher),
            Method::Vid(vid) => vid.check(student, teacher),
            Method::Refilled(refilled) => refilled.check(student, teacher),
            Method::Srd(srd) => srd.check(student, teacher, batch),
            Method::Crd(crd) => crd.check(student, teacher, batch),
            Method::IakdAdapter(iakd) => iakd.check(student, teacher, batch),
            Method::OneWay(one_way) => one_way.check(student, teacher, batch),
            Method::Talk(talk) => talk.check("talk", student, teacher, batch),
        }
    }

    /// Refuses a student whose predictions are none that the method is about.
    fn check_task(&self, student: &ModelSpec) -> Result<(), SpecError> {
        let about = match self {
            Method::BiasOnly | Method::Bounded(_) | Method::De(_) => Some(TaskKind::Ratings),
            Method::Dkd(_) | Method::Crd(_) => Some(TaskKind::Classes),
            _ => None,
        };
        let (needs, advice) = match about {
            Some(about) if about == student.task() => return Ok(()),
            None => return Ok(()),
            Some(TaskKind::Ratings) => ("a student that predicts ratings", "use another method, such as `scratch` or `label`"),
            Some(TaskKind::Classes) => ("a student that predicts classes", "use another method, such as `scratch` or `label`"),
        };
        let has = format!("other predictions (model `{}`)", student.name());
        Err(SpecError::Model { method: self.name(), needs, who: "student", has, advice })
    }

    /// Refuses an encoder where the teacher's own ratings are learnt from. Of classes a probe predicts in its place.
    fn check_predictions(&self, student: &ModelSpec, teacher: Option<&TeacherSpec>) -> Result<(), SpecError> {
        let silent = matches!(teacher, Some(TeacherSpec::Encoder { .. })) && student.task() == TaskKind::Ratings;
        if !(silent && self.needs().output) {
            return Ok(());
        }
        let advice = match self {
            Method::Talk(_) => "leave `weights.label` out",
            _ => "use a method that learns from states, such as `feature`, `one_way` or `talk`",
        };
        let has = "only states (an encoder predicts no ratings)".to_owned();
        Err(SpecError::Model { method: self.name(), needs: "a teacher that predicts ratings", who: "teacher", has, advice })
    }

    /// The terms of its loss, in the order of the curves' columns.
    pub fn terms(&self) -> Vec<Term> {
        let mut terms = vec![Term::Task];
        match self {
            Method::BiasOnly | Method::Scratch => {}
            Method::Label(_) => terms.push(Term::Label),
            Method::Feature(_) => terms.push(Term::Feature),
            Method::Bounded(_) => terms.push(Term::Bounded),
            Method::De(_) => terms.push(Term::De),
            Method::Dkd(dkd) => terms.extend(dkd.terms()),
            Method::Dist(_) => terms.push(Term::Dist),
            Method::Sp(_) => terms.push(Term::Sp),
            Method::Rkd(_) => terms.push(Term::Rkd),
            Method::Vid(_) => terms.push(Term::Vid),
            Method::Refilled(_) => terms.push(Term::Refilled),
            Method::Srd(_) => terms.push(Term::Srd),
            Method::Crd(_) => terms.push(Term::Crd),
            Method::IakdAdapter(_) => terms.push(Term::Swapped),
            Method::OneWay(_) => terms.push(Term::StudentState),
            Method::Talk(talk) => terms.extend(talk.terms()),
        }
        terms.sort_unstable();
        terms
    }

    /// Whether the teacher is asked anything while training.
    pub(crate) fn converses(&self) -> bool {
        matches!(self, Method::Talk(talk) if talk.converses())
    }

    /// The method in its dearest step, where steps differ.
    pub(crate) fn dearest(&self) -> Method {
        match self {
            Method::IakdAdapter(iakd) => Method::IakdAdapter(IakdAdapter { probability: 1.0, ..iakd.clone() }),
            _ => self.clone(),
        }
    }

    /// The model that is really trained where `model` is asked for.
    pub fn trained_model(&self, model: &ModelSpec) -> ModelSpec {
        match self {
            Method::BiasOnly => bias_only::model(model),
            _ => model.clone(),
        }
    }

    /// Builds what the method needs in training; its modules' weights go into `modules`.
    pub(crate) fn learner<D: Ops>(
        &self,
        device: &D,
        student: &ModelSpec,
        teacher: &TeacherView<'_>,
        seed: u64,
        modules: &mut Params<D>,
    ) -> Result<Box<dyn Learner<D>>, TrainError> {
        Ok(match self {
            Method::BiasOnly | Method::Scratch => Box::new(scratch::Scratch),
            Method::Label(label) => Box::new(label.clone()),
            Method::Feature(feature) => Box::new(feature.build(student, teacher, seed, modules)?),
            Method::Bounded(bounded) => Box::new(bounded.clone()),
            Method::De(de) => Box::new(de.build(student, teacher, seed, modules)?),
            Method::Dkd(dkd) => Box::new(dkd.clone()),
            Method::Dist(dist) => Box::new(dist.clone()),
            Method::Sp(sp) => Box::new(sp.clone()),
            Method::Rkd(rkd) => Box::new(rkd.clone()),
            Method::Vid(vid) => Box::new(vid.build(student, teacher, seed, modules)?),
            Method::Refilled(refilled) => Box::new(refilled.clone()),
            Method::Srd(srd) => Box::new(srd.build(student, teacher, seed, modules)?),
            Method::Crd(crd) => Box::new(crd.build(student, teacher, seed, modules)?),
            Method::IakdAdapter(iakd) => Box::new(iakd.build(device, student, teacher, seed, modules)?),
            Method::OneWay(one_way) => Box::new(one_way.as_talk().build(
                device,
                one_way.module_hidden(student, teacher)?,
                student,
                teacher,
                seed,
                modules,
            )?),
            Method::Talk(talk) => Box::new(talk.build(device, talk.module_hidden, student, teacher, seed, modules)?),
        })
    }
}

/// A method, built: adds its terms to every step's loss.
pub(crate) trait Learner<D: Ops> {
    fn terms(&self, step: &mut Step<'_, D>) -> Result<(), D::Err>;
}

/// One training step, seen from a method: the batch forward, the teacher's features, and the loss as it grows.
pub(crate) struct Step<'a, D: Ops> {
    pub(crate) graph: &'a mut Graph<D>,
    pub(crate) student: &'a dyn Interpreter<D>,
    pub(crate) modules: &'a Params<D>,
    pub(crate) forward: &'a Forward<D>,
    pub(crate) targets: Targets<'a>,
    pub(crate) teacher: &'a TeacherBatch<D>,
    pub(crate) dropout: Dropout,
    /// Epochs done when this step is, with fractions.
    pub(crate) progress: f64,
    /// The loss so far.
    pub(crate) parts: Vec<Part>,
    /// Mean squared error of the teacher's low state as decoded from the first question.
    pub(crate) decoded: Option<f64>,
}

impl<D: Ops> Step<'_, D> {
    /// Adds the task's loss.
    pub(crate) fn task(&mut self) {
        self.task_of(Term::Task, &self.forward.output);
    }

    /// Adds the task's loss of other predictions than the student's own: the squared error against ratings, the cross-entropy of classes.
    pub(crate) fn task_of(&mut self, term: Term, output: &Var<D>) {
        let targets = self.targets;
        let classes = output.cols();
        self.loss(term, 1.0, output, |made, gradient| match targets {
            Targets::Ratings(ratings) => compare(Distance::Mse, (made, ratings), 1, None, 1.0, [Some(gradient), None]),
            Targets::Classes(labels) => losses::cross_entropy(made, labels, classes, 1.0, gradient),
        });
    }

    /// Adds the error against the teacher's predictions: of ratings the squared one, of classes the divergence at a temperature.
    pub(crate) fn label(&mut self, weight: f64, temperature: Option<f64>) {
        let (teacher, forward, targets) = (self.teacher, self.forward, self.targets);
        let Some(output) = &teacher.output else { return };
        let classes = forward.output.cols();
        self.loss(Term::Label, weight, &forward.output, |made, gradient| match targets {
            Targets::Ratings(_) => compare(Distance::Mse, (made, output), 1, None, weight, [Some(gradient), None]),
            Targets::Classes(_) => {
                losses::divergence((made, output), classes, temperature.unwrap_or(label::TEMPERATURE), weight, gradient)
            }
        });
    }

    /// Adds the distance of two batches of states, with gradients to those that want one.
    pub(crate) fn distance(
        &mut self,
        term: Term,
        weight: f64,
        distance: Distance,
        (a, b): (&Var<D>, &Var<D>),
        frozen: Option<&[f32]>,
    ) {
        let pool = self.graph.pool();
        let mut gradients = [a, b].map(|side| side.wanted.then(|| pool.take(side.rows() * side.cols())));
        let into = gradients.each_mut().map(|gradient| gradient.as_deref_mut());
        let value = compare(distance, (&a.host(), &b.host()), a.cols(), frozen, weight, into);
        for (side, gradient) in [a, b].into_iter().zip(gradients) {
            if let Some(gradient) = gradient {
                self.graph.seed(side, gradient);
            }
        }
        self.add(term, weight, value);
    }

    /// Adds a loss of one batch of states or predictions. `loss` gives its value, and writes its gradient, already times `weight`.
    pub(crate) fn loss(&mut self, term: Term, weight: f64, of: &Var<D>, loss: impl FnOnce(&[f32], &mut [f32]) -> f64) {
        let mut gradient = self.graph.pool().take(of.rows() * of.cols());
        let value = loss(&of.host(), &mut gradient);
        self.graph.seed(of, gradient);
        self.add(term, weight, value);
    }

    /// The same of relations among rows, by the student's high state beside the teacher's: `loss` gets both, the width of each, and where
    /// the gradient goes; `cost` tells from the number of rows and both widths what a row costs. Nothing where either has no state.
    fn relations(
        &mut self,
        term: Term,
        weight: f64,
        cost: impl FnOnce(u64, [u64; 2]) -> Relation,
        loss: impl FnOnce((&[f32], &[f32]), (usize, usize), &mut [f32]) -> f64,
    ) {
        let (forward, teacher) = (self.forward, self.teacher);
        let (Some(deep), Some(target)) = (&forward.deep, &teacher.high) else { return };
        let (widths, target) = ((deep.high.cols(), target.cols()), target.host());
        if let Some(trace) = self.graph.trace() {
            trace.related(|rows| cost(rows, [widths.0 as u64, widths.1 as u64]));
        }
        self.loss(term, weight, &deep.high, |made, gradient| loss((made, &target), widths, gradient));
    }

    fn add(&mut self, term: Term, weight: f64, value: f64) {
        match self.parts.iter_mut().find(|part| part.term == term) {
            Some(part) => part.value += value,
            None => self.parts.push(Part { term, weight, value }),
        }
    }

    /// How much of its weight a term has: rises linearly to 1 over `warm_up` epochs.
    pub(crate) fn ramp(&self, warm_up: f64) -> f64 {
        if warm_up > 0.0 { (self.progress / warm_up).min(1.0) } else { 1.0 }
    }
}

/// Refuses correlations over batches that are too small for them.
fn check_corr(method: &'static str, distance: Distance, batch: usize) -> Result<(), SpecError> {
    if distance == Distance::Corr && batch < CORR_ROWS {
        return Err(SpecError::Contradiction {
            method,
            what: format!("a correlation over batches of {batch} rows"),
            advice: "use batches of at least 8 rows, or the distance `cosine` or `layernorm_mse`",
        });
    }
    Ok(())
}

/// Refuses a temperature that is out of range, or that nothing has.
fn check_temperature(method: &'static str, temperature: Option<f64>, student: &ModelSpec) -> Result<(), SpecError> {
    let Some(temperature) = temperature else { return Ok(()) };
    positive("temperature", temperature)?;
    if student.task() == TaskKind::Ratings {
        return Err(SpecError::Contradiction {
            method,
            what: "a temperature of ratings, which have no probabilities".to_owned(),
            advice: "leave `temperature` out",
        });
    }
    Ok(())
}

/// Refuses a student without states.
fn check_states(method: &'static str, student: &ModelSpec) -> Result<(), SpecError> {
    if student.high_width().is_none() {
        return Err(SpecError::Model {
            method,
            needs: "a student with hidden states",
            who: "student",
            has: format!("none (model `{}`)", student.name()),
            advice: "give the student an `ncf` model",
        });
    }
    Ok(())
}

/// What a method needs that learns from the teacher's high state alone.
const HIGH: TeacherNeeds = TeacherNeeds { high: true, ..TeacherNeeds::NONE };

/// What can be wrong with such a method, whatever else it has.
fn check_high(
    method: &'static str,
    (weight, warm_up): (f64, f64),
    student: &ModelSpec,
    teacher: Option<&TeacherSpec>,
) -> Result<(), SpecError> {
    positive("weight", weight)?;
    not_negative("warm_up", warm_up)?;
    check_states(method, student)?;
    feature::check_teacher_high(method, teacher)
}

/// The width of the student's high state, and the teacher's high states.
fn high_ends<'t, 'a>(student: &ModelSpec, teacher: &'t TeacherView<'a>) -> Result<(usize, &'t States<'a>), TrainError> {
    student.high_width().zip(teacher.high.as_ref()).ok_or_else(|| missing("high states"))
}
