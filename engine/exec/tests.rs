//! Random graphs of small stages: what runs, in which order, and what does not.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

use std::{
    collections::BTreeMap,
    fmt::Write,
    fs,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use proptest::prelude::*;

use super::*;
use crate::{
    artifact::ArtifactKind,
    fields::Fields,
    plan::Kinds,
    stage::{Gpu, StageCx},
};

/// A stage that writes its text and the contents of its inputs, or, where it is `blunt`, always the same.
struct Node {
    text: String,
    blunt: bool,
    fails: bool,
    /// Whether it counts how many are at work at once.
    counts: bool,
    /// What it takes of cores, GPUs and the pools `p` and `q`, for it to be summed up while it is at work.
    takes: [u64; 4],
}

static AT_WORK: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

/// What all at work have taken together, and which GPUs, of the runs that sum it up; one at a time.
static TAKEN: Mutex<([u64; 4], Vec<usize>)> = Mutex::new(([0; 4], Vec::new()));
static SUMMING: Mutex<()> = Mutex::new(());

struct Nodes;

impl Kinds for Nodes {
    type Spec = Node;

    fn words(&self) -> &[&str] {
        &["node"]
    }

    fn output(&self, _: &str) -> ArtifactKind {
        ArtifactKind::Scores
    }

    fn read(&self, _: &str, f: &mut Fields<'_>) -> Node {
        if f.has("from") {
            f.stages("from", ArtifactKind::Scores);
        }
        Node {
            text: f.text("text", Some("-")),
            blunt: f.bool("blunt", Some(false)),
            fails: f.bool("fails", Some(false)),
            counts: f.bool("counts", Some(false)),
            takes: ["cores", "gpus", "p", "q"].map(|what| f.int(what, Some(0), 0..)),
        }
    }
}

impl Stage for Node {
    fn kind(&self) -> &'static str {
        "node"
    }

    fn version(&self) -> u32 {
        1
    }

    fn backend(&self, _: Device) -> Option<String> {
        None
    }

    fn run(&self, cx: &mut StageCx<'_>) -> anyhow::Result<()> {
        anyhow::ensure!(!self.fails, "told to fail");
        if self.counts {
            MOST.fetch_max(AT_WORK.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(30));
            AT_WORK.fetch_sub(1, Ordering::SeqCst);
        }
        if self.takes[0] > 0 {
            self.take(cx)?;
        }
        let mut text = self.text.clone();
        for input in cx.inputs("from") {
            write!(text, "({})", fs::read_to_string(input.file("out")?)?)?;
        }
        fs::write(cx.out.join("out"), if self.blunt { "blunt" } else { &text })?;
        Ok(())
    }
}

/// What there is of it in the runs that sum it up.
const THERE: [u64; 4] = [3, 2, 2, 5];

impl Node {
    fn take(&self, cx: &StageCx<'_>) -> anyhow::Result<()> {
        let gpus: Vec<usize> = cx.gpus.iter().map(|gpu| gpu.ordinal).collect();
        anyhow::ensure!(gpus.len() as u64 == self.takes[1], "{} GPUs", gpus.len());
        {
            let (sums, taken) = &mut *TAKEN.lock().unwrap();
            sums.iter_mut().zip(self.takes).for_each(|(sum, takes)| *sum += takes);
            anyhow::ensure!(sums.iter().zip(THERE).all(|(sum, there)| *sum <= there), "too much at once: {sums:?}");
            anyhow::ensure!(gpus.iter().all(|gpu| !taken.contains(gpu)), "a GPU for two");
            taken.extend(&gpus);
        }
        std::thread::sleep(Duration::from_millis(1));
        let (sums, taken) = &mut *TAKEN.lock().unwrap();
        sums.iter_mut().zip(self.takes).for_each(|(sum, takes)| *sum -= takes);
        taken.retain(|gpu| !gpus.contains(gpu));
        Ok(())
    }
}

/// One stage of a random graph: it reads some of those before it.
#[derive(Clone, Debug)]
struct Random {
    from: Vec<usize>,
    text: u8,
    blunt: bool,
}

fn graphs() -> impl Strategy<Value = Vec<Random>> {
    let node = (prop::collection::vec(any::<prop::sample::Index>(), 0..3), 0_u8..4, prop::bool::weighted(0.25));
    prop::collection::vec(node, 1..9).prop_map(|nodes| {
        let node = |(place, (from, text, blunt)): (usize, (Vec<prop::sample::Index>, u8, bool))| {
            let mut from: Vec<usize> = from.iter().filter(|_| place > 0).map(|index| index.index(place)).collect();
            from.sort_unstable();
            from.dedup();
            Random { from, text, blunt }
        };
        nodes.into_iter().enumerate().map(node).collect()
    })
}

fn manifest(graph: &[Random], backwards: bool) -> String {
    let stage = |(place, node): (usize, &Random)| {
        let from: Vec<String> = node.from.iter().map(|from| format!("s{from}")).collect();
        let from = if from.is_empty() { String::new() } else { format!("from: [{}], ", from.join(", ")) };
        format!("  s{place}:\n    node: {{ {from}text: t{}, blunt: {} }}\n", node.text, node.blunt)
    };
    let mut stages: Vec<String> = graph.iter().enumerate().map(stage).collect();
    if backwards {
        stages.reverse();
    }
    format!("talkflow: 1\nname: random\nstages:\n{}", stages.concat())
}

/// What each stage makes.
fn contents(graph: &[Random]) -> Vec<String> {
    let mut made: Vec<String> = Vec::new();
    for node in graph {
        let inputs: String = node.from.iter().map(|from| format!("({})", made[*from])).collect();
        made.push(if node.blunt { "blunt".to_owned() } else { format!("t{}{inputs}", node.text) });
    }
    made
}

struct World {
    folder: tempfile::TempDir,
    store: Store,
}

struct Did {
    outcome: Outcome,
    /// How often each stage's work began.
    began: Vec<String>,
    /// Stages by the end of their work, and before that what they read.
    log: Vec<String>,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("store")).unwrap();
        Self { folder, store }
    }

    fn run(&self, text: &str, cores: usize, keep_going: bool) -> Did {
        self.run_forced(text, cores, keep_going, |_| false)
    }

    /// The same, some instances although their results are there.
    fn run_forced(&self, text: &str, cores: usize, keep_going: bool, forced: impl Fn(usize) -> bool) -> Did {
        let limits = Limits { cores, memory: 1 << 30, gpus: Vec::new(), pools: Vec::new() };
        self.run_with(text, limits, keep_going, forced)
    }

    fn run_within(&self, text: &str, limits: Limits, keep_going: bool) -> Did {
        self.run_with(text, limits, keep_going, |_| false)
    }

    fn run_with(&self, text: &str, limits: Limits, keep_going: bool, forced: impl Fn(usize) -> bool) -> Did {
        let path = self.folder.path().join("m.yaml");
        fs::write(&path, text).unwrap();
        let plan = crate::plan::load(&path, &[], &|_| None, &Nodes).unwrap();
        let n = plan.instances.len();
        let options = Options {
            limits,
            keep_going,
            wanted: vec![true; n],
            forced: (0..n).map(forced).collect(),
            device: Device::Cpu,
            places: Places { data: None, cache: self.folder.path().join("cache"), offline: true },
            paranoid: false,
        };
        let order = Mutex::new((Vec::new(), Vec::new()));
        let mut report = |event: &Event| match event {
            Event::Started { stage, .. } => order.lock().unwrap().0.push(stage.clone()),
            Event::Finished { stage, .. } => order.lock().unwrap().1.push(stage.clone()),
            _ => {}
        };
        let at = RunAt { id: "r", folder: self.store.root() };
        let mut latest = self.store.latest(&plan.name).unwrap();
        let outcome = run(&plan, &self.store, &options, &at, &Cancel::default(), &mut latest, &mut report).unwrap();
        let (began, log) = order.into_inner().unwrap();
        Did { outcome, began, log }
    }
}

/// Flips a bit in some files of a store, or removes them.
fn damage(store: &Path, which: &[bool], remove: bool) {
    let blobs = walkdir::WalkDir::new(store.join("blobs")).sort_by_file_name().into_iter().flatten();
    let blobs = blobs.filter(|entry| entry.file_type().is_file()).map(walkdir::DirEntry::into_path);
    for (path, _) in blobs.zip(which.iter().cycle()).filter(|(_, damaged)| **damaged) {
        let mut text = fs::read(&path).unwrap();
        text[0] ^= 1;
        fs::remove_file(&path).unwrap();
        if !remove {
            fs::write(&path, text).unwrap();
        }
    }
}

fn keys(did: &Did) -> BTreeMap<String, String> {
    did.outcome.steps.iter().map(|step| (step.name.clone(), step.key().unwrap().to_string())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn each_stage_runs_once_after_its_inputs_and_then_never_again(graph in graphs()) {
        let world = World::new();
        let did = world.run(&manifest(&graph, false), 2, false);
        // Of the stages that did work, none began before those it reads had ended; equal stages share one result.
        let place = |list: &[String], index: usize| list.iter().position(|name| *name == format!("s{index}"));
        for (index, node) in graph.iter().enumerate() {
            let Some(began) = place(&did.log, index) else { continue };
            for from in &node.from {
                prop_assert!(place(&did.log, *from).is_none_or(|ended| ended < began));
            }
        }
        prop_assert_eq!(did.outcome.count(Fate::Failed) + did.outcome.count(Fate::Skipped), 0);
        let again = world.run(&manifest(&graph, false), 2, false);
        prop_assert_eq!(again.outcome.count(Fate::Cached), graph.len());
    }

    #[test]
    fn what_is_damaged_is_made_again_and_the_end_is_the_same(
        graph in graphs(),
        damaged in prop::collection::vec(any::<bool>(), 8),
        forced in prop::collection::vec(any::<bool>(), 9),
        remove in any::<bool>(),
        cores in 1_usize..4,
    ) {
        let mut world = World::new();
        let text = manifest(&graph, false);
        let before = world.run(&text, 2, false);
        // Another process: this one knows what it has written.
        world.store = Store::open(&world.folder.path().join("store")).unwrap();
        damage(world.store.root(), &damaged, remove);
        let did = world.run_forced(&text, cores, false, |index| forced[index]);
        prop_assert_eq!(did.outcome.count(Fate::Failed) + did.outcome.count(Fate::Skipped), 0);
        prop_assert_eq!(keys(&before), keys(&did));
        // What was forced to run read nothing damaged, and what it made is right; what nobody read may still be damaged.
        for index in (0..graph.len()).filter(|index| forced[*index]) {
            let (first, second) = (&before.outcome.steps[index].record, did.outcome.steps[index].record.as_ref().unwrap());
            prop_assert_eq!(&first.as_ref().unwrap().files, &second.files);
            prop_assert_eq!(world.store.prove(&second.files).unwrap(), []);
            for from in &graph[index].from {
                let record = did.outcome.steps[*from].record.as_ref().unwrap();
                prop_assert_eq!(world.store.prove(&record.files).unwrap(), []);
            }
        }
        world.store.verify(None, &|_, _| {}).unwrap();
        world.run(&text, 1, false);
        prop_assert_eq!(world.store.verify(None, &|_, _| {}).unwrap().damage, []);
    }

    #[test]
    fn only_what_reads_other_contents_runs_again(graph in graphs(), which in any::<prop::sample::Index>()) {
        let world = World::new();
        let first = keys(&world.run(&manifest(&graph, false), 1, false));
        let mut changed = graph.clone();
        let which = which.index(graph.len());
        changed[which].text = 9;
        let did = world.run(&manifest(&changed, false), 1, false);
        let second = keys(&did);
        let (before, after) = (contents(&graph), contents(&changed));
        for (index, node) in changed.iter().enumerate() {
            let name = format!("s{index}");
            // A key changes with the stage's own text or with the contents of what it reads, and with nothing else.
            let expected = index == which || node.from.iter().any(|from| before[*from] != after[*from]);
            prop_assert_eq!(first[&name] != second[&name], expected, "{}", name);
            let step = did.outcome.steps.iter().find(|step| step.name == name).unwrap();
            prop_assert!(step.fate == Fate::Cached || expected, "{} ran", name);
        }
    }

    #[test]
    fn keys_depend_neither_on_the_order_of_stages_nor_on_cores(graph in graphs()) {
        let (one, two) = (World::new(), World::new());
        prop_assert_eq!(
            keys(&one.run(&manifest(&graph, false), 1, false)),
            keys(&two.run(&manifest(&graph, true), 4, false))
        );
    }

    #[test]
    fn keys_do_not_depend_on_what_stages_are_called(graph in graphs()) {
        let text = manifest(&graph, false);
        // Names in the other order of the alphabet, from the last place to the first so that none is taken twice.
        let renamed = (0..graph.len()).rev().fold(text.clone(), |text, place| {
            text.replace(&format!("s{place}"), &format!("n{}", graph.len() - place))
        });
        let world = World::new();
        world.run(&text, 1, false);
        prop_assert_eq!(world.run(&renamed, 1, false).outcome.count(Fate::Cached), graph.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn with_any_mix_of_demands_everything_runs_and_no_limit_is_passed(
        graph in graphs(), demands in prop::collection::vec((1_u64..=3, 0_u64..=2, 0_u64..=2, 0_u64..=5), 9),
    ) {
        let _alone = SUMMING.lock().unwrap();
        *TAKEN.lock().unwrap() = Default::default();
        let stage = |(place, node): (usize, &Random)| {
            let (cores, gpus, p, q) = demands[place];
            let from: Vec<String> = node.from.iter().map(|from| format!("s{from}")).collect();
            let from = if from.is_empty() { String::new() } else { format!("from: [{}], ", from.join(", ")) };
            let pools: Vec<String> =
                [("p", p), ("q", q)].iter().filter(|(_, n)| *n > 0).map(|(pool, n)| format!("{pool}: {n}")).collect();
            format!(
                "  s{place}:\n    resources: {{ cores: {cores}, gpus: {gpus}, pools: {{ {} }} }}\n    \
                 node: {{ {from}text: t{place}, cores: {cores}, gpus: {gpus}, p: {p}, q: {q} }}\n",
                pools.join(", ")
            )
        };
        let stages: String = graph.iter().enumerate().map(stage).collect();
        let text = format!("talkflow: 1\nname: mix\npools: {{ p: 2, q: 5 }}\nstages:\n{stages}");
        let did = World::new().run_within(&text, limits(), true);
        prop_assert_eq!(did.outcome.count(Fate::Ran), graph.len(), "{:?}", did.outcome.steps);
    }
}

/// [`THERE`].
fn limits() -> Limits {
    let gpus = (0..2).map(|ordinal| Gpu { ordinal, name: ordinal.to_string() }).collect();
    Limits { cores: 3, memory: 1 << 30, gpus, pools: vec![2, 5] }
}

#[test]
fn resources_are_in_no_key() {
    let world = World::new();
    let text = |resources: &str| {
        format!("talkflow: 1\nname: k\npools: {{ p: 2 }}\nstages:\n  a:\n    {resources}\n    node: {{ text: a }}\n")
    };
    let first = world.run_within(&text("description: none"), limits(), false);
    let all = "resources: { cores: 2, memory: 1 MiB, gpus: 1, pools: { p: 1 } }";
    let second = world.run_within(&text(all), limits(), false);
    assert_eq!((first.outcome.count(Fate::Ran), second.outcome.count(Fate::Cached)), (1, 1));
}

/// Notes how long instances of the manifest `long` took.
fn remember(world: &World, seconds: &[(&str, f64)]) {
    let other = world.run("talkflow: 1\nname: other\nstages:\n  x:\n    node: { text: x }\n", 1, false);
    let mut record = other.outcome.steps[0].record.clone().unwrap();
    let mut latest = world.store.latest("long").unwrap();
    for (instance, seconds) in seconds {
        record.provenance.seconds = *seconds;
        latest.set(instance, &record).unwrap();
    }
}

const LONG: &str = "talkflow: 1\nname: long\nstages:\n  a:\n    node: { text: a }\n  b:\n    node: { text: b }\n  c:\n    \
    node: { text: c }\n  c1:\n    node: { from: c, text: c1 }\n  c2:\n    node: { from: c1, text: c2 }\n  d:\n    matrix: { n: [1, 2] }\n    \
    node: { text: \"d${matrix.n}\" }\n";

#[test]
fn what_begins_the_longest_expected_path_runs_first() {
    let began = |seconds: &[(&str, f64)]| {
        let world = World::new();
        remember(&world, seconds);
        world.run(LONG, 1, false).began.join(" ")
    };
    // Nothing is known: a second each, so the longest chain comes first, and then the plan's order.
    assert_eq!(began(&[]), "c c1 a b c2 d[n=1] d[n=2]");
    assert_eq!(began(&[("a", 1.0), ("b", 5.0), ("c2", 9.0)]), "c c1 c2 b d[n=1] d[n=2] a");
    // Of what is new the mean of its kind is expected, of which others may be gone from the manifest: here 50 seconds.
    assert_eq!(began(&[("a", 1.0), ("gone", 99.0)]), "c c1 b c2 d[n=1] d[n=2] a");
}

#[test]
fn what_a_run_took_is_known_to_the_next() {
    let world = World::new();
    world.run(LONG, 1, false);
    let path = world.folder.path().join("m.yaml");
    let plan = crate::plan::load(&path, &[], &|_| None, &Nodes).unwrap();
    let latest = world.store.latest("long").unwrap();
    let record = |name: &str| match world.store.lookup(latest.get(name).unwrap()).unwrap() {
        Lookup::Found(record) => record.provenance.seconds,
        _ => panic!("{name} has no result"),
    };
    let taken: Vec<f64> = plan.instances.iter().map(|instance| record(&instance.name)).collect();
    for (expected, taken) in expected_seconds(&plan, &latest).into_iter().zip(taken) {
        assert!((expected - taken).abs() <= 1e-3, "{expected} for {taken}");
    }
}

#[test]
fn a_chain_of_fresh_stages_shares_one_result() {
    let graph: Vec<Random> =
        (0..300).map(|n: usize| Random { from: n.checked_sub(1).into_iter().collect(), text: 0, blunt: true }).collect();
    let world = World::new();
    // Blunt stages make one and the same result, so that two keys are all there is to make.
    let did = world.run(&manifest(&graph, false), 1, false);
    assert_eq!((did.outcome.count(Fate::Ran), did.outcome.count(Fate::Cached)), (2, 298));
}

#[test]
fn what_follows_a_failure_is_skipped_and_the_rest_goes_on_if_told_to() {
    let text = "talkflow: 1\nname: f\nstages:\n  a:\n    node: { fails: true }\n  b:\n    node: { from: a }\n  c:\n    node: { from: b, text: c }\n  d:\n    \
        node: { text: d }\n  e:\n    node: { from: d }\n";
    let fates = |did: &Did| did.outcome.steps.iter().map(|step| step.fate).collect::<Vec<_>>();
    use Fate::{Failed, Ran, Skipped};
    assert_eq!(fates(&World::new().run(text, 1, true)), [Failed, Skipped, Skipped, Ran, Ran]);
    let stopped = World::new().run(text, 1, false);
    assert_eq!(stopped.outcome.count(Failed), 1);
    assert_eq!(stopped.outcome.count(Ran), 0);
}

#[test]
fn a_failure_is_tried_again_as_often_as_the_manifest_says() {
    let text = "talkflow: 1\nname: f\nstages:\n  a:\n    retries: 2\n    node: { fails: true }\n";
    let did = World::new().run(text, 1, false);
    assert_eq!((did.began.len(), did.outcome.count(Fate::Failed)), (3, 1));
}

#[test]
fn stages_run_side_by_side_within_the_cores_and_no_further() {
    let text = |resources: &str| {
        let stage = |n: usize| format!("  s{n}:\n{resources}    node: {{ text: t{n}, counts: true }}\n");
        format!("talkflow: 1\nname: p\nstages:\n{}", (0..6).map(stage).collect::<String>())
    };
    let most = |resources: &str, cores: usize| {
        MOST.store(0, Ordering::SeqCst);
        let did = World::new().run(&text(resources), cores, false);
        assert_eq!(did.outcome.count(Fate::Ran), 6);
        MOST.load(Ordering::SeqCst)
    };
    // One test for all, since they share the count.
    assert_eq!(most("", 1), 1);
    assert_eq!(most("", 3), 3);
    assert_eq!(most("    resources: { cores: 2 }\n", 3), 1);
    assert_eq!(most("    resources: { cores: 64 }\n", 3), 1);
    assert_eq!(most("    resources: { memory: \"1 GiB\" }\n", 3), 1);
    assert_eq!(most("    resources: { memory: \"256 MiB\" }\n", 3), 3);
}
