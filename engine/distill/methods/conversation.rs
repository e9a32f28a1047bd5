//! The conversation of a `talk`, built: its modules, what is said in each round, and the terms made of it.
//!
//! Both protocols are one engine with different taps: where the student encodes and where it decodes. The teacher always decodes into its low state
//! and encodes its high state, and interprets with its own frozen layers in between.

use super::talk::{InteractInto, Protocol, QuestionPath, Replies, Talk, Tap, Upper};
use super::{Learner, Step, missing};
use crate::device::failed;
use crate::distance::{Distance, compare, frozen_weights};
use crate::error::TrainError;
use crate::models::{ModelSpec, ncf};
use crate::modules::{Mlp, Shape};
use crate::objective::Term;
use crate::ops::{Activation, Layer, Link, Ops, Pool, Var};
use crate::params::{LayerId, Params};
use crate::random::{Rng, Role};
use crate::teacher::TeacherView;

impl Talk {
    /// Makes the modules that these settings use, and only those.
    pub(super) fn build<D: Ops>(
        &self,
        device: &D,
        hidden: Option<usize>,
        student: &ModelSpec,
        teacher: &TeacherView<'_>,
        seed: u64,
        modules: &mut Params<D>,
    ) -> Result<Built<D>, TrainError> {
        let width = |tap: Tap| match tap {
            Tap::Low => student.low_width(),
            Tap::High => student.high_width(),
        };
        let m = self.message_dim;
        let student_end = match student {
            ModelSpec::Ncf(_) => Activation::Relu,
            ModelSpec::Mf(_) | ModelSpec::Bias(_) => Activation::None,
        };
        let mut module = |name: &str, inputs: usize, outputs: usize, end: Activation| {
            let shape = Shape::new(inputs, hidden, outputs);
            Mlp::fresh(modules, seed, &format!("talk.{name}"), shape, end).map_err(failed::<D>)
        };
        let mut built = Built {
            settings: self.clone(),
            upper: Layers::Frozen(Vec::new()),
            student_encoder: None,
            teacher_decoder: None,
            teacher_encoder: None,
            decoder_low: None,
            decoder_high: None,
            frozen_low: None,
        };
        let mut decoders = Vec::new();
        let mut teacher_high = None;
        let mut layers = None;
        if self.converses() {
            let (Some(low), Some(upper)) = (&teacher.low, teacher.upper) else {
                return Err(missing("low states and upper layers"));
            };
            if upper.inputs() != Some(low.width) {
                return Err(TrainError::Teacher {
                    what: format!(
                        "its upper layers read {} numbers, but its cached low states have {}",
                        upper.inputs().unwrap_or(0),
                        low.width
                    ),
                    advice: "cache the features of the same teacher, which must have at least two hidden layers",
                });
            }
            let student_inputs = match self.protocol {
                Protocol::Circular => width(Tap::High),
                // Later rounds also read the last answer.
                Protocol::AskAnswer if self.rounds > 1 => width(Tap::Low).map(|width| width + m),
                Protocol::AskAnswer => width(Tap::Low),
            };
            let inputs = student_inputs.ok_or_else(|| missing("student states"))?;
            built.student_encoder = Some(module("student_encoder", inputs, m, Activation::None)?);
            built.teacher_decoder = Some(module("teacher_decoder", m, low.width, Activation::Relu)?);
            built.frozen_low = frozen_weights(low.variance);
            if built.frozen_low.is_none() && self.distances.state == Distance::MseFrozenStd {
                return Err(TrainError::Teacher {
                    what: "its low state is the same for every row, so it has no variance to divide by".to_owned(),
                    advice: "train the teacher anew, or use another distance for `state`",
                });
            }
            teacher_high = upper.outputs();
            layers = Some(upper);
            decoders.push(self.protocol.decodes());
        }
        if self.weights.student_state > 0.0 {
            let high = teacher.high.as_ref().ok_or_else(|| missing("high states"))?;
            teacher_high = Some(high.width);
            decoders.push(self.student_state_into);
        }
        if let Some(inputs) = teacher_high {
            built.teacher_encoder = Some(module("teacher_encoder", inputs, m, Activation::None)?);
        }
        for (tap, name, slot) in [
            (Tap::Low, "student_decoder.low", &mut built.decoder_low),
            (Tap::High, "student_decoder.high", &mut built.decoder_high),
        ] {
            if decoders.contains(&tap) {
                let outputs = width(tap).ok_or_else(|| missing("student states"))?;
                *slot = Some(module(name, m, outputs, student_end)?);
            }
        }
        if let Some(upper) = layers {
            built.upper = match self.upper {
                Upper::Frozen => Layers::Frozen(upper.on_device(device, &Pool::default()).map_err(failed::<D>)?),
                Upper::Trainable => {
                    let fresh = |(index, ends): (usize, (usize, usize))| {
                        modules.fresh(seed, Role::Modules, &format!("talk.upper.{index}"), ends, Activation::Relu.gain())
                    };
                    Layers::Trainable(upper.shapes().enumerate().map(fresh).collect::<Result<_, _>>().map_err(failed::<D>)?)
                }
            };
        }
        Ok(built)
    }
}

/// What the teacher interprets with.
enum Layers<D: Ops> {
    /// Its own layers.
    Frozen(Vec<Layer<D>>),
    /// Layers among the modules.
    Trainable(Vec<LayerId>),
}

impl<D: Ops> Layers<D> {
    fn links(&self, modules: &Params<D>) -> Vec<Link<D>> {
        match self {
            Self::Frozen(layers) => layers.iter().map(|layer| layer.clone().then(Activation::Relu)).collect(),
            Self::Trainable(ids) => ids.iter().map(|&id| modules.layer(id).then(Activation::Relu)).collect(),
        }
    }
}

/// `talk`, with its modules. A decoder that must write into both of the student's states is two.
pub(super) struct Built<D: Ops> {
    settings: Talk,
    /// up_T
    upper: Layers<D>,
    student_encoder: Option<Mlp>,
    teacher_decoder: Option<Mlp>,
    teacher_encoder: Option<Mlp>,
    decoder_low: Option<Mlp>,
    decoder_high: Option<Mlp>,
    /// Weights of `mse_frozen_std` against the teacher's low state.
    frozen_low: Option<Vec<f32>>,
}

/// What was said in one round.
struct Round<D: Ops> {
    /// q_r
    question: Var<D>,
    /// a_r
    decoded: Var<D>,
    /// c_r
    answer: Var<D>,
    /// u_r
    understood: Var<D>,
}

/// The student's part in a conversation.
struct Speaker<D: Ops> {
    low: Var<D>,
    high: Var<D>,
    /// up_S
    upper: Vec<Layer<D>>,
}

impl<D: Ops> Built<D> {
    fn decoder(&self, tap: Tap) -> Option<&Mlp> {
        match tap {
            Tap::Low => self.decoder_low.as_ref(),
            Tap::High => self.decoder_high.as_ref(),
        }
    }

    /// The conversation, `rounds` of it.
    fn converse(&self, step: &mut Step<'_, D>, speaker: &Speaker<D>, rounds: usize) -> Result<Vec<Round<D>>, D::Err> {
        let protocol = self.settings.protocol;
        let (Some(student_encoder), Some(teacher_decoder), Some(teacher_encoder), Some(student_decoder)) =
            (&self.student_encoder, &self.teacher_decoder, &self.teacher_encoder, self.decoder(protocol.decodes()))
        else {
            return Ok(Vec::new());
        };
        let modules = step.modules;
        let mut said: Vec<Round<D>> = Vec::with_capacity(rounds);
        for round in 1..=rounds {
            let heard = match protocol {
                Protocol::Circular => said.last().map_or(&speaker.high, |last| &last.understood).clone(),
                // With one round there is no last answer to read, and the encoder was made without room for it.
                Protocol::AskAnswer if self.settings.rounds == 1 => speaker.low.clone(),
                Protocol::AskAnswer => {
                    let (rows, m) = (speaker.low.rows(), self.settings.message_dim);
                    let last = match said.last() {
                        Some(last) => last.answer.clone(),
                        None => step.graph.constant(step.graph.pool().zeros(rows * m), rows, m)?,
                    };
                    step.graph.join(&speaker.low, &last)?
                }
            };
            // One run all the way round: question, what the teacher decodes, its layers, its answer, what the student understands.
            let rows = heard.rows();
            let mut links: Vec<Link<D>> = Vec::new();
            let mut end = |part: &mut dyn Iterator<Item = Link<D>>| {
                links.extend(part);
                links.len() - 1
            };
            let question = end(&mut student_encoder.links(modules).into_iter());
            let decoded = end(&mut teacher_decoder.links(modules).into_iter());
            end(&mut self.upper.links(modules).into_iter());
            let answer = end(&mut teacher_encoder.links(modules).into_iter());
            end(&mut student_decoder.links(modules).into_iter());
            let understood = match protocol.decodes() {
                Tap::High => end(&mut std::iter::empty()),
                Tap::Low => {
                    let place = format!("reply.{round}");
                    end(&mut ncf::up(step.graph.pool(), rows, &speaker.upper, &step.dropout, &place).into_iter())
                }
            };
            let states = match self.settings.replies {
                Replies::Own => step.graph.run(&heard, links)?,
                Replies::Shuffled => {
                    let rest = links.split_off(answer + 1);
                    let mut states = step.graph.run(&heard, links)?;
                    let order = others(step.dropout.seed, step.dropout.step, round, rows);
                    let mixed = step.graph.reorder(&states[answer], order)?;
                    states.extend(step.graph.run(&mixed, rest)?);
                    states
                }
            };
            let [question, decoded, answer, understood] =
                [question, decoded, answer, understood].map(|place| states[place].clone());
            said.push(Round { question, decoded, answer, understood });
        }
        Ok(said)
    }

    /// What the student makes of the first reply: u_1.
    pub(super) fn first_reply(&self, step: &mut Step<'_, D>, low: &Var<D>, high: &Var<D>) -> Result<Option<Var<D>>, D::Err> {
        let mut upper = step.student.hidden_layers();
        upper.drain(..1.min(upper.len()));
        let speaker = Speaker { low: low.clone(), high: high.clone(), upper };
        Ok(self.converse(step, &speaker, 1)?.pop().map(|round| round.understood))
    }

    /// The three terms of the conversation.
    fn interact(&self, step: &mut Step<'_, D>, low: &Var<D>, high: &Var<D>, ramp: f64) -> Result<(), D::Err> {
        let Talk { rounds, ref weights, ref distances, question_path, interact_into, .. } = self.settings;
        let consistent = weights.message > 0.0 || weights.state > 0.0;
        let interacts = weights.interact > 0.0;
        let asked = |state: &Var<D>| match question_path {
            QuestionPath::Open => state.clone(),
            QuestionPath::Stop => state.stopped(),
        };
        let mut upper = step.student.hidden_layers();
        upper.drain(..1.min(upper.len()));
        let open = Speaker { low: asked(low), high: asked(high), upper };
        let mut first = None;
        if consistent || (interacts && interact_into != InteractInto::Modules) {
            // Only the interaction term hears more than one round.
            let shared = interacts && interact_into != InteractInto::Modules;
            let said = self.converse(step, &open, if shared { rounds } else { 1 })?;
            if shared {
                for round in &said {
                    let understood = match interact_into {
                        InteractInto::Student => &round.understood.stopped(),
                        InteractInto::Both | InteractInto::Modules => &round.understood,
                    };
                    step.distance(Term::Interact, ramp * weights.interact, distances.interact, (high, understood), None);
                }
            }
            first = said.into_iter().next();
        }
        if interacts && interact_into == InteractInto::Modules {
            // The other terms must still reach the student through the same question, so this term gets a conversation of its
            // own, in which nothing of the student's wants a gradient.
            let closed =
                Speaker { low: low.stopped(), high: high.stopped(), upper: open.upper.iter().map(Layer::frozen).collect() };
            let said = self.converse(step, &closed, rounds)?;
            for round in &said {
                step.distance(
                    Term::Interact,
                    ramp * weights.interact,
                    distances.interact,
                    (&closed.high, &round.understood),
                    None,
                );
            }
            first = first.or(said.into_iter().next());
        }
        let (Some(first), Some(teacher_low)) = (first, &step.teacher.low) else {
            return Ok(());
        };
        if weights.message > 0.0 {
            step.distance(Term::Message, ramp * weights.message, distances.message, (&first.question, &first.answer), None);
        }
        if weights.state > 0.0 {
            step.distance(
                Term::State,
                ramp * weights.state,
                distances.state,
                (&first.decoded, teacher_low),
                self.frozen_low.as_deref(),
            );
        }
        let (decoded, own) = (first.decoded.host(), teacher_low.host());
        step.decoded = Some(compare(Distance::Mse, (&decoded, &own), teacher_low.cols(), None, 1.0, [None, None]));
        Ok(())
    }
}

/// Whose reply each row gets in a round of a step.
pub(super) fn others(seed: u64, step: u64, round: usize, rows: usize) -> Vec<u32> {
    let mut order: Vec<u32> = (0..u32::try_from(rows).unwrap_or(u32::MAX)).collect();
    Rng::stream(seed, Role::Step, &format!("replies.{round}"), step).shuffle(&mut order);
    order
}

impl<D: Ops> Learner<D> for Built<D> {
    fn terms(&self, step: &mut Step<'_, D>) -> Result<(), D::Err> {
        let Talk { ref weights, ref distances, student_state_into, warm_up, .. } = self.settings;
        let ramp = step.ramp(warm_up);
        step.task();
        let Some(deep) = &step.forward.deep else {
            return Ok(());
        };
        if self.settings.converses() {
            self.interact(step, &deep.low, &deep.high, ramp)?;
        }
        if let (Some(encoder), Some(decoder), Some(high)) =
            (&self.teacher_encoder, self.decoder(student_state_into), &step.teacher.high)
            && weights.student_state > 0.0
        {
            let message = encoder.apply(step.graph, step.modules, high)?;
            let decoded = decoder.apply(step.graph, step.modules, &message)?;
            let state = match student_state_into {
                Tap::Low => &deep.low,
                Tap::High => &deep.high,
            };
            step.distance(Term::StudentState, ramp * weights.student_state, distances.student_state, (state, &decoded), None);
        }
        if weights.label > 0.0 {
            step.label(ramp * weights.label);
        }
        Ok(())
    }
}
