//! `talk`: distillation by interactive communication (Zhao et al., *Talking Models: Distill Pre-trained Knowledge to Downstream
//! Models via Interactive Communication*, arXiv 2310.03188).
//!
//! A frozen teacher T and a student S, each split at a low state (after the first dense layer) and a high state (before the last):
//! t_h = up_T(t_l), s_h = up_S(s_l). Four modules, an encoder and a decoder a model, speak a common message space. One round of
//! the protocol `circular`, with u_0 = s_h:
//!
//! ```text
//! q_r = E_S(u_{r-1})   a_r = D_T(q_r)   b_r = up_T(a_r)   c_r = E_T(b_r)   e_r = D_S(c_r)   u_r = up_S(e_r)
//! ```
//!
//! and of `ask_answer`, with c_0 = 0:
//!
//! ```text
//! q_r = E_S([s_l ; c_{r-1}])   a_r = D_T(q_r)   b_r = up_T(a_r)   c_r = E_T(b_r)   u_r = D_S(c_r)
//! ```
//!
//! (with one round, q_1 = E_S(s_l)). Both are one conversation with different taps: where the student encodes and where it decodes.
//!
//! ```text
//! loss = task + w_interact sum_r d(s_h, u_r) + w_message d(q_1, c_1) + w_state d(a_1, t_l)
//!      + w_student_state d(s_*, D_S(E_T(t_h))) + w_label (yhat - z)^2
//! ```
//!
//! A model that reads sequences, such as a transformer, has a low state of tokens; its high state is what a head reads of them, one row a
//! sequence. There a message is `tokens` message tokens of m numbers each: an encoder makes them all of a high state, a decoder into a low state
//! makes each a token of that model's width, and the layers above run on these tokens alone or on the row's own behind them. The distance of
//! a decoded low state from the teacher's own is then one of their means over tokens, and a question of `ask_answer` is made of that mean.
//!
//! The teacher's weights get no gradient, but the gradient passes through up_T to its input. Without rounds only the last
//! two terms are left, which is one-way distillation.

use serde::{Deserialize, Serialize};

use super::feature::check_teacher_high;
use super::{TeacherNeeds, check_corr, check_states, check_temperature};
use crate::distance::Distance;
use crate::error::SpecError;
use crate::models::ModelSpec;
use crate::objective::Term;
use crate::optim::{at_least_one, not_negative};
use crate::teacher::TeacherSpec;

/// Settings of `talk`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Talk {
    /// Who reads and writes where. Default `circular`.
    pub protocol: Protocol,
    /// Rounds k of question and answer; 0 leaves one-way distillation. Default 1.
    pub rounds: usize,
    /// Width m of a message, or of each of its tokens, at least 1. Default 16.
    pub message_dim: usize,
    /// Message tokens, at least 1; more than one only where the teacher reads sequences. Default 1.
    pub tokens: usize,
    /// What a teacher that reads sequences interprets a message beside. Default nothing.
    pub beside: Beside,
    /// Hidden width of the modules, at least 1; none: the larger of a module's two ends. Default none.
    pub module_hidden: Option<usize>,
    /// Weights of the terms.
    pub weights: Weights,
    /// Distances of the terms.
    pub distances: Distances,
    /// Whether the gradient flows into the student's state that a question is made of. Default `open`.
    pub question_path: QuestionPath,
    /// Where the interaction term sends gradient. Default `both`.
    pub interact_into: InteractInto,
    /// The student's state that the student-side state term compares. Default `high`.
    pub student_state_into: Tap,
    /// Who gets which reply. Default `own`.
    pub replies: Replies,
    /// The layers with which the teacher interprets. Default `frozen`.
    pub upper: Upper,
    /// The temperature of the label term, as in `label`.
    pub temperature: Option<f64>,
    /// Epochs over which all weights but the task's rise from 0; at least 0. Default 0.
    pub warm_up: f64,
}

impl Default for Talk {
    fn default() -> Self {
        Talk {
            protocol: Protocol::default(),
            rounds: 1,
            message_dim: 16,
            tokens: 1,
            beside: Beside::default(),
            module_hidden: None,
            weights: Weights::default(),
            distances: Distances::default(),
            question_path: QuestionPath::default(),
            interact_into: InteractInto::default(),
            student_state_into: Tap::High,
            replies: Replies::default(),
            upper: Upper::default(),
            temperature: None,
            warm_up: 0.0,
        }
    }
}

/// Weights of the terms beside the task's, whose weight is 1; each at least 0. A term of weight 0 is not computed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Weights {
    /// w1: the student's high state and what it made of each reply. Default 0.1.
    pub interact: f64,
    /// w2: message consistency. Default 0.1.
    pub message: f64,
    /// w3: state consistency on the teacher's side. Default 0.1.
    pub state: f64,
    /// w3': state consistency on the student's side. Default 0.
    pub student_state: f64,
    /// The teacher's predictions, as in `label`. Default 0.
    pub label: f64,
}

impl Default for Weights {
    fn default() -> Self {
        Weights { interact: 0.1, message: 0.1, state: 0.1, student_state: 0.0, label: 0.0 }
    }
}

/// The distance of each term. `mse_frozen_std` is for `state` alone: no other term has a state of the cached teacher on one side.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Distances {
    /// Default `corr`.
    pub interact: Distance,
    /// Default `corr`.
    pub message: Distance,
    /// Default `mse_frozen_std`.
    pub state: Distance,
    /// Default `corr`.
    pub student_state: Distance,
}

impl Default for Distances {
    fn default() -> Self {
        Distances {
            interact: Distance::Corr,
            message: Distance::Corr,
            state: Distance::MseFrozenStd,
            student_state: Distance::Corr,
        }
    }
}

/// Who reads and writes where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// Osgood and Schramm's circle: the student encodes its high state, decodes into its low state, and interprets the
    /// answer with its own layers.
    #[default]
    Circular,
    /// The student asks with its low state (and the last answer), and decodes the answer into its high state.
    AskAnswer,
}

impl Protocol {
    /// The student's state that answers are decoded into.
    pub(super) fn decodes(self) -> Tap {
        match self {
            Protocol::Circular => Tap::Low,
            Protocol::AskAnswer => Tap::High,
        }
    }
}

/// What the teacher's layers run on beside the message tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Beside {
    /// On nothing else: message tokens stand in place of the row's own, and a step costs as little as they are few.
    #[default]
    Nothing,
    /// Message tokens stand before the tokens of the row's own low state, and the reply is the mean of what becomes of them.
    Input,
}

/// Whether gradients flow from the conversation into the student's own state that questions are made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QuestionPath {
    /// They do.
    #[default]
    Open,
    /// They do not: s_h in the first round of `circular`, s_l in every round of `ask_answer`.
    Stop,
}

/// Where the gradient of the interaction term d(s_h, u_r) goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InteractInto {
    /// Into s_h, the question, the student's layers inside of the reply, and the modules.
    #[default]
    Both,
    /// Into s_h as the target alone. The modules then learn from the consistency terms only.
    Student,
    /// Into the modules alone.
    Modules,
}

/// One of a model's two states.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tap {
    /// After the first dense layer.
    Low,
    /// Before the last layer.
    #[default]
    High,
}

/// Who gets which reply of the teacher.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Replies {
    /// Each row its own.
    #[default]
    Own,
    /// Each row that of another, drawn anew in every step and round: a control. What still helps is not what the teacher says of the row.
    Shuffled,
}

/// The layers with which the teacher interprets a question.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Upper {
    /// Its own, frozen.
    #[default]
    Frozen,
    /// As many and as wide, with fresh weights that are trained with the modules: a control. What still helps is not the teacher's knowledge.
    Trainable,
}

impl Talk {
    pub(super) fn needs(&self) -> TeacherNeeds {
        let talks = self.converses();
        TeacherNeeds {
            low: talks,
            high: self.weights.student_state > 0.0,
            output: self.weights.label > 0.0,
            tokens: talks && self.beside == Beside::Input,
            upper_layers: talks,
            ..TeacherNeeds::NONE
        }
    }

    /// Whether there is any conversation to be had.
    pub(super) fn converses(&self) -> bool {
        let weights = &self.weights;
        self.rounds > 0 && (weights.interact > 0.0 || weights.message > 0.0 || weights.state > 0.0)
    }

    /// The terms beside the task's.
    pub(super) fn terms(&self) -> impl Iterator<Item = Term> {
        let weights = &self.weights;
        let talks = self.rounds > 0;
        [
            (Term::Interact, weights.interact, talks),
            (Term::Message, weights.message, talks),
            (Term::State, weights.state, talks),
            (Term::StudentState, weights.student_state, true),
            (Term::Label, weights.label, true),
        ]
        .into_iter()
        .filter(|&(_, weight, possible)| possible && weight > 0.0)
        .map(|(term, ..)| term)
    }

    /// Refuses what only a teacher that reads sequences can be told.
    pub(super) fn check_vector(&self, method: &'static str) -> Result<(), SpecError> {
        let what = match (self.tokens, self.beside) {
            (1, Beside::Nothing) => return Ok(()),
            (1, Beside::Input) => "a message before the tokens of a teacher that reads none".to_owned(),
            (tokens, _) => format!("{tokens} message tokens for a teacher that reads one vector"),
        };
        let advice = "leave `tokens` and `beside` out, or take an encoder as the teacher";
        Err(SpecError::Contradiction { method, what, advice })
    }

    pub(super) fn check(
        &self,
        method: &'static str,
        student: &ModelSpec,
        teacher: Option<&TeacherSpec>,
        batch: usize,
    ) -> Result<(), SpecError> {
        let weights = &self.weights;
        let distances = &self.distances;
        let talks = self.rounds > 0;
        let terms = [
            ("weights.interact", weights.interact, distances.interact, talks),
            ("weights.message", weights.message, distances.message, talks),
            ("weights.state", weights.state, distances.state, talks),
            ("weights.student_state", weights.student_state, distances.student_state, true),
        ];
        for (field, weight, ..) in terms {
            not_negative(field, weight)?;
        }
        not_negative("weights.label", weights.label)?;
        not_negative("warm_up", self.warm_up)?;
        at_least_one("message_dim", self.message_dim)?;
        at_least_one("tokens", self.tokens)?;
        check_temperature(method, self.temperature, student)?;
        if let Some(hidden) = self.module_hidden {
            at_least_one("module_hidden", hidden)?;
        }
        let contradiction = |what: &str, advice| SpecError::Contradiction { method, what: what.to_owned(), advice };
        let active = |(_, weight, _, possible): &(&str, f64, Distance, bool)| *possible && *weight > 0.0;
        if !terms.iter().any(active) && weights.label == 0.0 {
            return Err(contradiction(
                "no term but the task has a weight, so nothing would be distilled",
                "without rounds set `weights.student_state` or `weights.label`, with rounds any weight; or use the method `scratch`",
            ));
        }
        for (field, _, distance, _) in terms.iter().filter(|term| active(term)) {
            check_corr(method, *distance, batch)?;
            if *distance == Distance::MseFrozenStd && *field != "weights.state" {
                return Err(contradiction(
                    "`mse_frozen_std` for a term other than `state`, which has no state of the cached teacher on either side",
                    "use `corr`, `cosine`, `layernorm_mse` or `mse` for it",
                ));
            }
        }
        if talks
            && weights.interact > 0.0
            && self.interact_into == InteractInto::Student
            && weights.message == 0.0
            && weights.state == 0.0
        {
            return Err(contradiction(
                "`interact_into: student` leaves the modules without any gradient",
                "give `weights.message` or `weights.state` a value above 0",
            ));
        }
        check_states(method, student)?;
        check_teacher_high(method, teacher)?;
        if self.converses() {
            let too_shallow = |who, layers: usize| SpecError::Model {
                method,
                needs: "at least two hidden layers, one below and one above the low state",
                who,
                has: layers.to_string(),
                advice: "give its model a second hidden layer, or use `one_way`",
            };
            if let Some(teacher) = teacher
                && teacher.hidden_layers() < 2
            {
                return Err(too_shallow("teacher", teacher.hidden_layers()));
            }
            if self.protocol == Protocol::Circular && student.hidden_layers() < 2 {
                return Err(too_shallow("student", student.hidden_layers()));
            }
            if self.protocol == Protocol::Circular && !student.interprets() {
                return Err(SpecError::Model {
                    method,
                    needs: "a student whose layers can read a message in place of its low state",
                    who: "student",
                    has: format!("a map (model `{}`)", student.name()),
                    advice: "use the protocol `ask_answer`",
                });
            }
            if let Some(teacher) = teacher
                && !teacher.reads_sequences()
            {
                self.check_vector(method)?;
            }
            if teacher.is_some_and(TeacherSpec::reads_sequences) && self.upper == Upper::Trainable {
                return Err(contradiction(
                    "`upper: trainable` would train a whole encoder",
                    "as a control take an encoder with weights of no training as the teacher",
                ));
            }
        }
        Ok(())
    }
}
