//! An encoder's states of examples: what a row's features are, and the way through a data set that makes them.
//!
//! A shard of features is made at a time, of as many rows as settings say, whatever shards the data set has. Within it texts are read in the order of
//! their length, so that those of a batch are alike, and states are put back in the order of rows. Each shard that is done is kept where it
//! outlives a kill.
//!
//! Of ratings the texts are those of items, a row an item; they are few and lie in memory.

use std::{collections::BTreeMap, ops::ControlFlow, time::Instant};

use anyhow::{Context, bail, ensure};
use talkflow_datasets::examples::{Content, Contents, Examples, Shape, Shard as Piece};
use talkflow_distill::{DeviceKind, Hidden, Images, Tokenizer, Tokens as Ids, Transformer, Until};

use super::{
    Tap,
    shards::{Shard, Tokens},
};
use crate::{
    fields::Choice,
    stage::{Input, Talk},
    stages::encoder::{self, About, Opened, Reading},
};

/// About so many tokens are read together: enough to keep all cores busy, few enough to stay small beside a model.
const BATCH_TOKENS: usize = 4096;

/// An encoder, loaded.
pub(super) struct Loaded {
    pub(super) about: About,
    model: Transformer,
    tokenizer: Option<Tokenizer>,
    device: DeviceKind,
}

/// What is to be known of each row.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) taps: Vec<Tap>,
    pub(super) tokens: bool,
}

/// What is read.
pub(super) enum Source {
    /// Examples, of which one shard is in memory.
    Examples {
        /// All of them.
        examples: Box<Examples>,
        /// The shard, with its number.
        piece: Option<(usize, Piece)>,
    },
    /// A text a row.
    Texts(Vec<String>),
}

/// Contents of some rows.
pub(super) enum Items {
    Texts(Vec<String>),
    Images(Vec<u8>, Shape),
}

impl Source {
    pub(super) fn of(examples: Examples) -> Self {
        Self::Examples { examples: Box::new(examples), piece: None }
    }

    pub(super) fn content(&self) -> Content {
        match self {
            Self::Examples { examples, .. } => examples.summary().content,
            Self::Texts(_) => Content::Texts,
        }
    }

    /// What these rows, ascending, hold.
    pub(super) fn items(&mut self, rows: &[u32]) -> anyhow::Result<Items> {
        let (examples, kept) = match self {
            Self::Examples { examples, piece } => (examples, piece),
            Self::Texts(texts) => {
                let text = |row: &u32| texts.get(*row as usize).cloned().context("a row is beyond the last");
                return Ok(Items::Texts(rows.iter().map(text).collect::<anyhow::Result<_>>()?));
            }
        };
        let content = examples.summary().content;
        let (mut texts, mut images) = (Vec::new(), Vec::new());
        for &row in rows {
            let number = examples.shard_of(row);
            let piece = match kept.take() {
                Some((known, piece)) if known == number => piece,
                _ => examples.shard(number)?,
            };
            let at = row.checked_sub(piece.rows.start).context("the rows of a shard are others than they were")? as usize;
            match (&piece.contents, content) {
                (Contents::Texts(all), _) => texts.push(all.get(at).context("a shard has lost a row")?.clone()),
                (Contents::Images(all), Content::Images(shape)) => {
                    let size = shape.bytes();
                    images.extend_from_slice(all.get(at * size..(at + 1) * size).context("a shard has lost a row")?);
                }
                (Contents::Images(_), Content::Texts) => bail!("a data set of texts holds images"),
            }
            *kept = Some((number, piece));
        }
        Ok(match content {
            Content::Texts => Items::Texts(texts),
            Content::Images(shape) => Items::Images(images, shape),
        })
    }
}

/// Rows that are read together, by their places, and how their state 0 is made.
struct Batch {
    places: Vec<usize>,
    tokens: usize,
}

impl Loaded {
    /// Loads the encoder of an input.
    pub(super) fn open(input: &Input<'_>, device: DeviceKind) -> anyhow::Result<Self> {
        let Opened { about, files } = encoder::open(input)?;
        let load = || -> anyhow::Result<Self> {
            let model = Transformer::open(&files)?;
            let tokenizer = match about.reads {
                Reading::Texts { longest } => Some(Tokenizer::load(&files.tokenizer, longest)?),
                Reading::Images { .. } => None,
            };
            Ok(Self { about: about.clone(), model, tokenizer, device })
        };
        load().with_context(|| format!("cannot load the encoder of `{}`", input.instance))
    }

    /// Refuses data that it does not read.
    pub(super) fn reads(&self, content: Content) -> anyhow::Result<()> {
        ensure!(
            matches!(
                (&self.about.reads, content),
                (Reading::Texts { .. }, Content::Texts) | (Reading::Images { .. }, Content::Images(_))
            ),
            "the teacher reads {}, and the rows are {}: name a data set or an encoder of the other kind",
            self.about.reads.noun(),
            content.noun()
        );
        Ok(())
    }

    /// The most bytes that a row's features take.
    pub(super) fn bytes_a_row(&self, wanted: &Wanted, number: usize) -> usize {
        // Of images all have as many tokens; this is as good a bound as a shard's size needs.
        let tokens = match self.about.reads {
            Reading::Texts { longest } => longest,
            Reading::Images { size, .. } => self.tokens_of_image(size),
        };
        let states = wanted.taps.len() + if wanted.tokens { tokens } else { 0 };
        self.about.width.saturating_mul(states).saturating_mul(number)
    }

    fn tokens_of_image(&self, size: usize) -> usize {
        self.model.tokens_of_image(size, size).unwrap_or(1)
    }

    /// The states of some contents, a row each; `after` hears how many rows are done with every batch.
    pub(super) fn states(
        &self,
        rows: &[u32],
        items: &Items,
        wanted: &Wanted,
        after: &mut dyn FnMut(usize) -> ControlFlow<()>,
    ) -> anyhow::Result<Shard> {
        let width = self.about.width;
        let mut made = Shard { row: rows.to_vec(), states: BTreeMap::new(), tokens: None };
        for tap in &wanted.taps {
            made.states.insert(*tap, (width, vec![0.0; rows.len() * width]));
        }
        let read = self.read(items)?;
        let lengths: Vec<usize> = match &read {
            Read::Texts(ids) => ids.lengths.clone(),
            Read::Images(_, _) => {
                let Reading::Images { size, .. } = self.about.reads else { bail!("the teacher reads no images") };
                vec![self.tokens_of_image(size); rows.len()]
            }
        };
        if wanted.tokens {
            let mut starts = vec![0];
            for length in &lengths {
                starts.push(starts.last().copied().unwrap_or(0) + length);
            }
            let all = starts.last().copied().unwrap_or(0);
            made.tokens = Some(Tokens { width, starts, values: vec![0.0; all * width] });
        }
        let mut done = 0;
        for batch in batches(&lengths) {
            let first = self.first(&read, &batch.places).with_context(|| {
                let of = batch.places.iter().map(|place| rows[*place]);
                format!("cannot read the rows {} to {}", of.clone().min().unwrap_or(0), of.max().unwrap_or(0))
            })?;
            ensure!(first.lengths.iter().sum::<usize>() == batch.tokens, "a batch has other tokens than were counted");
            let mut from = 0;
            for (&place, &length) in batch.places.iter().zip(&first.lengths) {
                let tokens = &first.values[from * width..(from + length) * width];
                from += length;
                if let Some((_, low)) = made.states.get_mut(&Tap::Low) {
                    mean(tokens, &mut low[place * width..(place + 1) * width]);
                }
                if let Some(Tokens { starts, values, .. }) = &mut made.tokens {
                    values[starts[place] * width..starts[place + 1] * width].copy_from_slice(tokens);
                }
            }
            if let Some((_, high)) = made.states.get_mut(&Tap::High) {
                let pooled = self.model.upper().run(&first, Until::Pooled(self.about.pooling), self.device)?;
                for (&place, state) in batch.places.iter().zip(pooled.values.chunks_exact(width)) {
                    high[place * width..(place + 1) * width].copy_from_slice(state);
                }
            }
            done += batch.places.len();
            if after(done).is_break() {
                bail!("cancelled; run it again to go on from the last whole shard");
            }
        }
        Ok(made)
    }

    fn read<'i>(&self, items: &'i Items) -> anyhow::Result<Read<'i>> {
        match (items, &self.tokenizer) {
            (Items::Texts(texts), Some(tokenizer)) => Ok(Read::Texts(tokenizer.tokens(texts)?)),
            (Items::Images(bytes, shape), None) => Ok(Read::Images(bytes, *shape)),
            _ => bail!("the teacher reads {}, and was given others", self.about.reads.noun()),
        }
    }

    /// State 0 of the rows at some places.
    fn first(&self, read: &Read<'_>, places: &[usize]) -> anyhow::Result<Hidden> {
        match (read, &self.about.reads) {
            (Read::Texts(ids), _) => {
                let mut starts = vec![0];
                for length in &ids.lengths {
                    starts.push(starts.last().copied().unwrap_or(0) + length);
                }
                let some = Ids {
                    ids: places.iter().flat_map(|place| &ids.ids[starts[*place]..starts[place + 1]]).copied().collect(),
                    lengths: places.iter().map(|place| ids.lengths[*place]).collect(),
                };
                Ok(self.model.texts(&some, self.device)?)
            }
            (Read::Images(bytes, shape), Reading::Images { size, mean, sd }) => {
                let plane = shape.height * shape.width;
                let mut some = Vec::with_capacity(places.len() * 3 * plane);
                for place in places {
                    let image = &bytes[place * shape.bytes()..(place + 1) * shape.bytes()];
                    // A grey image is one whose three colours are alike.
                    (0..3).for_each(|channel| some.extend_from_slice(&image[channel % shape.channels * plane..][..plane]));
                }
                let images = Images::of_bytes(&some, (shape.height, shape.width), (*size, *size), (*mean, *sd))?;
                Ok(self.model.images(&images, self.device)?)
            }
            (Read::Images(..), Reading::Texts { .. }) => bail!("the teacher reads texts, and was given images"),
        }
    }
}

/// What a model reads of a shard's contents.
enum Read<'i> {
    Texts(Ids),
    Images(&'i [u8], Shape),
}

/// Shares rows out, those of one length together; the same for the same lengths.
fn batches(lengths: &[usize]) -> Vec<Batch> {
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    order.sort_by_key(|place| lengths[*place]);
    let mut batches: Vec<Batch> = Vec::new();
    for place in order {
        match batches.last_mut() {
            Some(batch) if batch.tokens + lengths[place] <= BATCH_TOKENS => {
                batch.places.push(place);
                batch.tokens += lengths[place];
            }
            _ => batches.push(Batch { places: vec![place], tokens: lengths[place] }),
        }
    }
    batches
}

/// The mean of tokens, in double precision.
fn mean(tokens: &[f32], into: &mut [f32]) {
    let width = into.len();
    let count = (tokens.len() / width).max(1) as f64;
    let mut sums = vec![0.0; width];
    for token in tokens.chunks_exact(width) {
        sums.iter_mut().zip(token).for_each(|(sum, value)| *sum += f64::from(*value));
    }
    into.iter_mut().zip(&sums).for_each(|(into, sum)| *into = (sum / count) as f32);
}

/// How fast work goes, in words.
pub(super) struct Pace {
    began: Instant,
    /// Rows made by now.
    pub(super) made: usize,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self { began: Instant::now(), made: 0 }
    }

    pub(super) fn words(&self, more: usize) -> String {
        format!("{:.0} rows a second", (self.made + more) as f64 / self.began.elapsed().as_secs_f64().max(1e-9))
    }

    /// Tells how far the work is, and hears whether to stop.
    pub(super) fn tell(&self, talk: &Talk<'_>, done: usize, more: usize, of: usize) -> ControlFlow<()> {
        talk.progress((done + more) as u64, Some(of as u64), self.words(more));
        if talk.cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

/// The first of some rows' taps at which two shards are further apart than rounding explains, in words.
pub(super) fn differs(kept: &Shard, place: usize, live: &Shard, within: f32) -> Option<String> {
    let apart = |kept: f32, live: f32| (kept - live).abs() > within * (1.0 + live.abs());
    let say = |tap: &str, kept: &[f32], live: &[f32]| {
        let at = kept.iter().zip(live).position(|(kept, live)| apart(*kept, *live))?;
        Some(format!("its `{tap}` has {} at place {at}, and {} when it is computed again", kept[at], live[at]))
    };
    let of_taps = live.states.iter().find_map(|(tap, (width, live))| {
        let (_, kept) = kept.states.get(tap)?;
        say(tap.word(), &kept[place * width..(place + 1) * width], live)
    });
    of_taps.or_else(|| {
        let (kept, live) = (kept.tokens.as_ref()?, live.tokens.as_ref()?);
        let kept = &kept.values[kept.starts[place] * kept.width..kept.starts[place + 1] * kept.width];
        if kept.len() != live.values.len() {
            return Some(format!(
                "its `tokens` are {} numbers, and {} when they are computed again",
                kept.len(),
                live.values.len()
            ));
        }
        say("tokens", kept, &live.values)
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failing test may panic")]
    use talkflow_distill::{CHARACTER_TOKENS, Family, IMAGENET, Pooling, Reads, TransformerConfig, TransformerFiles};
    use talkflow_distill::{TransformerUpper, tokenizer_of_characters};

    use super::*;

    #[test]
    fn rows_of_a_length_are_read_together() {
        let lengths = [4000, 10, 96, 90, 5000, 1];
        let of: Vec<Vec<usize>> = batches(&lengths).into_iter().map(|batch| batch.places).collect();
        assert_eq!(of, [vec![5, 1, 3, 2], vec![0], vec![4]]);
        assert!(batches(&[]).is_empty());
    }

    fn drawn(family: Family, reads: Reads, reading: Reading) -> (tempfile::TempDir, TransformerFiles, Loaded) {
        let config = TransformerConfig { family, width: 48, layers: 2, heads: 4, inner: 96, eps: 1e-6, reads };
        let folder = tempfile::tempdir().unwrap();
        let files = TransformerFiles::in_folder(folder.path());
        std::fs::write(&files.config, config.to_json().to_string()).unwrap();
        std::fs::write(&files.weights, config.drawn(1).unwrap()).unwrap();
        std::fs::write(&files.tokenizer, tokenizer_of_characters().to_string()).unwrap();
        let tokenizer = match reading {
            Reading::Texts { longest } => Some(Tokenizer::load(&files.tokenizer, longest).unwrap()),
            Reading::Images { .. } => None,
        };
        let about = About {
            family,
            width: 48,
            layers: 2,
            reads: reading,
            pooling: if family.reads_texts() { Pooling::Mean } else { Pooling::First },
            drawn: Some(1),
            sha256: String::new(),
        };
        let loaded = Loaded { about, model: Transformer::open(&files).unwrap(), tokenizer, device: DeviceKind::Cpu };
        (folder, files, loaded)
    }

    fn on() -> impl FnMut(usize) -> ControlFlow<()> {
        |_| ControlFlow::Continue(())
    }

    fn whole() -> Wanted {
        Wanted { taps: vec![Tap::Low, Tap::High], tokens: true }
    }

    /// All rows together against each alone, and with other threads.
    fn check(loaded: &Loaded, of: impl Fn(&[u32]) -> Items + Sync, rows: usize) -> Shard {
        let all: Vec<u32> = (0..rows as u32).collect();
        let together = loaded.states(&all, &of(&all), &whole(), &mut on()).unwrap();
        for &row in &all {
            let alone = loaded.states(&[row], &of(&[row]), &whole(), &mut on()).unwrap();
            assert_eq!(differs(&together, row as usize, &alone, 1e-5), None, "row {row}");
        }
        for threads in [1, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let again = pool.install(|| loaded.states(&all, &of(&all), &whole(), &mut on()).unwrap());
            assert_eq!(again, together, "{threads} threads");
        }
        together
    }

    #[test]
    fn a_text_has_the_states_that_it_has_alone() {
        let reads = Reads::Texts { vocabulary: CHARACTER_TOKENS, positions: 40, types: 2 };
        let (_folder, files, loaded) = drawn(Family::Bert, reads, Reading::Texts { longest: 30 });
        let text = |row: u32| "some words of a text, again and again ".repeat(3)[..row as usize % 37].to_owned();
        let items = |rows: &[u32]| Items::Texts(rows.iter().map(|row| text(*row)).collect());
        let made = check(&loaded, items, 200);
        // Each by its definition, for one row: the mean of state 0, the tokens themselves, the mean of the end.
        let row = 36;
        let ids = Tokenizer::load(&files.tokenizer, 30).unwrap().tokens(&[text(row)]).unwrap();
        let first = loaded.model.texts(&ids, DeviceKind::Cpu).unwrap();
        assert_eq!(first.lengths, [30]);
        let tokens = made.tokens.as_ref().unwrap();
        assert_eq!(tokens.starts[37] - tokens.starts[36], 30);
        let close = |a: &[f32], b: &[f32]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5);
        assert!(close(&tokens.values[tokens.starts[36] * 48..tokens.starts[37] * 48], &first.values));
        let end = TransformerUpper::open(&files, 0).unwrap().run(&first, Until::End, DeviceKind::Cpu).unwrap();
        for (tap, of) in [(Tap::Low, &first), (Tap::High, &end)] {
            let means: Vec<f32> = (0..48).map(|c| of.values.iter().skip(c).step_by(48).sum::<f32>() / 30.0).collect();
            assert!(close(&made.states[&tap].1[36 * 48..37 * 48], &means), "{tap:?}");
        }
    }

    #[test]
    fn an_image_has_the_states_that_it_has_alone_and_grey_is_three_equal_colours() {
        let reads = Reads::Images { channels: 3, patch: 4, image: 8, qkv_bias: true };
        let reading = Reading::Images { size: 12, mean: IMAGENET.0, sd: IMAGENET.1 };
        let (_folder, _, loaded) = drawn(Family::Dinov2, reads, reading);
        let byte = |row: u32, at: usize| (row as usize * 31 + at * 17 % 255) as u8;
        let grey = Shape { channels: 1, height: 6, width: 9 };
        let colour = Shape { channels: 3, ..grey };
        let of = |rows: &[u32]| rows.iter().flat_map(|row| (0..54).map(move |at| byte(*row, at))).collect::<Vec<u8>>();
        let made = check(&loaded, |rows| Items::Images(of(rows), grey), 500);
        assert_eq!(made.tokens.as_ref().unwrap().starts[1], 10);
        let same = of(&[7]).repeat(3);
        let coloured = loaded.states(&[7], &Items::Images(same, colour), &whole(), &mut on()).unwrap();
        assert_eq!(differs(&made, 7, &coloured, 1e-5), None);
        let mut other = made.clone();
        other.states.get_mut(&Tap::High).unwrap().1[7 * 48 + 5] += 0.01;
        assert!(differs(&other, 7, &coloured, 1e-4).unwrap().starts_with("its `high` has "));
    }

    #[test]
    fn who_stops_is_heard_after_a_batch() {
        let reads = Reads::Texts { vocabulary: CHARACTER_TOKENS, positions: 40, types: 2 };
        let (_folder, _, loaded) = drawn(Family::Bert, reads, Reading::Texts { longest: 30 });
        let rows: Vec<u32> = (0..1000).collect();
        let items = Items::Texts(rows.iter().map(|_| "a text of some length".to_owned()).collect());
        let mut heard = Vec::new();
        let stopped = loaded.states(&rows, &items, &whole(), &mut |done| {
            heard.push(done);
            if heard.len() == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        assert!(stopped.unwrap_err().to_string().contains("cancelled"));
        assert!(heard.len() == 2 && heard[1] < 1000, "{heard:?}");
    }
}
