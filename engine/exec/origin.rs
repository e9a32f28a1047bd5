//! Whose change it was: a stage that differs only in what it reads differs because of a stage before it, and that one maybe because
//! of another. Kept while a run goes on, so that each reason can name the first cause.

use crate::{
    key::{Change, Stale},
    plan::Instance,
};

/// For each instance that changed in this run, the first stages that changed for a reason of their own, each with that reason. Of more
/// than two it is enough to know that there are others.
#[derive(Debug)]
pub struct Origins(Vec<Vec<(String, Stale)>>);

const ENOUGH: usize = 2;

impl Origins {
    /// Of a plan of so many instances, none of which has changed yet.
    pub fn new(instances: usize) -> Self {
        Self(vec![Vec::new(); instances])
    }

    /// Takes note of why an instance changed, and says it with the first cause where that lies before it.
    pub fn trace<S>(&mut self, index: usize, instance: &Instance<S>, reason: Stale) -> Stale {
        let mut before = self.before(instance, &reason);
        let own = !reason.changes().iter().all(Change::is_of_input) || reason.changes().is_empty();
        if own {
            before.insert(0, (instance.name.clone(), reason.clone()));
            before.truncate(ENOUGH);
        }
        let said = match (before.first(), reason) {
            (Some((stage, first)), Stale::Changed(changes)) if !own => {
                Stale::Upstream { changes, stage: stage.clone(), reason: Box::new(first.clone()), others: before.len() > 1 }
            }
            (_, reason) => reason,
        };
        if before.is_empty() {
            before.push((instance.name.clone(), said.clone()));
        }
        self.0[index] = before;
        said
    }

    /// The origins of the inputs that changed.
    fn before<S>(&self, instance: &Instance<S>, reason: &Stale) -> Vec<(String, Stale)> {
        let mut found: Vec<(String, Stale)> = Vec::new();
        for port in reason.changes().iter().filter_map(Change::port) {
            let inputs = instance.inputs.iter().filter(|input| input.port.0 == port);
            for origin in inputs.flat_map(|input| &input.from).flat_map(|from| &self.0[*from]) {
                if found.iter().all(|(stage, _)| *stage != origin.0) {
                    found.push(origin.clone());
                }
                if found.len() == ENOUGH {
                    return found;
                }
            }
        }
        found
    }
}
