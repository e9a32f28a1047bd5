//! Mistakes that no stage shows by itself: settings that do not fit those of the stages it takes inputs from. What fits is the
//! kinds' to say; here they are asked, and what they say gets its place in the manifest.

use std::collections::BTreeSet;

use super::{Instance, Kinds};
use crate::fields::Origin;
use crate::source::{Diagnostic, Span};

/// More of them than this are not looked for.
const ENOUGH: usize = 50;

/// An instance as its kind sees it once all are known: what it is, and by way of its inputs what others are.
#[derive(Debug)]
pub struct Seen<'a, S> {
    instances: &'a [Instance<S>],
    place: usize,
}

/// Settings that do not fit those of another stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disagreement {
    /// The path of the setting, or the name of the input, that is to be shown.
    pub field: String,
    /// What does not fit.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
}

impl<S> Clone for Seen<'_, S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S> Copy for Seen<'_, S> {}

impl<'a, S> Seen<'a, S> {
    /// The instance's name.
    #[must_use]
    pub fn name(self) -> &'a str {
        &self.instances[self.place].name
    }

    /// What its kind made of its settings.
    #[must_use]
    pub fn spec(self) -> &'a S {
        &self.instances[self.place].spec
    }

    /// Whether it has a setting of this path.
    #[must_use]
    pub fn has(self, path: &str) -> bool {
        self.instances[self.place].settings.get(path).is_some()
    }

    /// Its value on an axis.
    #[must_use]
    pub fn label(self, axis: &str) -> Option<&'a str> {
        self.instances[self.place].labels.get(axis).map(String::as_str)
    }

    /// All instances it takes as an input.
    pub fn inputs(self, port: &str) -> impl Iterator<Item = Self> + use<'a, S> {
        let input = self.instances[self.place].inputs.iter().find(|input| input.port.0 == port);
        let from = input.map_or(&[][..], |input| &input.from);
        from.iter().map(move |place| Self { instances: self.instances, place: *place })
    }

    /// The first instance it takes as an input; `None` where it takes none of that name.
    #[must_use]
    pub fn input(self, port: &str) -> Option<Self> {
        let input = self.instances[self.place].inputs.iter().find(|input| input.port.0 == port)?;
        input.from.first().map(|place| Self { instances: self.instances, place: *place })
    }
}

/// Asks the kind of each instance. Instances of a matrix that say the same of the same place say it once.
pub(super) fn check<K: Kinds>(instances: &[Instance<K::Spec>], kinds: &K, mistakes: &mut Vec<Diagnostic>) {
    let mut said: BTreeSet<(Span, String)> = BTreeSet::new();
    for (place, instance) in instances.iter().enumerate() {
        for Disagreement { field, message, help } in kinds.disagreements(Seen { instances, place }) {
            if mistakes.len() >= ENOUGH {
                return;
            }
            let named = instance.inputs.iter().find(|input| input.port.0 == field).map(|input| input.at);
            let written = instance.settings.origin(&field);
            let at = match (named, written) {
                (Some(at), _) => at,
                (None, Some(Origin::Written { at, .. })) => *at,
                (None, _) => instance.at,
            };
            if said.insert((at, message.clone())) {
                let mistake = Diagnostic::new(at, message).maybe_help(help);
                mistakes.push(written.map_or(mistake.clone(), |origin| origin.bring(mistake)));
            }
        }
    }
}
