//! `talkflow graph`: the DAG of stages, drawn.

use clap::{
    Args,
    builder::{PossibleValuesParser, TypedValueParser},
};

use super::{Answer, Common, ManifestArgs, answer, load};
use crate::{fields::Choice, graph};

/// Its arguments.
#[derive(Debug, Args)]
pub struct GraphArgs {
    #[command(flatten)]
    manifest: ManifestArgs,
    /// In which language.
    #[arg(long = "as", default_value = "dot", value_parser = languages())]
    language: graph::Format,
    /// Draw every instance of a matrix, not one node for all of them.
    #[arg(long)]
    instances: bool,
}

fn languages() -> impl TypedValueParser<Value = graph::Format> {
    let words = PossibleValuesParser::new(graph::Format::WORDS.iter().map(|(word, _)| *word));
    words.map(|word| {
        graph::Format::WORDS.iter().find(|(known, _)| *known == word).map_or(graph::Format::Dot, |(_, format)| *format)
    })
}

/// Draws it.
pub fn graph(args: &GraphArgs, common: &Common) -> Answer {
    let plan = load::load(&args.manifest, common)?;
    let text = graph::Graph::new(&plan, args.instances).render(args.language);
    answer(common, &serde_json::json!({ "graph": text }), || text.clone())
}
