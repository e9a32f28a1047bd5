//! Stages to instances: kinds, matrices, settings, inputs.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use indexmap::IndexMap;

use super::beside::{self, BESIDE, Beside, MOST_IN_POOL};
use super::matrix::{self, Dependent, MOST_INSTANCES, Matrix, Values};
use super::order::order;
use super::{Input, Instance, Kinds, Plan};
use crate::fields::{self, Directory, Fields, Labels, Outside, Port, Reading, WantedFrom};
use crate::looks::Looks;
use crate::manifest::{Entry, Env, Interpolation, Manifest, Map, Node, Scope, Value, is_name};
use crate::source::{Diagnostic, Sources, Span, one_of};

/// More mistakes in one stage than this are not looked for in its other instances.
const ENOUGH: usize = 50;
/// More mistakes in all than this are not looked for: they would not be read, and each costs a search for what was meant.
const MOST_MISTAKES: usize = 100;

/// A plan that lacks its texts, which the caller owns.
pub(super) struct Built<S> {
    name: String,
    description: Option<String>,
    path: PathBuf,
    params: Vec<(String, Node)>,
    pools: IndexMap<String, u64>,
    instances: Vec<Instance<S>>,
}

impl<S> Built<S> {
    pub(super) fn instances(&self) -> &[Instance<S>] {
        &self.instances
    }

    /// Its instances, and what is left.
    pub(super) fn without_instances(mut self) -> (Self, Vec<Instance<S>>) {
        let instances = std::mem::take(&mut self.instances);
        (self, instances)
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn pools(&self) -> &IndexMap<String, u64> {
        &self.pools
    }

    /// Forgets the parameters that are not to be kept.
    pub(super) fn keep_params(&mut self, kept: impl Fn(&str) -> bool) {
        self.params.retain(|(name, _)| kept(name));
    }

    /// The same with other instances, under another name.
    pub(super) fn replaced(self, name: String, instances: Vec<Instance<S>>) -> Self {
        Self { name, instances, ..self }
    }

    pub(super) fn with(self, sources: Sources) -> Plan<S> {
        let Self { name, description, path, params, pools, instances } = self;
        Plan { name, description, path, sources, params, pools, instances }
    }
}

/// A stage whose kind and matrix are known, or known to be wrong.
struct Stage<'m> {
    name: &'m str,
    at: Span,
    /// What stands beside the kind, but for the matrix.
    beside: Node,
    /// The kind's word, and its settings.
    kind: Option<(&'m str, &'m Entry)>,
    matrix: Option<Matrix>,
    /// Whether the matrix is to be believed.
    whole: bool,
}

/// An instance before its inputs are settled.
struct Draft<S> {
    /// Its number in the directory.
    number: usize,
    kind: String,
    labels: Labels,
    name: String,
    stage: String,
    at: Span,
    beside: Beside,
    reading: Reading<S>,
}

/// What a plan is made among: texts that were read, and all there is to look at outside of them.
#[derive(Clone, Copy)]
pub(super) struct World<'a> {
    pub sources: &'a Sources,
    pub env: Env<'a>,
    pub looks: &'a Looks,
}

/// Builds the plan; mistakes are added to `mistakes`, and after any of them what is built is not to be used.
pub(super) fn build<K: Kinds>(
    manifest: Manifest,
    world: World<'_>,
    kinds: &K,
    mistakes: &mut Vec<Diagnostic>,
) -> Option<Built<K::Spec>> {
    let World { sources, env, .. } = world;
    let mut values = Interpolation::new(sources, Arc::clone(&manifest.params), env);
    let params = values.params();
    let name = text(manifest.name.as_ref(), "name", &mut values);
    let description = text(manifest.description.as_ref(), "description", &mut values);
    let pools = pools(&manifest.pools, &mut values);
    let mut stages = Vec::new();
    for (name, entry) in manifest.stages.iter() {
        if mistakes.len() + values.mistakes.len() > MOST_MISTAKES {
            break;
        }
        stages.push(stage(name, entry, kinds, world, &mut values, mistakes));
    }
    let directory = directory(&stages, kinds, mistakes);
    let mut drafts = Vec::new();
    if let Some(directory) = &directory {
        for stage in &stages {
            if mistakes.len() + values.mistakes.len() > MOST_MISTAKES {
                break;
            }
            read_stage(stage, kinds, Around { world, directory, pools: &pools }, &mut values, &mut drafts, mistakes);
        }
    }
    secrets_in_clear(&drafts, &values.env_uses, mistakes);
    mistakes.append(&mut values.mistakes);
    let instances = connect(drafts, mistakes)?;
    let name = name.unwrap_or_else(|| stem(&manifest.path));
    Some(Built { name, description, path: manifest.path, params, pools, instances })
}

/// Variables that are a secret in one place and stand in clear in another, from where they would come into keys and logs.
fn secrets_in_clear<S>(drafts: &[Draft<S>], uses: &BTreeSet<(String, Span)>, mistakes: &mut Vec<Diagnostic>) {
    let secrets: BTreeSet<&(String, Span)> = drafts.iter().flat_map(|draft| &draft.reading.secrets).collect();
    if secrets.is_empty() {
        return;
    }
    let clear: BTreeSet<&(String, Span)> = uses
        .iter()
        .filter(|found| !secrets.contains(found))
        .chain(drafts.iter().flat_map(|draft| &draft.reading.env_uses))
        .collect();
    for (name, at) in clear {
        if let Some((_, secret)) = secrets.iter().find(|(known, _)| known == name) {
            let mistake = Diagnostic::new(
                *at,
                format!("the environment variable `{name}` stands here in clear, and is a secret elsewhere"),
            );
            let help = format!(
                "let the program read it from its own environment: `env: {{ {name}: {{ secret: \"${{env.{name}}}\" }} }}`"
            );
            mistakes.push(mistake.also(*secret, "secret here").help(help));
        }
    }
}

/// What every stage's settings are read among.
#[derive(Clone, Copy)]
struct Around<'a> {
    world: World<'a>,
    directory: &'a Directory,
    pools: &'a IndexMap<String, u64>,
}

/// A text at the top of the manifest.
fn text(node: Option<&Node>, key: &str, values: &mut Interpolation<'_>) -> Option<String> {
    let node = values.expand(node?, Scope::default());
    match &node.value {
        Value::Text(text) if !text.is_empty() => return Some(text.to_string()),
        Value::Broken => {}
        _ => values.mistakes.push(Diagnostic::new(node.span, format!("`{key}` must be text, and this is {}", node.noun()))),
    }
    None
}

/// The pools at the top of the manifest. One that is wrong counts as declared, so that its users are not reported too.
fn pools(written: &Map, values: &mut Interpolation<'_>) -> IndexMap<String, u64> {
    let mut pools = IndexMap::new();
    for (name, entry) in written {
        if !is_name(name) {
            let mistake = Diagnostic::new(entry.key, format!("`{name}` cannot be the name of a pool"));
            values.mistakes.push(mistake.help("use letters, digits, `_` and `-`"));
        }
        let node = values.expand(&entry.node, Scope::default());
        let size = match node.value {
            Value::Int(size) => u64::try_from(size).ok().filter(|size| (1..=MOST_IN_POOL).contains(size)),
            _ => None,
        };
        if size.is_none() && !matches!(node.value, Value::Broken) {
            let message = format!("the size of pool `{name}` must be a whole number from 1 to {MOST_IN_POOL}");
            let help = "how much of it all stages together may take at once: `pools: { api: 2 }`";
            values.mistakes.push(Diagnostic::new(node.span, message).help(help));
        }
        pools.insert(name.clone(), size.unwrap_or(MOST_IN_POOL));
    }
    pools
}

fn stem(path: &Path) -> String {
    path.file_stem().map_or_else(|| "manifest".to_owned(), |stem| stem.to_string_lossy().into_owned())
}

/// Finds a stage's kind and matrix.
fn stage<'m, K: Kinds>(
    name: &'m str,
    entry: &'m Entry,
    kinds: &K,
    world: World<'_>,
    values: &mut Interpolation<'_>,
    mistakes: &mut Vec<Diagnostic>,
) -> Stage<'m> {
    let at = entry.key;
    let nothing = Node::new(at, Value::Null);
    let lost = Stage { name, at, beside: nothing, kind: None, matrix: None, whole: false };
    if !is_name(name) {
        mistakes.push(
            Diagnostic::new(at, format!("`{name}` cannot be the name of a stage")).help("use letters, digits, `_` and `-`"),
        );
    }
    let body = match &entry.node.value {
        Value::Map(body) => body,
        Value::Broken => return lost,
        _ => {
            let message = format!("stage `{name}` must be a mapping, and this is {}", entry.node.noun());
            let help = format!("write `{name}: {{ kind: {{ ... }} }}`; the kinds are {}", list(kinds.words()));
            mistakes.push(Diagnostic::new(entry.node.span, message).help(help));
            return lost;
        }
    };
    let kind = kind(name, at, body, kinds, world.sources, mistakes);
    let (matrix, whole) = match body.get("matrix") {
        None => (None, true),
        Some(entry) => {
            let (plain, dependent) = Dependent::taken(&entry.node);
            let node = values.expand(&plain, Scope::default());
            let (mut matrix, whole) = matrix::read(&node, entry.key, world, mistakes);
            let whole = whole && dependent.resolve(&mut matrix, values);
            (Some(matrix), whole)
        }
    };
    let beside: Map = (body.iter())
        .filter(|(key, _)| BESIDE.contains(&key.as_str()) && *key != "matrix")
        .map(|(key, entry)| (key.clone(), entry.clone()))
        .collect();
    let beside = Node::new(at, Value::Map(Arc::new(beside)));
    Stage { name, at, beside, kind, matrix, whole }
}

/// The one kind of a stage. Where a manifest extends another, the kind it gives counts and the other's is dropped.
fn kind<'m, K: Kinds>(
    stage: &str,
    at: Span,
    body: &'m Map,
    kinds: &K,
    sources: &Sources,
    mistakes: &mut Vec<Diagnostic>,
) -> Option<(&'m str, &'m Entry)> {
    let words = kinds.words();
    let named = || body.iter().filter(|(key, _)| words.contains(&key.as_str()));
    let unknown: Vec<(&String, &Entry)> =
        body.iter().filter(|(key, _)| !words.contains(&key.as_str()) && !BESIDE.contains(&key.as_str())).take(ENOUGH).collect();
    let top = named().map(|(_, entry)| sources.priority(entry.key.source)).max();
    let mut last = named().filter(|(_, entry)| Some(sources.priority(entry.key.source)) == top);
    let kind = last.next();
    for (other, entry) in last {
        if let Some((word, first)) = kind {
            let message = format!("stage `{stage}` has two kinds, `{word}` and `{other}`");
            mistakes.push(Diagnostic::new(entry.key, message).also(first.key, "the first").help("make it two stages"));
        }
    }
    match (kind, &unknown[..]) {
        (Some((word, _)), unknown) => {
            for (key, entry) in unknown {
                let message = format!("unknown key `{key}` in stage `{stage}`");
                let mistake =
                    Diagnostic::new(entry.key, message).note(format!("the settings of a stage stand under its kind, `{word}`"));
                mistakes.push(mistake.maybe_help(one_of(key, BESIDE)));
            }
        }
        (None, []) => {
            let mistake = Diagnostic::new(at, format!("stage `{stage}` has no kind"));
            mistakes.push(mistake.help(format!("write one of {} under it", list(words))));
        }
        (None, unknown) => {
            for (key, entry) in unknown {
                let help = one_of(key, words.iter().copied());
                mistakes.push(Diagnostic::new(entry.key, format!("unknown stage kind `{key}`")).maybe_help(help));
            }
        }
    }
    kind.map(|(word, entry)| (word.as_str(), entry))
}

fn list(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

/// All stages, for references. Nothing where there are too many instances to go on.
fn directory<K: Kinds>(stages: &[Stage<'_>], kinds: &K, mistakes: &mut Vec<Diagnostic>) -> Option<Directory> {
    let mut directory = Directory::default();
    let mut count = 0;
    for stage in stages {
        let yields = stage.kind.map(|(word, _)| kinds.output(word));
        let labels = match &stage.matrix {
            None => vec![Labels::new()],
            Some(matrix) => matrix.rows.iter().map(|row| matrix.labels(row)).collect(),
        };
        count += labels.len();
        if count > MOST_INSTANCES {
            mistakes.push(Diagnostic::new(stage.at, format!("this manifest makes more than {MOST_INSTANCES} instances")));
            return None;
        }
        directory.insert(stage.name, stage.at, yields, stage.whole.then_some(labels));
    }
    Some(directory)
}

/// Reads the settings of each of a stage's instances.
fn read_stage<K: Kinds>(
    stage: &Stage<'_>,
    kinds: &K,
    around: Around<'_>,
    values: &mut Interpolation<'_>,
    drafts: &mut Vec<Draft<K::Spec>>,
    mistakes: &mut Vec<Diagnostic>,
) {
    let before = mistakes.len() + values.mistakes.len();
    let none = Values::new();
    let rows: Vec<Option<&Values>> = match &stage.matrix {
        None => vec![None],
        Some(matrix) => matrix.rows.iter().map(Some).collect(),
    };
    let axes = stage.matrix.as_ref().map_or(&[][..], |matrix| &matrix.axes);
    let outside = Outside {
        sources: around.world.sources,
        directory: around.directory,
        stage: stage.name,
        axes,
        env: around.world.env,
        looks: around.world.looks,
    };
    let numbers = around.directory.instances(stage.name);
    for (at, row) in rows.into_iter().enumerate() {
        if mistakes.len() + values.mistakes.len() > before + ENOUGH {
            return;
        }
        let scope = Scope::stage(row);
        let beside = match &stage.beside.value {
            Value::Map(map) if map.is_empty() => Beside::default(),
            _ => {
                let node = values.expand(&stage.beside, scope);
                let read = |fields: &mut Fields<'_>| beside::read(fields, around.pools);
                let mut beside = fields::read(outside, stage.name, stage.at, &node, read);
                mistakes.append(&mut beside.mistakes);
                beside.value
            }
        };
        let Some((word, entry)) = stage.kind else { continue };
        let node = values.expand(&entry.node, scope);
        let mut reading = fields::read(outside, word, entry.key, &node, |fields| kinds.read(word, fields));
        mistakes.append(&mut reading.mistakes);
        if !stage.whole {
            continue;
        }
        let labels = stage.matrix.as_ref().map_or_else(Labels::new, |matrix| matrix.labels(row.unwrap_or(&none)));
        drafts.push(Draft {
            number: numbers.start + at,
            kind: word.to_owned(),
            name: instance_name(stage.name, &labels),
            labels,
            stage: stage.name.to_owned(),
            at: stage.at,
            beside,
            reading,
        });
    }
}

/// `student[genre=Western,method=talk]`.
fn instance_name(stage: &str, labels: &Labels) -> String {
    if labels.is_empty() {
        return stage.to_owned();
    }
    let pairs: Vec<String> = labels.iter().map(|(axis, value)| format!("{axis}={value}")).collect();
    format!("{stage}[{}]", pairs.join(","))
}

/// Orders the instances and settles their inputs. Nothing after a mistake, here or before.
fn connect<S>(drafts: Vec<Draft<S>>, mistakes: &mut Vec<Diagnostic>) -> Option<Vec<Instance<S>>> {
    // After a mistake some instances are missing, and numbers have gaps.
    let count = drafts.iter().map(|draft| draft.number + 1).max().unwrap_or(0);
    let mut needs: Vec<BTreeSet<usize>> = vec![BTreeSet::new(); count];
    for draft in &drafts {
        for wanted in &draft.reading.wanted {
            if let WantedFrom::Instances(numbers) = &wanted.from {
                needs[draft.number].extend(numbers.iter().filter(|number| **number < count));
            }
        }
    }
    let order = match order(&needs) {
        Ok(order) => order,
        Err(cycles) => {
            mistakes.extend(cycles.iter().take(ENOUGH).map(|cycle| cycle_mistake(cycle, &drafts)));
            return None;
        }
    };
    if !mistakes.is_empty() {
        return None;
    }
    let inputs = settle(&drafts, &order, mistakes)?;
    let mut place = vec![0; count];
    for (at, number) in order.iter().enumerate() {
        place[*number] = at;
    }
    let mut instances: Vec<(usize, Instance<S>)> = drafts
        .into_iter()
        .zip(inputs)
        .map(|(draft, mut inputs)| {
            for input in &mut inputs {
                input.from.iter_mut().for_each(|number| *number = place[*number]);
            }
            (place[draft.number], draft.with(inputs))
        })
        .collect();
    instances.sort_by_key(|(place, _)| *place);
    Some(instances.into_iter().map(|(_, instance)| instance).collect())
}

impl<S> Draft<S> {
    fn with(self, inputs: Vec<Input>) -> Instance<S> {
        let Reading { value, settings, files, .. } = self.reading;
        let Beside { resources, timeout, retries, description } = self.beside;
        Instance {
            name: self.name,
            stage: self.stage,
            labels: self.labels,
            point: Labels::new(),
            kind: self.kind,
            spec: value,
            settings,
            inputs,
            files,
            resources,
            timeout,
            retries,
            description,
            at: self.at,
        }
    }
}

/// Stages that wait for each other, with the place of each reference. Instances of a matrix that say the same thing say it once.
fn cycle_mistake<S>(cycle: &[usize], drafts: &[Draft<S>]) -> Diagnostic {
    let members: Vec<&Draft<S>> = cycle.iter().filter_map(|number| drafts.iter().find(|draft| draft.number == *number)).collect();
    let stages: BTreeSet<&str> = members.iter().map(|draft| draft.stage.as_str()).collect();
    let short = stages.len() == members.len();
    let name = |draft: &Draft<S>| if short { draft.stage.clone() } else { draft.name.clone() };
    let mut names: Vec<String> = members.iter().map(|draft| name(draft)).collect();
    names.extend(names.first().cloned());
    let message = format!("cycle among stages: `{}`", names.join(" -> "));
    let mut labels = (0..members.len()).filter_map(|at| {
        let (from, to) = (members[at], members[(at + 1) % members.len()]);
        let takes = |from_: &WantedFrom| matches!(from_, WantedFrom::Instances(numbers) if numbers.contains(&from.number));
        let wanted = to.reading.wanted.iter().find(|wanted| takes(&wanted.from))?;
        Some((wanted.at, format!("`{}` takes `{}`", name(to), name(from))))
    });
    let Some((at, text)) = labels.next() else {
        return Diagnostic::new(members[0].at, message);
    };
    let mistake = Diagnostic::new(at, message).label(text);
    labels.fold(mistake, |mistake, (at, text)| mistake.also(at, text))
}

/// The inputs of each draft, `from` still by number. Who is taken through comes earlier in `order`, so its inputs are settled.
fn settle<S>(drafts: &[Draft<S>], order: &[usize], mistakes: &mut Vec<Diagnostic>) -> Option<Vec<Vec<Input>>> {
    let mut settled: Vec<Vec<Input>> = vec![Vec::new(); drafts.len()];
    for number in order {
        let draft = drafts.get(*number)?;
        let mut inputs: Vec<Input> = Vec::new();
        for wanted in &draft.reading.wanted {
            let from = match &wanted.from {
                WantedFrom::Instances(numbers) => numbers.clone(),
                WantedFrom::Through { port, input } => {
                    let named = inputs.iter().find(|known| known.port == *port);
                    let sources = named.map_or(&[][..], |known| &known.from);
                    let through = |source: &usize| {
                        let theirs = settled[*source].iter().find(|known| known.port == Port(input.clone()));
                        match theirs.map(|known| &known.from[..]) {
                            Some([one]) => Some(*one),
                            _ => None,
                        }
                    };
                    let mut all = Vec::new();
                    for source in sources {
                        match through(source) {
                            Some(one) => all.push(one),
                            None => {
                                let message = format!("`{}` takes no `{input}`, which is needed here", drafts[*source].name);
                                mistakes.push(Diagnostic::new(wanted.at, message));
                            }
                        }
                    }
                    all
                }
            };
            let through = matches!(wanted.from, WantedFrom::Through { .. });
            inputs.push(Input { port: wanted.port.clone(), from, many: wanted.many, through, at: wanted.at });
        }
        settled[*number] = inputs;
    }
    mistakes.is_empty().then_some(settled)
}
