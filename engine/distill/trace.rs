//! What a graph was asked to do, in shapes: which matrices there were, what each operation read and made, and how far gradients come.
//!
//! A [`Trace`] is taken from the code that trains, so it cannot say anything else than what is trained. The room knows no models and
//! no numbers: from shapes alone it tells how much a row of a batch costs.

use crate::ops::{Activation, Layer, Link, Ops, Var};

/// A matrix of the step.
#[derive(Debug)]
struct State<D: Ops> {
    /// Keeps the numbers where they are: their place in memory is what a matrix is known by.
    var: Var<D>,
    /// Whether the way back comes by.
    reached: bool,
    /// Whether it is there once, however many rows a batch has.
    weights: bool,
}

impl<D: Ops> State<D> {
    /// Numbers a row of the batch.
    fn numbers(&self) -> u64 {
        if self.weights { 0 } else { (self.var.rows() * self.var.cols()) as u64 }
    }
}

/// What an operation reads: a matrix, and whether it wants that one's gradient.
#[derive(Clone, Copy, Debug)]
struct Source {
    state: usize,
    wanted: bool,
}

/// One dense layer of a run.
#[derive(Clone, Copy, Debug)]
struct Dense {
    /// Rows that it is applied to.
    rows: u64,
    inputs: u64,
    outputs: u64,
    relu: bool,
    masked: bool,
    weight_wanted: bool,
    bias_wanted: bool,
    /// What it makes.
    made: Source,
}

impl Dense {
    fn new<D: Ops>(link: &Link<D>, rows: u64, made: Source) -> Self {
        let Layer { weight, bias } = &link.layer;
        Dense {
            rows,
            inputs: link.inputs() as u64,
            outputs: link.outputs() as u64,
            relu: link.activation == Activation::Relu,
            masked: link.mask.is_some(),
            weight_wanted: weight.wanted,
            bias_wanted: bias.wanted,
            made,
        }
    }

    /// Operations of one product with its weights, or of one that gives a gradient.
    fn product(&self) -> u64 {
        2 * self.rows * self.inputs * self.outputs
    }
}

#[derive(Debug)]
enum Operation {
    /// A batch through dense layers.
    Run { from: Source, layers: Vec<Dense> },
    /// Something small, on the host.
    Small { from: Vec<Source>, made: usize, rows: u64, work: Work },
    /// The loss reads this one.
    Seed(usize),
}

/// Floating-point operations of a small operation, a row of what it makes or of what it reads, whichever are more.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Work {
    pub(crate) forward: u64,
    pub(crate) backward: u64,
    /// Those of matrix products inside of it, forward and backward, which are not among the others.
    pub(crate) products: [u64; 2],
}

impl Work {
    /// Without matrix products.
    pub(crate) fn small(forward: u64, backward: u64) -> Self {
        Work { forward, backward, products: [0; 2] }
    }
}

/// What it costs to hold a row against others of a batch of known size, forward and backward.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Relation {
    /// Floating-point operations.
    pub(crate) flops: u64,
    /// Numbers that are kept between the ways, one of double precision being two.
    pub(crate) numbers: u64,
}

/// How much a row of a batch costs, forward and backward.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RowCost {
    /// Floating-point operations of matrix products, those of attention among them, a multiplication and an addition being two.
    pub(crate) matmul_flops: u64,
    /// All others: bias terms and the sums of their gradients, activations, dropout, small operations, relations.
    pub(crate) other_flops: u64,
    /// Numbers of all matrices, of dropout masks, and of what they leave of their inputs.
    pub(crate) values: u64,
    /// Numbers of their gradients.
    pub(crate) gradients: u64,
    /// Numbers that relations keep.
    pub(crate) related: u64,
}

/// The operations of one step, in the order they were called.
#[derive(Debug)]
pub(crate) struct Trace<D: Ops> {
    states: Vec<State<D>>,
    operations: Vec<Operation>,
    /// Numbers a row of dropout masks, and of what they leave of their inputs.
    masked: u64,
    /// Rows of the batch that the traced row stands for.
    rows: u64,
    related: Relation,
}

impl<D: Ops> Trace<D> {
    /// Of a step of so many rows.
    pub(crate) fn new(rows: u64) -> Self {
        Trace { states: Vec::new(), operations: Vec::new(), masked: 0, rows, related: Relation::default() }
    }

    /// Notes that each row is held against others: `relation` says of how many rows there are what that costs each.
    pub(crate) fn related(&mut self, relation: impl FnOnce(u64) -> Relation) {
        let Relation { flops, numbers } = relation(self.rows);
        self.related.flops += flops;
        self.related.numbers += numbers;
    }

    /// Notes that a matrix is weights: no row of it belongs to a row of the batch.
    pub(crate) fn weights(&mut self, var: &Var<D>) {
        let Source { state, .. } = self.source(var);
        self.states[state].weights = true;
    }

    /// Notes a matrix, whatever is done with it.
    pub(crate) fn matrix(&mut self, var: &Var<D>) {
        self.source(var);
    }

    /// Notes a run, and what each of its layers made.
    pub(crate) fn run(&mut self, x: &Var<D>, links: &[Link<D>], made: &[Var<D>]) {
        let from = self.source(x);
        let rows = x.rows() as u64;
        let layers: Vec<Dense> = links.iter().zip(made).map(|(link, made)| Dense::new(link, rows, self.source(made))).collect();
        self.masked += layers.iter().filter(|layer| layer.masked).map(|layer| 2 * rows * layer.inputs).sum::<u64>();
        self.operations.push(Operation::Run { from, layers });
    }

    /// Notes an operation on the host.
    pub(crate) fn small(&mut self, from: &[&Var<D>], made: &Var<D>, work: Work) {
        let rows = from.iter().map(|var| var.rows()).chain([made.rows()]).max().unwrap_or(0) as u64;
        let from = from.iter().map(|var| self.source(var)).collect();
        let made = self.source(made).state;
        self.operations.push(Operation::Small { from, made, rows, work });
    }

    /// Notes that the loss has a gradient with regard to `of`.
    pub(crate) fn seed(&mut self, of: &Var<D>) {
        let source = self.source(of);
        if source.wanted {
            self.operations.push(Operation::Seed(source.state));
        }
    }

    /// The matrix that this is, or a new one. Only matrices in the host's memory can be told from each other.
    fn source(&mut self, var: &Var<D>) -> Source {
        let place = |var: &Var<D>| var.host().as_ptr();
        let known = self.states.iter().position(|state| place(&state.var) == place(var));
        let state = known.unwrap_or_else(|| {
            self.states.push(State { var: var.clone(), reached: false, weights: false });
            self.states.len() - 1
        });
        Source { state, wanted: var.wanted }
    }

    /// Numbers a row of all matrices so far, without dropout.
    pub(crate) fn values(&self) -> u64 {
        self.states.iter().map(State::numbers).sum()
    }

    /// Goes back over the operations, last one first, as gradients do.
    pub(crate) fn cost(mut self) -> RowCost {
        let mut cost = RowCost {
            values: self.values() + self.masked,
            other_flops: self.related.flops,
            related: self.related.numbers,
            ..RowCost::default()
        };
        for operation in std::mem::take(&mut self.operations).into_iter().rev() {
            match operation {
                Operation::Seed(state) => self.states[state].reached = true,
                Operation::Small { from, made, rows, work } => {
                    cost.other_flops += rows * work.forward;
                    cost.matmul_flops += rows * work.products[0];
                    if self.states[made].reached && from.iter().any(|source| source.wanted) {
                        cost.other_flops += rows * work.backward;
                        cost.matmul_flops += rows * work.products[1];
                        from.iter().for_each(|source| self.reach(*source));
                    }
                }
                Operation::Run { from, layers } => self.run_back(from, &layers, &mut cost),
            }
        }
        cost.gradients = self.states.iter().filter(|state| state.reached).map(State::numbers).sum();
        cost
    }

    fn reach(&mut self, source: Source) {
        self.states[source.state].reached |= source.wanted;
    }

    /// A run forward, and back from the last of its results that somebody has used to the first that wants a gradient.
    fn run_back(&mut self, from: Source, layers: &[Dense], cost: &mut RowCost) {
        for layer in layers {
            cost.matmul_flops += layer.product();
            cost.other_flops +=
                layer.rows * (layer.outputs * (1 + u64::from(layer.relu)) + layer.inputs * u64::from(layer.masked));
        }
        let Some(last) = layers.iter().rposition(|layer| self.states[layer.made.state].reached) else { return };
        let Some(first) = layers.iter().position(|layer| layer.made.wanted) else { return };
        for (place, layer) in layers.iter().enumerate().take(last + 1).skip(first) {
            self.reach(layer.made);
            // Through the activation, then to the weights, then to what the layer read.
            cost.other_flops += layer.rows * layer.outputs * (u64::from(layer.relu) + u64::from(layer.bias_wanted));
            cost.matmul_flops += layer.product() * u64::from(layer.weight_wanted);
            if place > first || from.wanted {
                cost.matmul_flops += layer.product();
                cost.other_flops += layer.rows * layer.inputs * u64::from(layer.masked);
            }
        }
        if first <= last && from.wanted {
            self.states[from.state].reached = true;
        }
    }
}
