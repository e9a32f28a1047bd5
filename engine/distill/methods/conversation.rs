//! The conversation of a `talk`, built: its modules, what is said in each round, and the terms made of it.
//!
//! Both protocols are one engine with different taps: where the student encodes and where it decodes. The teacher always decodes into its low state
//! and encodes its high state, and interprets with its own frozen layers in between.

use super::chain::Chain;
use super::talk::{Beside, InteractInto, Protocol, QuestionPath, Replies, Talk, Tap, Upper};
use super::{Learner, Step, missing};
use crate::device::failed;
use crate::distance::{Distance, compare, frozen_weights};
use crate::error::TrainError;
use crate::graph::Graph;
use crate::models::ModelSpec;
use crate::models::student::Dropout;
use crate::modules::{Mlp, Shape};
use crate::objective::Term;
use crate::ops::{Activation, Ops, Pool, Sequences, Var};
use crate::params::{LayerId, Params};
use crate::random::{Rng, Role};
use crate::task::{Heard, Interpreter};
use crate::teacher::{Interpreting, TeacherView};
use crate::transformer::Pooling;

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
        // A whole message, and one of its tokens.
        let (m, token) = (self.message_dim * self.tokens, self.message_dim);
        let student_end = student.state_activation();
        let mut module = |name: &str, inputs: usize, outputs: usize, end: Activation| {
            let shape = Shape::new(inputs, hidden, outputs);
            Mlp::fresh(modules, seed, &format!("talk.{name}"), shape, end).map_err(failed::<D>)
        };
        let mut built = Built {
            settings: self.clone(),
            upper: Layers::Frozen(Interpreting::Dense(Vec::new())),
            student_low_is_sequence: student.low_is_sequence(),
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
            if !upper.reads_sequences() {
                self.check_vector("talk")?;
            }
            let student_inputs = match self.protocol {
                Protocol::Circular => width(Tap::High),
                // Later rounds also read the last answer.
                Protocol::AskAnswer if self.rounds > 1 => width(Tap::Low).map(|width| width + m),
                Protocol::AskAnswer => width(Tap::Low),
            };
            let inputs = student_inputs.ok_or_else(|| missing("student states"))?;
            built.student_encoder = Some(module("student_encoder", inputs, m, Activation::None)?);
            let (inputs, end) = if upper.reads_sequences() { (token, Activation::None) } else { (m, Activation::Relu) };
            built.teacher_decoder = Some(module("teacher_decoder", inputs, low.width, end)?);
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
                let inputs = if tap == Tap::Low && student.low_is_sequence() { token } else { m };
                *slot = Some(module(name, inputs, outputs, student_end)?);
            }
        }
        if let Some(upper) = layers {
            built.upper = match (self.upper, upper.shapes()) {
                (Upper::Trainable, Some(shapes)) => {
                    let fresh = |(index, ends): (usize, (usize, usize))| {
                        modules.fresh(seed, Role::Modules, &format!("talk.upper.{index}"), ends, Activation::Relu.gain())
                    };
                    let ids = shapes.into_iter().enumerate().map(fresh).collect::<Result<_, _>>();
                    Layers::Trainable(ids.map_err(failed::<D>)?)
                }
                (Upper::Trainable, None) => {
                    return Err(TrainError::Teacher {
                        what: "`upper: trainable` would train a whole encoder".to_owned(),
                        advice: "as a control take an encoder with weights of no training as the teacher",
                    });
                }
                (Upper::Frozen, _) => Layers::Frozen(upper.on_device(device, &Pool::default()).map_err(failed::<D>)?),
            };
        }
        Ok(built)
    }
}

/// What the teacher interprets with.
enum Layers<D: Ops> {
    /// Its own layers.
    Frozen(Interpreting<D>),
    /// Layers among the modules.
    Trainable(Vec<LayerId>),
}

/// `talk`, with its modules. A decoder that must write into both of the student's states is two.
pub(super) struct Built<D: Ops> {
    settings: Talk,
    /// up_T
    upper: Layers<D>,
    student_low_is_sequence: bool,
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
    /// Whether its layers, up_S, get no gradient.
    frozen: bool,
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
                    let (rows, m) = (speaker.low.rows(), self.settings.message_dim * self.settings.tokens);
                    let last = match said.last() {
                        Some(last) => last.answer.clone(),
                        None => step.graph.constant(step.graph.pool().zeros(rows * m), rows, m)?,
                    };
                    step.graph.join(&speaker.low, &last)?
                }
            };
            let mut chain = Chain::new(step.graph, heard);
            let question = chain.dense(student_encoder.links(modules));
            let decoded = self.interpret(&mut chain, step.modules, step.teacher.tokens.as_ref(), teacher_decoder)?;
            let answer = chain.dense(teacher_encoder.links(modules));
            if self.settings.replies == Replies::Shuffled {
                let Dropout { seed, step, .. } = step.dropout;
                chain.then(|graph, answer| graph.reorder(answer, others(seed, step, round, answer.rows())))?;
            }
            let understood =
                self.understand(&mut chain, step.student, (modules, student_decoder), (&step.dropout, round, speaker))?;
            let states = chain.end()?;
            let [question, decoded, answer, understood] =
                [question, decoded, answer, understood].map(|place| states[place].clone());
            said.push(Round { question, decoded, answer, understood });
        }
        Ok(said)
    }

    /// The teacher's part: it decodes the question into its low state, a_r, and interprets that, b_r. The place of a_r.
    fn interpret(
        &self,
        chain: &mut Chain<'_, D>,
        modules: &Params<D>,
        beside: Option<&(Var<D>, Sequences)>,
        decoder: &Mlp,
    ) -> Result<usize, D::Err> {
        let (stack, pooling) = match &self.upper {
            Layers::Frozen(Interpreting::Dense(layers)) => {
                let decoded = chain.dense(decoder.links(modules));
                chain.dense(layers.iter().map(|layer| layer.clone().then(Activation::Relu)));
                return Ok(decoded);
            }
            Layers::Trainable(ids) => {
                let decoded = chain.dense(decoder.links(modules));
                chain.dense(ids.iter().map(|&id| modules.layer(id).then(Activation::Relu)));
                return Ok(decoded);
            }
            Layers::Frozen(Interpreting::Encoder { stack, pooling }) => (stack, *pooling),
        };
        let tokens = self.settings.tokens;
        self.fold(chain)?;
        let decoded = chain.dense(decoder.links(modules));
        let beside = beside.filter(|_| self.settings.beside == Beside::Input);
        chain.then(|graph, messages| match beside {
            None => {
                let sequences = Sequences::new(&vec![tokens; messages.rows() / tokens]);
                let last = stack.run(graph, messages, &sequences, stack.first..stack.last())?;
                let end = stack.finish(graph, &last)?;
                pooled(graph, &end, &sequences, pooling)
            }
            Some((own, of)) => {
                let (x, sequences) = graph.prefixed(messages, tokens, own, of)?;
                let last = stack.run(graph, &x, &sequences, stack.first..stack.last())?;
                let end = stack.finish(graph, &last)?;
                graph.prefix_means(&end, tokens, &sequences)
            }
        })?;
        Ok(decoded)
    }

    /// The student's part: it decodes the answer, and where that is its low state, interprets it. The place of u_r.
    fn understand(
        &self,
        chain: &mut Chain<'_, D>,
        student: &dyn Interpreter<D>,
        (modules, decoder): (&Params<D>, &Mlp),
        (dropout, round, speaker): (&Dropout, usize, &Speaker<D>),
    ) -> Result<usize, D::Err> {
        let (rows, place) = (speaker.high.rows(), format!("reply.{round}"));
        if self.settings.protocol.decodes() == Tap::High {
            return Ok(chain.dense(decoder.links(modules)));
        }
        if self.student_low_is_sequence {
            self.fold(chain)?;
        }
        chain.dense(decoder.links(modules));
        match student.dense(&chain.pool(), rows, dropout, &place, speaker.frozen) {
            Some(links) => Ok(chain.dense(links)),
            None => {
                let (tokens, frozen) = (self.settings.tokens, speaker.frozen);
                chain
                    .then(|graph, messages| student.interpret(graph, &Heard { messages, tokens, dropout, place: &place }, frozen))
            }
        }
    }

    /// From whole messages to their tokens: (batch, tokens m) to (batch tokens, m).
    fn fold(&self, chain: &mut Chain<'_, D>) -> Result<(), D::Err> {
        if self.settings.tokens > 1 {
            chain.then(|graph, messages| graph.folded(messages, self.settings.tokens))?;
        }
        Ok(())
    }

    /// The mean of what was decoded, over the tokens of each row: (batch, low width).
    fn mean_token(&self, graph: &mut Graph<D>, decoded: &Var<D>) -> Result<Var<D>, D::Err> {
        match self.settings.tokens {
            1 => Ok(decoded.clone()),
            tokens if self.upper_reads_sequences() => {
                graph.sequence_means(decoded, &Sequences::new(&vec![tokens; decoded.rows() / tokens]))
            }
            _ => Ok(decoded.clone()),
        }
    }

    fn upper_reads_sequences(&self) -> bool {
        matches!(self.upper, Layers::Frozen(Interpreting::Encoder { .. }))
    }

    /// What the student makes of the first reply: u_1.
    pub(super) fn first_reply(&self, step: &mut Step<'_, D>, low: &Var<D>, high: &Var<D>) -> Result<Option<Var<D>>, D::Err> {
        let speaker = Speaker { low: low.clone(), high: high.clone(), frozen: false };
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
        let open = Speaker { low: asked(low), high: asked(high), frozen: false };
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
            let closed = Speaker { low: low.stopped(), high: high.stopped(), frozen: true };
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
        let decoded = self.mean_token(step.graph, &first.decoded)?;
        if weights.state > 0.0 {
            step.distance(
                Term::State,
                ramp * weights.state,
                distances.state,
                (&decoded, teacher_low),
                self.frozen_low.as_deref(),
            );
        }
        let (decoded, own) = (decoded.host(), teacher_low.host());
        step.decoded = Some(compare(Distance::Mse, (&decoded, &own), teacher_low.cols(), None, 1.0, [None, None]));
        Ok(())
    }
}

/// What a head reads of sequences.
fn pooled<D: Ops>(graph: &mut Graph<D>, end: &Var<D>, sequences: &Sequences, pooling: Pooling) -> Result<Var<D>, D::Err> {
    match pooling {
        Pooling::Mean => graph.sequence_means(end, sequences),
        Pooling::First => graph.sequence_firsts(end, sequences),
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
            // Into a low state that is a sequence each token by itself, and what is compared is their mean.
            let in_tokens = student_state_into == Tap::Low && self.student_low_is_sequence && self.settings.tokens > 1;
            let decoded = if in_tokens {
                let tokens = step.graph.folded(&message, self.settings.tokens)?;
                let decoded = decoder.apply(step.graph, step.modules, &tokens)?;
                step.graph.sequence_means(&decoded, &Sequences::new(&vec![self.settings.tokens; message.rows()]))?
            } else {
                decoder.apply(step.graph, step.modules, &message)?
            };
            let state = match student_state_into {
                Tap::Low => &deep.low,
                Tap::High => &deep.high,
            };
            step.distance(Term::StudentState, ramp * weights.student_state, distances.student_state, (state, &decoded), None);
        }
        if weights.label > 0.0 {
            step.label(ramp * weights.label, self.settings.temperature);
        }
        Ok(())
    }
}
