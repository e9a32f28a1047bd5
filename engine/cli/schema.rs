//! `talkflow schema`: the JSON Schema of manifests, for editors.

use std::{fs, path::PathBuf};

use clap::Args;

use super::{Answer, Common, Failure, answer, print_json};
use crate::schema;

/// Its arguments.
#[derive(Debug, Args)]
pub struct SchemaArgs {
    /// Write it into a file [default: standard output].
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Prints or writes it. A schema that is there already is replaced: it is made, not kept.
pub fn schema(args: &SchemaArgs, common: &Common) -> Answer {
    let document = schema::schema();
    let Some(path) = &args.output else { return print_json(&document) };
    let failed = |error: &dyn std::fmt::Display| Failure::Failed(format!("cannot write {}: {error}", path.display()));
    let text = serde_json::to_string_pretty(&document).map_err(|error| failed(&error))?;
    fs::write(path, text + "\n").map_err(|error| failed(&error))?;
    answer(common, &serde_json::json!({ "ok": true, "schema": path }), || {
        format!(
            "wrote {0}\non top of a manifest: # yaml-language-server: $schema={0}\n(the path is taken from the manifest's folder)\n",
            path.display()
        )
    })
}
