//! Preprocessing of ratings, timed through the very functions that the engine's stages call; one line of JSON a measurement.
//!
//! Every measurement is a process of its own, so that its peak memory is its own. Names and fields are those of the peers' script,
//! `benches/peers/preprocess.py`, which does the same work in Polars and DuckDB.
//!
//! ```sh
//! cargo bench -p talkflow-datasets                                                          # small, with ratings made on the fly
//! cargo bench -p talkflow-datasets --bench preprocess -- generate DIR --ratings 25000000    # ratings.csv and movies.csv
//! cargo bench -p talkflow-datasets --bench preprocess -- --data DIR                         # those
//! ```
//!
//! `RAYON_NUM_THREADS` says how many threads; without it, as many as there are cores.

#![expect(clippy::print_stdout, reason = "a bench prints what it measures")]

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use talkflow_datasets::ColumnNames;
use talkflow_datasets::cards::Scale;
use talkflow_datasets::prepare::{OwnFiles, OwnFormat, OwnItems, Source, prepare};
use talkflow_datasets::progress::Silent;
use talkflow_datasets::ratings::{Ratings, RatingsFiles};
use talkflow_datasets::selection::Selection;
use talkflow_datasets::split::{Fractions, Split, SplitSpec};
use talkflow_datasets::synthetic::{Synthetic, write_csv};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// What is measured.
#[derive(Clone, Copy)]
enum Job {
    /// `ratings.csv` and `movies.csv` to the ratings artifact: dense indices, tables of ids, zstd Parquet.
    Dataset,
    /// That artifact to a random split in 80, 10 and 10 %, written as Parquet.
    Split,
    /// The rows of one genre of that artifact, as a training takes them.
    Genre,
    /// An epoch of shuffled batches of that artifact, gathered by row.
    Batches,
}

impl Job {
    const ALL: [Self; 4] = [Self::Dataset, Self::Split, Self::Genre, Self::Batches];

    fn name(self) -> &'static str {
        match self {
            Self::Dataset => "dataset",
            Self::Split => "split",
            Self::Genre => "genre",
            Self::Batches => "batches",
        }
    }

    fn of(name: &str) -> Outcome<Self> {
        Self::ALL.into_iter().find(|job| job.name() == name).ok_or_else(|| format!("no job is called {name}").into())
    }

    /// Does it, and says how many rows came out.
    fn run(self, task: &Task) -> Outcome<usize> {
        let files = RatingsFiles::in_folder(&task.artifact);
        match self {
            Self::Dataset => Ok(prepare(&Source::Own(csv_files(&task.data)), &task.out, &mut Silent)?.ratings as usize),
            Self::Split => {
                let spec = SplitSpec::ByRating(Fractions::new(0.8, 0.1, 0.1)?);
                let split = Split::make_from(&files, &spec, 1)?;
                split.write(&task.out)?;
                Ok(split.parts().len())
            }
            Self::Genre => {
                let selection = Selection::open(&files, std::slice::from_ref(&task.genre))?;
                Ok(std::hint::black_box(selection).columns().row.len())
            }
            Self::Batches => {
                let ratings = Ratings::open(&files)?;
                Ok(epoch(&ratings))
            }
        }
    }
}

/// Rows of a batch.
const BATCH: usize = 1024;

/// An epoch as the trainer goes through it: a random order of all rows, and for each batch the values of its rows, gathered from whole
/// columns.
fn epoch(ratings: &Ratings) -> usize {
    let mut order: Vec<u32> = (0..ratings.len() as u32).collect();
    let mut state = 1_u64;
    for end in (1..order.len()).rev() {
        // Bits of a Weyl sequence, mixed (SplitMix64), and a product for a remainder (Lemire).
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        order.swap(end, ((u128::from(mixed ^ (mixed >> 31)) * (end as u128 + 1)) >> 64) as usize);
    }
    let (user, item, rating) = (ratings.user(), ratings.item(), ratings.rating());
    let mut rows = 0;
    for batch in order.chunks(BATCH) {
        let users: Vec<u32> = batch.iter().map(|&row| user[row as usize]).collect();
        let items: Vec<u32> = batch.iter().map(|&row| item[row as usize]).collect();
        let ratings: Vec<f32> = batch.iter().map(|&row| rating[row as usize]).collect();
        rows += std::hint::black_box((users, items, ratings)).2.len();
    }
    rows
}

fn csv_files(data: &Path) -> OwnFiles {
    OwnFiles {
        name: "bench".to_owned(),
        ratings: data.join("ratings.csv"),
        format: OwnFormat::Csv { separator: b',' },
        columns: ColumnNames::movielens(),
        items: Some(OwnItems {
            path: data.join("movies.csv"),
            format: OwnFormat::Csv { separator: b',' },
            id: "movieId".to_owned(),
            title: Some("title".to_owned()),
            genres: Some("genres".to_owned()),
            between: "|".to_owned(),
        }),
        // As the cards of MovieLens have it: every rating is checked.
        scale: Some(Scale { min: 0.5, max: 5.0, step: Some(0.5) }),
        licence: None,
        citation: None,
    }
}

/// Where one measurement finds and leaves its files.
struct Task {
    data: PathBuf,
    artifact: PathBuf,
    out: PathBuf,
    genre: String,
}

/// What the command line says.
#[derive(Default)]
struct Arguments {
    plain: Vec<String>,
    data: Option<PathBuf>,
    scratch: Option<PathBuf>,
    artifact: Option<PathBuf>,
    jobs: Vec<Job>,
    genre: Option<String>,
    ratings: Option<u64>,
    repeats: Option<usize>,
}

fn arguments() -> Outcome<Arguments> {
    let mut read = Arguments::default();
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} wants a value"));
        match word.as_str() {
            // What cargo adds.
            "--bench" => {}
            "--data" => read.data = Some(value()?.into()),
            "--scratch" => read.scratch = Some(value()?.into()),
            "--artifact" => read.artifact = Some(value()?.into()),
            "--job" => read.jobs.push(Job::of(&value()?)?),
            "--genre" => read.genre = Some(value()?),
            "--ratings" => read.ratings = Some(value()?.replace('_', "").parse()?),
            "--repeats" => read.repeats = Some(value()?.parse()?),
            option if option.starts_with('-') => return Err(format!("no option is called {option}").into()),
            _ => read.plain.push(word),
        }
    }
    Ok(read)
}

/// As many users and items for a rating as MovieLens 25M has.
fn sizes(ratings: u64) -> Synthetic {
    let share = ratings as f64 / 25_000_095.0;
    let at_least = |whole: f64, least: f64| (whole * share).max(least) as u32;
    Synthetic { users: at_least(162_541.0, 100.0), items: at_least(59_047.0, 1_000.0), ratings, half_stars: true, seed: 1 }
}

/// The most memory this process ever had, in MiB; `None` where the system does not say.
fn peak_mib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib / 1024)
}

fn written(folder: &Path) -> Outcome<u64> {
    std::fs::read_dir(folder)?.try_fold(0, |sum, entry| Ok(sum + entry?.metadata()?.len()))
}

/// Measures in this process, and prints seconds, rows and peak memory.
fn child(job: Job, task: &Task) -> Outcome<()> {
    // Threads are started before the clock, as the engine has started them long before.
    rayon::broadcast(|_| ());
    let begin = Instant::now();
    let rows = job.run(task)?;
    let seconds = begin.elapsed().as_secs_f64();
    let peak = peak_mib().map_or_else(|| "null".to_owned(), |mib| mib.to_string());
    println!("{seconds} {rows} {peak}");
    Ok(())
}

/// One measurement in a process of its own: seconds, rows, peak memory, bytes written.
fn measure(job: Job, task: &Task) -> Outcome<(f64, u64, String, u64)> {
    std::fs::create_dir_all(&task.out)?;
    let output = Command::new(std::env::current_exe()?)
        .arg("child")
        .args([Path::new("--data"), &task.data, Path::new("--artifact"), &task.artifact, Path::new("--scratch"), &task.out])
        .args(["--job", job.name(), "--genre", &task.genre])
        .stderr(std::process::Stdio::inherit())
        .output()?;
    let text = String::from_utf8(output.stdout)?;
    let fields: Vec<&str> = text.split_whitespace().collect();
    let (true, [seconds, rows, peak]) = (output.status.success(), fields.as_slice()) else {
        return Err(format!("{} failed", job.name()).into());
    };
    let measured = (seconds.parse()?, rows.parse()?, (*peak).to_owned(), written(&task.out)?);
    Ok(measured)
}

fn main() -> Outcome<()> {
    let read = arguments()?;
    let genre = read.genre.unwrap_or_else(|| "Western".to_owned());
    let words: Vec<&str> = read.plain.iter().map(String::as_str).collect();
    match words[..] {
        ["generate", folder] => {
            std::fs::create_dir_all(folder)?;
            return Ok(write_csv(&sizes(read.ratings.unwrap_or(25_000_000)), Path::new(folder), &mut Silent)?);
        }
        ["child"] => {
            let (Some(data), Some(artifact), Some(out), [job]) = (read.data, read.artifact, read.scratch, &read.jobs[..]) else {
                return Err("a child is told its files and one job".into());
            };
            return child(*job, &Task { data, artifact, out, genre });
        }
        [] => {}
        _ => return Err(format!("not understood: {}", words.join(" ")).into()),
    }
    let scratch = match &read.scratch {
        Some(folder) => {
            std::fs::create_dir_all(folder)?;
            tempfile::tempdir_in(folder)?
        }
        None => tempfile::tempdir()?,
    };
    let data = match read.data {
        Some(data) => data,
        None => {
            let data = scratch.path().join("data");
            std::fs::create_dir(&data)?;
            write_csv(&sizes(read.ratings.unwrap_or(200_000)), &data, &mut Silent)?;
            data
        }
    };
    let artifact = match read.artifact {
        Some(artifact) => artifact,
        None => {
            let artifact = scratch.path().join("artifact");
            std::fs::create_dir(&artifact)?;
            prepare(&Source::Own(csv_files(&data)), &artifact, &mut Silent)?;
            artifact
        }
    };
    let task = Task { data, artifact, out: scratch.path().join("out"), genre };
    let rows = Ratings::open(&RatingsFiles::in_folder(&task.artifact))?.len();
    for job in if read.jobs.is_empty() { Job::ALL.to_vec() } else { read.jobs } {
        let mut seconds = Vec::new();
        let (mut peak, mut bytes, mut found) = (String::new(), 0, 0);
        for _ in 0..read.repeats.unwrap_or(3).max(1) {
            let (taken, rows, most, written) = measure(job, &task)?;
            seconds.push(taken);
            (found, bytes) = (rows, written);
            // The highest: the one with more digits, or the later in the alphabet.
            if (most.len(), &most) > (peak.len(), &peak) {
                peak = most;
            }
            std::fs::remove_dir_all(&task.out)?;
        }
        let repeats: Vec<String> = seconds.iter().map(|seconds| format!("{seconds:.4}")).collect();
        seconds.sort_by(f64::total_cmp);
        let median = seconds[seconds.len() / 2];
        println!(
            "{{\"bench\": \"preprocess-{}\", \"variant\": \"talkflow\", \"threads\": {}, \"rows\": {rows}, \"seconds\": {median:.4}, \
             \"repeats\": [{}], \"rows_per_second\": {:.0}, \"peak_mib\": {peak}, \"bytes_written\": {bytes}, \"rows_found\": {found}}}",
            job.name(),
            rayon::current_num_threads(),
            repeats.join(", "),
            rows as f64 / median,
        );
    }
    Ok(())
}
