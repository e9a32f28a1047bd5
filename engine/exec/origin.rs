//! Whose change it was: a stage that differs only in what it reads differs because of a stage before it, and that one maybe because
//! of another. Kept while a run goes on, so that each reason can name the first cause.

use crate::{key::Stale, plan::Instance};

/// For each instance that changed in this run, the first stage that changed for a reason of its own, and that reason.
#[derive(Debug)]
pub struct Origins(Vec<Option<(String, Stale)>>);

impl Origins {
    /// Of a plan of so many instances, none of which has changed yet.
    pub fn new(instances: usize) -> Self {
        Self(vec![None; instances])
    }

    /// Takes note of why an instance changed, and says it with the first cause where that lies before it.
    pub fn trace<S>(&mut self, index: usize, instance: &Instance<S>, reason: Stale) -> Stale {
        let reason = match reason {
            Stale::Changed(changes) if !changes.is_empty() && changes.iter().all(|change| change.is_of_input()) => {
                let of_port = |port: &str| {
                    let inputs = instance.inputs.iter().filter(|input| input.port.0 == port);
                    inputs.flat_map(|input| &input.from).find_map(|from| self.0[*from].clone())
                };
                match changes.iter().filter_map(|change| change.port()).find_map(of_port) {
                    Some((stage, reason)) => Stale::Upstream { changes, stage, reason: Box::new(reason) },
                    None => Stale::Changed(changes),
                }
            }
            other => other,
        };
        self.0[index] = Some(match &reason {
            Stale::Upstream { stage, reason, .. } => (stage.clone(), (**reason).clone()),
            own => (instance.name.clone(), own.clone()),
        });
        reason
    }
}
