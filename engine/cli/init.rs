//! `talkflow init`: a first manifest, which runs as it is.

use std::{fs, io::Write, path::PathBuf};

use clap::Args;

use super::{Answer, Common, Failure, answer};

/// Its arguments.
#[derive(Debug, Args)]
pub struct InitArgs {
    /// Where to write it.
    #[arg(default_value = "talkflow.yaml")]
    path: PathBuf,
}

const FIRST: &str = include_str!("../../manifests/quickstart.yaml");

/// Writes it; a file that is there already stays as it is.
pub fn init(args: &InitArgs, common: &Common) -> Answer {
    let path = args.path.display();
    let made = fs::File::options().write(true).create_new(true).open(&args.path);
    let text = FIRST.replace("manifests/quickstart.yaml", &args.path.display().to_string());
    match made.and_then(|mut file| file.write_all(text.as_bytes())) {
        Ok(()) => answer(common, &serde_json::json!({ "ok": true, "manifest": args.path }), || {
            format!("wrote {path}\nnext: talkflow run {path}\n")
        }),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            Err(Failure::Wrong(format!("{path} is there already and stays as it is: name another file")))
        }
        Err(error) => Err(Failure::Failed(format!("cannot write {path}: {error}"))),
    }
}
