//! `talkflow serve`: the page of the last run, live, for browsers on this machine.

use std::sync::Arc;

use clap::Args;
use serde_json::json;

use super::{Answer, Common, Failure, answer, report::Which, run, say};
use crate::{
    history,
    serve::{self, Site},
};

/// Its arguments.
#[derive(Debug, Args)]
pub struct ServeArgs {
    #[command(flatten)]
    which: Which,
    /// The address or name to listen on. Beside this machine's own (127.0.0.1, ::1, localhost), everybody who reaches it can look.
    #[arg(long, value_name = "HOST", default_value = "127.0.0.1")]
    host: String,
    /// The port; 0 takes one that is free.
    #[arg(long, value_name = "PORT", default_value_t = 8720)]
    port: u16,
}

/// Serves until a signal comes.
pub fn serve(args: &ServeArgs, common: &Common) -> Answer {
    let cancel = run::on_signals()?;
    let store = common.existing_store()?;
    let manifest = args.which.name(common)?;
    let shown = match &args.which.run {
        Some(typed) => Some(history::find(&history::runs(&store)?, typed).map_err(Failure::Wrong)?.id),
        None => None,
    };
    let asked = format!("{}:{}", args.host, args.port);
    let cannot = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            Failure::Failed(format!("{asked} is taken: --port names another, and --port 0 takes a free one"))
        }
        _ => Failure::Failed(format!("cannot listen on {asked}: {error}")),
    };
    let listener = serve::listen(&args.host, args.port).map_err(cannot)?;
    let address = listener.local_addr().map_err(cannot)?;
    if !serve::is_loopback(&address) {
        say(&format!(
            "warning: everybody who can reach {address} can see this store's runs, with their logs and parameters; there is no password\n"
        ));
    }
    let url = format!("http://{address}/");
    let site = Arc::new(Site::new(store, manifest, shown, args.host.clone()));
    // Before anything is answered: who waits for this line may ask at once.
    answer(common, &json!({ "ok": true, "url": url }), || format!("{url}\n"))?;
    say("Ctrl-C ends\n");
    site.serve(&listener, &cancel).map_err(|error| Failure::Failed(format!("cannot serve: {error}")))
}
