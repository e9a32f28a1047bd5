//! `talkflow graph`: the DAG of stages, drawn.

use clap::{Args, ValueEnum};

use super::{Answer, Common, ManifestArgs, answer, load};
use crate::graph;

/// Its arguments.
#[derive(Debug, Args)]
pub struct GraphArgs {
    #[command(flatten)]
    manifest: ManifestArgs,
    /// In which language.
    #[arg(long = "as", value_enum, default_value_t)]
    language: Language,
    /// Draw every instance of a matrix, not one node for all of them.
    #[arg(long)]
    instances: bool,
}

/// What a graph can be written in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Language {
    /// Graphviz.
    #[default]
    Dot,
    /// Mermaid, which Markdown viewers draw.
    Mermaid,
    /// A picture.
    Svg,
}

/// Draws it.
pub fn graph(args: &GraphArgs, common: &Common) -> Answer {
    let loaded = load::load(&args.manifest, common)?;
    let graph = graph::Graph::of(&loaded.plan, args.instances);
    let text = match args.language {
        Language::Dot => graph.dot(),
        Language::Mermaid => graph.mermaid(),
        Language::Svg => graph.svg(),
    };
    answer(common, &serde_json::json!({ "graph": text }), || text.clone())
}
