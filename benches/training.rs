//! Times training itself, through the same `train` that a pipeline calls: benches (a), (b), (c) and (f) of `benches/README.md`. One line of
//! JSON a measurement, as the peers print them.
//!
//! A step is timed from one question for cancelling to the next, so everything that happens in a step counts; what ends an epoch does not.
//! Users, items and ratings are uniform from a seed.

#![expect(
    clippy::print_stdout,
    clippy::expect_used,
    reason = "a bench prints what it measures, and has nobody to return an error to"
)]

mod peak;

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand};
use talkflow_distill::{
    Adam, Decay, DeviceKind, Examples, Method, ModelSpec, Ncf, Optimizer, RatingModel, Scale, States, Talk, Taps, TaskData,
    TeacherUpper, TeacherView, TrainConfig, TrainIo, Wide, step_cost, train, variances,
};

#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    bench: Bench,
    /// Threads.
    #[arg(long, value_delimiter = ',', default_value = "1,2", global = true)]
    threads: Vec<usize>,
    /// Seconds a measurement.
    #[arg(long, default_value_t = 2.0, global = true)]
    seconds: f64,
    /// Train on the first NVIDIA GPU; needs the feature `cuda`.
    #[arg(long, global = true)]
    cuda: bool,
}

impl Arguments {
    fn device(&self) -> DeviceKind {
        if self.cuda { DeviceKind::Cuda(0) } else { DeviceKind::Cpu }
    }
}

#[derive(Subcommand)]
enum Bench {
    /// A training step of `ncf` (embedding 64, hidden 256-128-64).
    Step {
        #[arg(long, default_value_t = 610)]
        users: u32,
        #[arg(long, default_value_t = 9724)]
        items: u32,
        #[arg(long, value_delimiter = ',', default_value = "256,1024,4096")]
        batch: Vec<usize>,
    },
    /// The step of a student (embedding 64, hidden 64-32) in a talk with a teacher (hidden 256-128-64).
    Talk {
        #[arg(long, value_delimiter = ',', default_value = "256,1024,4096")]
        batch: Vec<usize>,
        #[arg(long, value_delimiter = ',', default_value = "1,2,3")]
        rounds: Vec<usize>,
    },
    /// Just some steps, for tools that count instructions: of `step` where there are no rounds, else of `talk`.
    Count {
        #[arg(long, default_value_t = 20)]
        steps: usize,
        #[arg(long, default_value_t = 1024)]
        batch: usize,
        #[arg(long, default_value_t = 0)]
        rounds: usize,
        /// A student as in `students`, with dropout and decay.
        #[arg(long)]
        small: bool,
    },
    /// Several students from scratch at once, one on each thread (embedding 16, hidden 32-16, batch 64, 20 epochs).
    Students {
        #[arg(long, default_value_t = 64)]
        students: u64,
        #[arg(long, default_value_t = 8000)]
        rows: u32,
    },
}

const SCALE: Scale = Scale { min: 0.5, max: 5.0 };

/// Rows of random users, items and half stars (splitmix64, so that nothing of what is measured makes them).
fn examples(rows: u32, users: u32, items: u32, seed: u64) -> Examples {
    let mut state = seed;
    let mut below = |n: u32| {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % u64::from(n)) as u32
    };
    let mut examples = Examples::default();
    for row in 0..rows {
        examples.row.push(row);
        examples.user.push(below(users));
        examples.item.push(below(items));
        examples.rating.push((1 + below(10)) as f32 / 2.0);
    }
    examples
}

fn ncf(embedding: usize, hidden: &[usize]) -> ModelSpec {
    ModelSpec::Ncf(Ncf { embedding, hidden: hidden.to_vec(), ..Ncf::default() })
}

/// Watches the steps: when each began, and when there were enough of them or of time.
struct Watch {
    until: Instant,
    steps: usize,
    began: RefCell<Vec<Instant>>,
    /// Steps that begin an epoch, after which time has passed with other things.
    epochs: Vec<usize>,
}

impl TrainIo for Watch {
    fn epoch(&mut self, _: &talkflow_distill::Progress<'_>) {
        self.epochs.push(self.began.borrow().len());
    }

    fn cancelled(&self) -> bool {
        let now = Instant::now();
        self.began.borrow_mut().push(now);
        now >= self.until || self.began.borrow().len() > self.steps
    }
}

/// Samples a second, from the time of a step: the median over steps after the first (twenty, or a quarter of them), and the time that a tenth of them keeps below,
/// which on a machine that others use too says more about the code.
struct Rate {
    device: DeviceKind,
    median: f64,
    best_tenth: f64,
    /// 10^9 operations a second in matrix products, at the median; the library counts them.
    gflops: f64,
    /// The same of nothing but a large product, on as many threads, right before and after; of the processor alone.
    peak: f64,
}

impl std::fmt::Display for Rate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Rate { device, median, best_tenth, gflops, peak } = self;
        write!(f, r#""device": "{}", "samples_per_second": {median:.0}, "best_tenth": {best_tenth:.0}, "#, device.name())?;
        write!(f, r#""gflops": {gflops:.1}"#)?;
        match device {
            DeviceKind::Cpu => write!(f, r#", "gemm_peak_gflops": {peak:.1}, "share_of_peak": {:.3}"#, gflops / peak),
            DeviceKind::Cuda(_) => Ok(()),
        }
    }
}

/// Rows to train on, and a teacher where there is one.
struct World {
    users: u32,
    items: u32,
    rows: Examples,
    validation: Examples,
    teacher: Option<Teacher>,
}

struct Teacher {
    low: Vec<f32>,
    low_width: usize,
    variance: Vec<f32>,
    upper: TeacherUpper,
}

impl World {
    fn new(rows: u32, users: u32, items: u32) -> Self {
        Self { users, items, rows: examples(rows, users, items, 1), validation: examples(1, users, items, 2), teacher: None }
    }

    /// With a teacher (hidden 256-128-64), trained on a few of the rows, and its low states of all of them.
    fn with_teacher(self) -> Self {
        let first = |values: &[u32]| values[..256].to_vec();
        let few = Examples {
            row: first(&self.rows.row),
            user: first(&self.rows.user),
            item: first(&self.rows.item),
            rating: self.rows.rating[..256].to_vec(),
        };
        let config = TrainConfig { model: ncf(64, &[256, 128, 64]), epochs: 1, ..TrainConfig::default() };
        let data = TaskData { train: &few, ..self.data() };
        let model: RatingModel = train(&config, &data, None, DeviceKind::Cpu, &mut ()).expect("a teacher can be trained").model;
        let weights = model.to_safetensors().expect("a model can be written");
        let upper = TeacherUpper::load(std::io::Cursor::new(weights), &model.config()).expect("a model can be read");
        let Taps { low, low_width, .. } = model.taps(&self.rows.user, &self.rows.item).expect("a model can be applied");
        let variance = variances(&low, low_width);
        Self { teacher: Some(Teacher { low, low_width, variance, upper }), ..self }
    }

    fn data(&self) -> TaskData<'_> {
        TaskData {
            train: &self.rows,
            validation: &self.validation,
            users: self.users as usize,
            items: self.items as usize,
            scale: SCALE,
        }
    }

    fn view(&self) -> Option<TeacherView<'_>> {
        self.teacher.as_ref().map(|teacher| TeacherView {
            row: &self.rows.row,
            low: Some(States { width: teacher.low_width, values: &teacher.low, variance: &teacher.variance }),
            upper: Some(&teacher.upper),
            ..TeacherView::default()
        })
    }

    /// From scratch without a teacher, a talk with one.
    fn config(&self, batch: usize, rounds: usize) -> TrainConfig {
        let (model, method) = match &self.teacher {
            None => (ncf(64, &[256, 128, 64]), Method::Scratch),
            Some(_) => (ncf(64, &[64, 32]), Method::Talk(Talk { rounds, message_dim: 16, ..Talk::default() })),
        };
        TrainConfig { model, method, batch, epochs: 1 << 20, patience: None, ..TrainConfig::default() }
    }

    /// Trains until there are `steps`, or it is time.
    fn train(&self, config: &TrainConfig, (device, threads): (DeviceKind, usize), steps: usize, until: Instant) -> Watch {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads can be made");
        let mut watch = Watch { until, steps, began: RefCell::default(), epochs: Vec::new() };
        pool.install(|| {
            train(config, &self.data(), self.view(), device, &mut watch)
                .expect_err("a training that is watched ends by being cancelled");
        });
        watch
    }

    fn rate(&self, config: &TrainConfig, (device, threads): (DeviceKind, usize), seconds: f64) -> Rate {
        let cost = step_cost(config, &self.data(), self.view()).expect("what can be trained can be counted");
        let before = peak::gemm_gflops(threads);
        let watch = self.train(config, (device, threads), usize::MAX, Instant::now() + Duration::from_secs_f64(seconds));
        let began = watch.began.into_inner();
        let warm = (began.len() / 4).min(20);
        let within = (warm + 1..began.len()).filter(|step| !watch.epochs.contains(step));
        let mut times: Vec<f64> = within.map(|step| (began[step] - began[step - 1]).as_secs_f64()).collect();
        times.sort_by(f64::total_cmp);
        let peak = before.max(peak::gemm_gflops(threads));
        // An epoch's rows are shared out evenly, so a step may have fewer than `batch`.
        let rows = cost.rows as f64;
        let at = |part: usize| rows / times.get(times.len() / part).expect("there is time for more than two steps");
        Rate { device, median: at(2), best_tenth: at(10), gflops: at(2) * cost.matmul_flops as f64 / rows / 1e9, peak }
    }
}

fn main() {
    // `cargo bench` adds `--bench`, which is not for us.
    let arguments = Arguments::parse_from(std::env::args().filter(|argument| argument != "--bench"));
    match &arguments.bench {
        Bench::Step { users, items, batch } => {
            // A multiple of the batch sizes, so that all steps are full.
            let world = World::new(102_400, *users, *items);
            for &threads in &arguments.threads {
                for &batch in batch {
                    let rate = world.rate(&world.config(batch, 0), (arguments.device(), threads), arguments.seconds);
                    println!(
                        r#"{{"bench": "step", "variant": "talkflow", "threads": {threads}, "batch": {batch}, "users": {users}, "items": {items}, {rate}}}"#
                    );
                }
            }
        }
        Bench::Talk { batch, rounds } => {
            let world = World::new(49_152, 610, 9724).with_teacher();
            for &threads in &arguments.threads {
                for &rounds in rounds {
                    for &batch in batch {
                        let rate = world.rate(&world.config(batch, rounds), (arguments.device(), threads), arguments.seconds);
                        println!(
                            r#"{{"bench": "talk", "variant": "talkflow", "threads": {threads}, "batch": {batch}, "rounds": {rounds}, {rate}}}"#
                        );
                    }
                }
            }
        }
        Bench::Count { steps, batch, rounds, small } => {
            let mut world = World::new(4096, 610, 9724);
            if *rounds > 0 {
                world = world.with_teacher();
            }
            let never = Instant::now() + Duration::from_secs(3600);
            let config = if *small { student(1) } else { world.config(*batch, *rounds) };
            world.train(&TrainConfig { batch: *batch, epochs: 1 << 20, ..config }, (arguments.device(), 1), *steps, never);
        }
        Bench::Students { students, rows } => many(&arguments, *students, *rows),
    }
}

/// The student from scratch of `manifests/movielens_quick.yaml`, for 20 epochs.
fn student(seed: u64) -> TrainConfig {
    let model = ModelSpec::Ncf(Ncf {
        embedding: 16,
        hidden: vec![32, 16],
        dropout: 0.3,
        embedding_sd: 0.03,
        wide: Wide { damping: Some(5.0), ..Wide::default() },
    });
    let decay = Decay { embeddings: 1.0, ..Decay::default() };
    let optimizer = Optimizer::Adam(Adam { decay, ..Adam::default() });
    TrainConfig { model, optimizer, batch: 64, epochs: 20, patience: None, seed, ..TrainConfig::default() }
}

fn many(arguments: &Arguments, students: u64, rows: u32) {
    let (users, items) = (943, 1682);
    let (rows_of, validation) = (examples(rows, users, items, 1), examples(rows / 8, users, items, 2));
    let data = TaskData { train: &rows_of, validation: &validation, users: users as usize, items: items as usize, scale: SCALE };
    for &threads in &arguments.threads {
        let (begin, next) = (Instant::now(), AtomicU64::new(0));
        let work = || {
            // Each with a pool of its own, as stages have.
            let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("threads can be made");
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= students {
                    return;
                }
                let config = student(seed);
                pool.install(|| train(&config, &data, None, DeviceKind::Cpu, &mut ())).expect("a student can be trained");
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(work);
            }
        });
        let seconds = begin.elapsed().as_secs_f64();
        println!(
            r#"{{"bench": "students", "variant": "talkflow", "threads": {threads}, "students": {students}, "rows": {rows}, "students_per_minute": {:.1}}}"#,
            60.0 * students as f64 / seconds
        );
    }
}
