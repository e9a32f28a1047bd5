//! The points of a sweep, planned together: one plan, in which what several points have in common stands once.
//!
//! Each point is planned as a manifest by itself, with its parameters in place. An instance of one point is the same as one of another
//! where stage, matrix values, kind, settings and files are the same, and so are the instances it reads. So whatever does not depend on a
//! swept parameter is one instance, and the rest is as many as there are values that matter to it. What runs knows nothing of sweeps.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use super::build::{self, Built, World};
use super::matrix::MOST_INSTANCES;
use super::{Instance, Kinds, Plan, agree};
use crate::fields::Labels;
use crate::looks::Looks;
use crate::manifest::{Entry, Env, Manifest, Reach, Texts, load as load_manifest};
use crate::source::{Diagnostic, Diagnostics, Sources, Span};
use crate::space::{self, Space};

/// With more mistakes than this, no more points are looked at.
const ENOUGH: usize = 50;
/// Stage instances of all points, each counted as often as points have it, that are planned within a minute.
const MOST_PLANNED: usize = 10_000_000;

/// A sweep, planned.
#[derive(Debug)]
pub struct Union<S> {
    /// Every instance of every point, those of the first point first.
    pub plan: Plan<S>,
    /// The points.
    pub space: Space,
    /// Of each point its instances, by place in the plan, ascending.
    pub needs: Vec<Vec<usize>>,
    /// The name of the manifest itself, under which it runs without its sweep.
    pub manifest: String,
}

/// What a sweep is called in the store: its last results are others than those of a plain run.
fn name(manifest: &str) -> String {
    format!("{manifest}.sweep")
}

/// Reads a manifest and plans its sweep.
pub(super) fn load<K: Kinds>(
    texts: Texts<'_>,
    path: &Path,
    sets: &[String],
    env: Env<'_>,
    kinds: &K,
) -> Result<Union<K::Spec>, Diagnostics> {
    let looks = Looks::default();
    let mut sources = Sources::default();
    let mut mistakes = Vec::new();
    let Some(mut manifest) = load_manifest(path, &[], texts, &mut sources, &mut mistakes) else {
        return Err(Diagnostics::new(sources, mistakes));
    };
    let space = space::read(&mut manifest, sets, &mut sources, env, &mut mistakes);
    manifest.check_params(&mut mistakes);
    let world = World { sources: &sources, env, looks: &looks };
    let united = match space {
        Some(space) => unite(&manifest, space, world, kinds, &mut mistakes),
        // There are no points to look at, but perhaps more mistakes.
        None => {
            let _ = build::build(manifest, world, kinds, &mut mistakes);
            None
        }
    };
    match united {
        Some((built, space, needs, manifest)) if mistakes.is_empty() => {
            Ok(Union { plan: built.with(sources), space, needs, manifest })
        }
        _ => Err(Diagnostics::new(sources, mistakes)),
    }
}

type United<S> = (Built<S>, Space, Vec<Vec<usize>>, String);

/// Plans every point, and puts together what is the same.
fn unite<K: Kinds>(
    manifest: &Manifest,
    space: Space,
    world: World<'_>,
    kinds: &K,
    mistakes: &mut Vec<Diagnostic>,
) -> Option<United<K::Spec>> {
    let mut first: Option<Built<K::Spec>> = None;
    let mut known: HashMap<blake3::Hash, usize> = HashMap::new();
    let mut instances: Vec<Instance<K::Spec>> = Vec::new();
    let mut needs: Vec<Vec<usize>> = Vec::new();
    for point in 0..space.points.len() {
        let before = mistakes.len();
        let built = plan_point(manifest, &space, point, world, kinds, mistakes);
        if point > 0 {
            // What is wrong in the first point is mostly wrong in all.
            let name = space.name(point);
            mistakes.iter_mut().skip(before).for_each(|mistake| mistake.notes.push(format!("in the point {name}")));
        }
        let Some(built) = built else {
            if mistakes.len() > ENOUGH {
                return None;
            }
            continue;
        };
        if let Some(first) = &first {
            is_one_run(manifest, first, &built, mistakes);
        }
        if first.is_none() && built.instances().len().saturating_mul(space.points.len()) > MOST_PLANNED {
            let message = format!("the points of this sweep have more than {MOST_PLANNED} stage instances, counted one by one");
            mistakes.push(
                Diagnostic::new(place_of(manifest, &space, world.sources), message)
                    .help("fewer points, or fewer instances in each"),
            );
            return None;
        }
        let mut places = Vec::new();
        let (rest, own) = built.without_instances();
        for mut instance in own {
            for input in &mut instance.inputs {
                input.from.iter_mut().for_each(|from| *from = places[*from]);
            }
            let place = *known.entry(structure(&instance)).or_insert_with(|| {
                instances.push(instance);
                instances.len() - 1
            });
            places.push(place);
        }
        first.get_or_insert(rest);
        if instances.len() > MOST_INSTANCES {
            let message = format!("the points of this sweep have more than {MOST_INSTANCES} stage instances together");
            mistakes.push(
                Diagnostic::new(place_of(manifest, &space, world.sources), message)
                    .help("fewer points, or fewer instances in each"),
            );
            return None;
        }
        places.sort_unstable();
        needs.push(places);
    }
    let mut first = first.filter(|_| mistakes.is_empty())?;
    let values = |column: usize| space.points.iter().map(move |point| &point.0[column].node).collect();
    let params = space.params.iter().enumerate().map(|(column, param)| (param.path.as_str(), values(column)));
    let reach = Reach::new(manifest, params);
    // What a parameter is that differs between points is said by the points.
    first.keep_params(|name| {
        let swept = space.params.iter().any(|param| param.path.split('.').next() == Some(name));
        !swept && manifest.params.get(name).is_some_and(|entry| !reach.of(&entry.node).contains(&true))
    });
    name_apart(manifest, &space, &reach, &needs, &mut instances);
    let own = first.name().to_owned();
    Some((first.replaced(name(&own), instances), space, needs, own))
}

/// A plan of one point.
fn plan_point<K: Kinds>(
    manifest: &Manifest,
    space: &Space,
    point: usize,
    world: World<'_>,
    kinds: &K,
    mistakes: &mut Vec<Diagnostic>,
) -> Option<Built<K::Spec>> {
    let params = space.params_at(point, &manifest.params).map_err(|mistake| mistakes.push(*mistake)).ok()?;
    let mut own = Vec::new();
    let built = build::build(Manifest { params, ..manifest.clone() }, world, kinds, &mut own);
    if let (Some(built), true) = (&built, own.is_empty()) {
        agree::check(built.instances(), kinds, &mut own);
    }
    let sound = own.is_empty();
    // Each mistake once, whatever the number of points that have it.
    own.retain(|new| !mistakes.iter().any(|old| (old.primary.span, &old.message) == (new.primary.span, &new.message)));
    mistakes.append(&mut own);
    built.filter(|_| sound)
}

/// Reports what has to be the same for all points, since they are one run, and is not.
fn is_one_run<S>(manifest: &Manifest, first: &Built<S>, other: &Built<S>, mistakes: &mut Vec<Diagnostic>) {
    let help = "a swept parameter is for stages; the points of a sweep are one run";
    if let Some(node) = manifest.name.as_ref().filter(|_| first.name() != other.name()) {
        let message = "the name of the manifest depends on a swept parameter";
        push_once(mistakes, Diagnostic::new(node.span, message).help(help));
    }
    for (name, size) in first.pools() {
        if let (true, Some(Entry { node, .. })) = (other.pools().get(name) != Some(size), manifest.pools.get(name)) {
            let message = format!("the size of pool `{name}` depends on a swept parameter");
            push_once(mistakes, Diagnostic::new(node.span, message).help(help));
        }
    }
}

fn push_once(mistakes: &mut Vec<Diagnostic>, mistake: Diagnostic) {
    if !mistakes.contains(&mistake) {
        mistakes.push(mistake);
    }
}

fn place_of(manifest: &Manifest, space: &Space, sources: &Sources) -> Span {
    let place = manifest.sweep.as_ref().map(|entry| entry.key).or_else(|| space.params.first().map(|param| param.at));
    place.unwrap_or_else(|| sources.whole(manifest.source).part(0, 0))
}

/// Equal for instances that are the same: what they are, and the places of what they read.
fn structure<S>(instance: &Instance<S>) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    let mut field = |text: &str| {
        hasher.update(&(text.len() as u64).to_le_bytes());
        hasher.update(text.as_bytes());
    };
    field(&instance.name);
    field(&instance.kind);
    for (path, value) in instance.settings.canonical() {
        field("setting");
        field(path);
        field(&value);
    }
    for file in &instance.files {
        field("file");
        field(&file.field);
        field(&file.path.to_string_lossy());
    }
    for input in &instance.inputs {
        field("input");
        field(&input.port.0);
        input.from.iter().for_each(|from| field(&from.to_string()));
    }
    hasher.finalize()
}

/// Gives those instances names of their own of which a sweep has several: `student@rounds=2`, with the parameters that it depends on.
fn name_apart<S>(manifest: &Manifest, space: &Space, reach: &Reach<'_>, needs: &[Vec<usize>], instances: &mut [Instance<S>]) {
    let mut of: Vec<Vec<usize>> = vec![Vec::new(); instances.len()];
    for (point, needed) in needs.iter().enumerate() {
        needed.iter().for_each(|place| of[*place].push(point));
    }
    // Of each name that several have, the points that have one of them.
    let mut several: HashMap<String, (usize, BTreeSet<usize>)> = HashMap::new();
    for (instance, points) in instances.iter().zip(&of) {
        let (count, all) = several.entry(instance.name.clone()).or_default();
        *count += 1;
        all.extend(points);
    }
    several.retain(|_, (count, _)| *count > 1);
    let stages: BTreeMap<&str, Vec<bool>> =
        manifest.stages.iter().map(|(name, entry)| (name.as_str(), reach.of(&entry.node))).collect();
    let mut reached: Vec<Vec<bool>> = Vec::new();
    let mut taken: BTreeSet<String> = BTreeSet::new();
    for (place, instance) in instances.iter_mut().enumerate() {
        let mut marks = stages.get(instance.stage.as_str()).cloned().unwrap_or_else(|| vec![false; space.params.len()]);
        for from in instance.reads() {
            marks.iter_mut().zip(&reached[from]).for_each(|(mark, other)| *mark |= other);
        }
        let depends = marks.clone();
        reached.push(marks);
        let Some((_, all)) = several.get(&instance.name) else { continue };
        let points = &of[place];
        let value = |column: usize, point: usize| &space.points[point].0[column].name;
        // It tells this one from others where it is the same for all points that have this one, and not for all that have one of them.
        let same = |column: usize| points.iter().all(|point| value(column, *point) == value(column, points[0]));
        let tells = |column: &usize| same(*column) && all.iter().any(|point| value(*column, *point) != value(*column, points[0]));
        let columns = (0..space.params.len()).filter(|column| depends[*column]).filter(tells);
        let mut point: Labels =
            columns.map(|column| (space.params[column].path.clone(), value(column, points[0]).to_string())).collect();
        let written =
            |point: &Labels| point.iter().map(|(param, value)| format!("{param}={value}")).collect::<Vec<_>>().join(",");
        if point.is_empty() || taken.contains(&format!("{}@{}", instance.name, written(&point))) {
            // No parameter by itself tells it from the others: then its first point does.
            point.insert("point".to_owned(), (points[0] + 1).to_string());
        }
        instance.name = format!("{}@{}", instance.name, written(&point));
        instance.point = point;
        taken.insert(instance.name.clone());
    }
}
