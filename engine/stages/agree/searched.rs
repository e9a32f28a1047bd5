//! What searches ask of the stages around them: trials that say how they were trained and compare, inputs for whatever may be chosen, and
//! in an evaluation the same budget for every column.

use std::collections::{BTreeMap, BTreeSet};

use talkflow_distill::TrainConfig;

use super::{Stages, columns_of, configs};
use crate::{
    plan::{Disagreement, Seen},
    stages::{
        StageSpec, distill,
        evaluate::Evaluate,
        search::Search,
        training::{CHOSEN, Keep, Settings, Training},
    },
};

fn training<'a>(seen: Stages<'a>) -> Option<&'a Training> {
    match seen.spec() {
        StageSpec::Pretrain(pretrain) => Some(&pretrain.0),
        StageSpec::Distill(distill) => Some(&distill.training),
        _ => None,
    }
}

/// What a search may choose, without seeds.
pub(super) fn candidates(search: Stages<'_>) -> Vec<TrainConfig> {
    let mut found: Vec<TrainConfig> = Vec::new();
    for config in search.inputs("trials").flat_map(configs) {
        let config = TrainConfig { seed: 0, ..config };
        if !found.contains(&config) {
            found.push(config);
        }
    }
    found
}

/// What tells trials of a candidate apart: the seed, the genres, and the split.
type Replicate<'a> = (u64, Vec<String>, &'a str);

/// Trials that cannot be compared, or do not say how they were trained.
pub(super) fn of_search(seen: Stages<'_>, search: &Search) -> Vec<Disagreement> {
    let say =
        |field: &str, message: String, help: &str| Disagreement { field: field.to_owned(), message, help: Some(help.to_owned()) };
    let silent = seen.inputs("trials").find(|trial| training(*trial).is_some_and(|training| training.keep == Keep::Nothing));
    if let Some(trial) = silent {
        let message = format!("`{}` does not keep with which settings it was trained", trial.name());
        return vec![say("trials", message, "add `keep: settings` to it, or `keep: state` for longer trainings to go on from")];
    }
    // Of what a search before this one chooses, only the number is known.
    let mut written: Vec<(TrainConfig, BTreeSet<Replicate<'_>>)> = Vec::new();
    for trial in seen.inputs("trials") {
        let Some(Training { settings: Settings::Written(config), filter, .. }) = training(trial) else { return Vec::new() };
        let replicate = (config.seed, filter.genres().to_vec(), trial.input("rows").map_or("", Seen::name));
        let config = TrainConfig { seed: 0, ..(**config).clone() };
        match written.iter_mut().find(|(known, _)| *known == config) {
            Some((_, replicates)) => {
                if !replicates.insert(replicate) {
                    let message = format!("`{}` is another trial once more: same settings, seed and rows", trial.name());
                    return vec![say("trials", message, "give the trials seeds or splits of their own")];
                }
            }
            None => written.push((config, BTreeSet::from([replicate]))),
        }
    }
    let Some(((_, first), rest)) = written.split_first() else { return Vec::new() };
    let mut found = Vec::new();
    if rest.iter().any(|(_, replicates)| replicates != first) {
        let message = "the candidates are not tried on the same seeds and rows, so their scores do not compare".to_owned();
        found.push(say("trials", message, "let `trials` name all combinations of settings with seeds and rows"));
    }
    if search.place > written.len() {
        let message = format!("there are {} candidates, and no place {}", written.len(), search.place);
        found.push(say("place", message, "name a place that there is"));
    }
    found
}

/// Inputs that something a search may choose needs and that are not named, and settings that it has no use for.
pub(super) fn inputs(seen: Stages<'_>, configs: &[TrainConfig]) -> Vec<Disagreement> {
    if seen.input(CHOSEN).is_none() {
        return Vec::new();
    }
    let lacks = |port: &'static str| {
        let method = configs.iter().find(|config| distill::reads(config, port)).filter(|_| seen.input(port).is_none())?;
        Some(Disagreement {
            field: CHOSEN.to_owned(),
            message: format!("the method `{}`, which may be chosen, needs `{port}`", method.method.name()),
            help: Some(format!("add `{port}:`, as its trials have it")),
        })
    };
    let idle = training(seen).and_then(|training| configs.iter().find_map(|config| training.idle(config)));
    let idle = idle.map(|(field, message)| Disagreement {
        field: field.to_owned(),
        message: format!("{message}, and a search may choose that"),
        help: Some("leave it out".to_owned()),
    });
    distill::PORTS.into_iter().filter_map(lacks).chain(idle).collect()
}

/// What was spent on a search: trainings, and the epochs they may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Budget {
    trainings: usize,
    epochs: usize,
}

impl std::fmt::Display for Budget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.trainings {
            0 => f.write_str("no search"),
            n => write!(f, "{n} trainings of at most {} epochs together", self.epochs),
        }
    }
}

/// The trainings behind a search, those of searches before it too, each with its epochs.
fn trials<'a>(search: Stages<'a>, into: &mut BTreeMap<&'a str, usize>) {
    for trial in search.inputs("trials") {
        let epochs = configs(trial).iter().map(|config| config.epochs).max().unwrap_or(0);
        if into.insert(trial.name(), epochs).is_none()
            && let Some(before) = trial.input(CHOSEN)
        {
            trials(before, into);
        }
    }
}

/// Columns whose settings were searched for with another budget than those of others, unless that is declared.
pub(super) fn budgets(seen: Stages<'_>, evaluate: &Evaluate) -> Option<Disagreement> {
    let mut known: BTreeMap<&str, Budget> = BTreeMap::new();
    let mut budgets: Vec<(String, Budget)> = Vec::new();
    for model in seen.inputs("models") {
        let budget = match model.input(CHOSEN) {
            None => Budget { trainings: 0, epochs: 0 },
            Some(search) => *known.entry(search.name()).or_insert_with(|| {
                let mut all = BTreeMap::new();
                trials(search, &mut all);
                Budget { trainings: all.len(), epochs: all.values().sum() }
            }),
        };
        budgets.extend(columns_of(model, evaluate).into_iter().map(|column| (column, budget)));
    }
    budgets.retain(|(column, _)| !evaluate.compare.unequal.contains(column));
    let (first, budget) = budgets.first()?;
    let (other, differs) = budgets.iter().find(|(_, other)| other != budget)?;
    let column = &evaluate.column_axis;
    Some(Disagreement {
        field: "models".to_owned(),
        message: format!(
            "{column} `{first}` was tuned with {budget}, and `{other}` with {differs}: the better tuned one is favoured"
        ),
        help: Some("give each the same budget, or declare those that differ: `compare: { unequal: [...] }`".to_owned()),
    })
}
