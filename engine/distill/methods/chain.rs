//! A batch on its way through many layers: dense layers that follow each other are gathered and run at once, whatever else is done to the batch
//! in between.
//!
//! The room knows no protocol. What has been made on the way is asked for by its place.

use crate::graph::Graph;
use crate::ops::{Link, Ops, Pool, Var};

/// A batch on its way.
pub(super) struct Chain<'g, D: Ops> {
    graph: &'g mut Graph<D>,
    /// What the gathered layers will read.
    at: Var<D>,
    gathered: Vec<Link<D>>,
    made: Vec<Var<D>>,
}

impl<'g, D: Ops> Chain<'g, D> {
    pub(super) fn new(graph: &'g mut Graph<D>, from: Var<D>) -> Self {
        Chain { graph, at: from, gathered: Vec::new(), made: Vec::new() }
    }

    /// Where the batch's memory comes from.
    pub(super) fn pool(&self) -> Pool {
        self.graph.pool().clone()
    }

    /// On through dense layers; the place of what the last of them, or of all before, makes.
    pub(super) fn dense(&mut self, links: impl IntoIterator<Item = Link<D>>) -> usize {
        self.gathered.extend(links);
        (self.made.len() + self.gathered.len()).saturating_sub(1)
    }

    /// On through something else.
    pub(super) fn then(&mut self, next: impl FnOnce(&mut Graph<D>, &Var<D>) -> Result<Var<D>, D::Err>) -> Result<usize, D::Err> {
        self.flush()?;
        self.at = next(self.graph, &self.at)?;
        self.made.push(self.at.clone());
        Ok(self.made.len() - 1)
    }

    fn flush(&mut self) -> Result<(), D::Err> {
        let links = std::mem::take(&mut self.gathered);
        if !links.is_empty() {
            self.made.extend(self.graph.run(&self.at, links)?);
            self.at = self.made[self.made.len() - 1].clone();
        }
        Ok(())
    }

    /// All that was made, in order.
    pub(super) fn end(mut self) -> Result<Vec<Var<D>>, D::Err> {
        self.flush()?;
        Ok(self.made)
    }
}
