//! A stage named on the command line, as in a manifest: `student`, or `student[genre=Western,method=talk]`.

use super::{Instance, Plan};
use crate::{
    fields::Reference,
    source::{Sources, one_of},
};

impl<S> Plan<S> {
    /// The instances a reference means, by place.
    ///
    /// # Errors
    /// In words, with what was probably meant, where it means none.
    pub fn select(&self, reference: &str) -> Result<Vec<usize>, String> {
        let mut sources = Sources::default();
        let typed = sources.add_text("", reference.to_owned());
        let parsed = Reference::parse(reference, sources.whole(typed)).map_err(|lost| {
            lost.0.map_or_else(|| format!("`{reference}` is not a reference to a stage"), |mistake| mistake.message)
        })?;
        let of_stage = || self.instances.iter().enumerate().filter(|(_, instance)| instance.stage == parsed.stage);
        if of_stage().next().is_none() {
            return Err(with(format!("no stage is called `{}`", parsed.stage), one_of(parsed.stage, self.stages())));
        }
        let selection = parsed.selection.unwrap_or_default();
        let fits = |instance: &Instance<S>| {
            selection.iter().all(|((_, axis), (_, value))| instance.labels.get(*axis).is_some_and(|own| own == value))
        };
        let found: Vec<usize> = of_stage().filter(|(_, instance)| fits(instance)).map(|(place, _)| place).collect();
        if found.is_empty() {
            let names = of_stage().map(|(_, instance)| instance.name.as_str());
            return Err(with(format!("no instance fits `{reference}`"), one_of(reference, names)));
        }
        Ok(found)
    }

    /// The stages' names, each once.
    fn stages(&self) -> impl Iterator<Item = &str> + Clone {
        let first = |place: &usize| self.instances[..*place].iter().all(|before| before.stage != self.instances[*place].stage);
        let first = (0..self.instances.len()).filter(first).collect::<Vec<_>>();
        first.into_iter().map(|place| self.instances[place].stage.as_str())
    }
}

fn with(message: String, help: Option<String>) -> String {
    help.map_or(message.clone(), |help| format!("{message}: {help}"))
}
