//! Which instances are meant: by selectors, by what they depend on, by what depends on them.

use super::{Instance, Plan};
use crate::fields::Labels;
use crate::selector::{Name, Selector};

/// What was typed to choose instances by, each a selector.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wish<'a> {
    /// Stages to bring up to date with all they depend on; none for all.
    pub stages: &'a [String],
    /// Where to begin: only these, what depends on them, and what that needs.
    pub from: &'a [String],
    /// Where to end: only these and what they depend on.
    pub until: &'a [String],
    /// Those to run although their results are there.
    pub force: &'a [String],
}

/// What that chooses, by place in the plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// What to bring up to date. Whatever one of them depends on is among them.
    pub wanted: Vec<bool>,
    /// Those of them to run although their results are there.
    pub forced: Vec<bool>,
}

impl<S> Plan<S> {
    /// Chooses instances. `stages` and `until` leave what both lead to; of that, `from` leaves what depends on it, and what this needs.
    ///
    /// # Errors
    /// In words, where a selector means no instance, or none that the others leave.
    pub fn choose(&self, wish: &Wish<'_>) -> Result<Chosen, String> {
        let all = vec![true; self.instances.len()];
        let leading_to = |selectors: &[String]| -> Result<Vec<bool>, String> {
            if selectors.is_empty() {
                return Ok(all.clone());
            }
            let mut marks = self.marked(selectors)?;
            self.add_upstream(&mut marks);
            Ok(marks)
        };
        let mut wanted = both(leading_to(wish.stages)?, &leading_to(wish.until)?);
        if !wanted.contains(&true) {
            return Err(format!("nothing to run: {} need nothing of what --until leaves", listed(wish.stages)));
        }
        if !wish.from.is_empty() {
            let mut marks = self.among(wish.from, "--from", &wanted)?;
            self.add_downstream(&mut marks);
            wanted = both(marks, &wanted);
            self.add_upstream(&mut wanted);
        }
        let forced = self.among(wish.force, "--force", &wanted)?;
        Ok(Chosen { wanted, forced })
    }

    /// The instances that some selectors mean.
    ///
    /// # Errors
    /// In words, where one of them means none.
    pub fn marked(&self, selectors: &[String]) -> Result<Vec<bool>, String> {
        let mut marks = vec![false; self.instances.len()];
        for selector in selectors {
            self.select(selector)?.into_iter().for_each(|index| marks[index] = true);
        }
        Ok(marks)
    }

    /// Those of the wanted that some selectors mean; each has to mean one of them.
    fn among(&self, selectors: &[String], option: &str, wanted: &[bool]) -> Result<Vec<bool>, String> {
        let mut marks = vec![false; self.instances.len()];
        for selector in selectors {
            let mut found = self.select(selector)?;
            found.retain(|index| wanted[*index]);
            if found.is_empty() {
                return Err(format!("{option} {selector}: it is not among the stages to run; name it too, or no stage for all"));
            }
            found.into_iter().for_each(|index| marks[index] = true);
        }
        Ok(marks)
    }

    /// The instances a selector means, by place.
    ///
    /// # Errors
    /// In words, with what was probably meant, where it means none.
    pub fn select(&self, selector: &str) -> Result<Vec<usize>, String> {
        let names: Vec<Name<'_>> = self.instances.iter().map(Instance::parts).collect();
        Selector::parse(selector)?.pick(&names)
    }

    /// Adds to some instances all that they depend on.
    fn add_upstream(&self, marks: &mut [bool]) {
        // The plan is in topological order: backwards, an instance comes before all it reads.
        for index in (0..marks.len()).rev() {
            if marks[index] {
                self.instances[index].reads().for_each(|from| marks[from] = true);
            }
        }
    }

    /// Adds to some instances all that depends on them.
    fn add_downstream(&self, marks: &mut [bool]) {
        for (index, instance) in self.instances.iter().enumerate() {
            if instance.reads().any(|from| marks[from]) {
                marks[index] = true;
            }
        }
    }
}

impl<S> Instance<S> {
    /// Its name taken apart.
    pub fn parts(&self) -> Name<'_> {
        Name { stage: &self.stage, labels: pairs(&self.labels), point: pairs(&self.point) }
    }

    /// The places of those whose results it reads; of one that it reads under several names, several times.
    pub fn reads(&self) -> impl Iterator<Item = usize> {
        self.inputs.iter().flat_map(|input| input.from.iter().copied())
    }
}

fn pairs(labels: &Labels) -> Vec<(&str, &str)> {
    labels.iter().map(|(axis, value)| (axis.as_str(), value.as_str())).collect()
}

fn both(mut marks: Vec<bool>, others: &[bool]) -> Vec<bool> {
    marks.iter_mut().zip(others).for_each(|(mark, other)| *mark &= other);
    marks
}

fn listed(selectors: &[String]) -> String {
    selectors.iter().map(|selector| format!("`{selector}`")).collect::<Vec<_>>().join(", ")
}
