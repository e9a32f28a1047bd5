//! A page as one file of HTML: the document, and around it a template, the style, the scripts and the plotting library. Nothing is fetched.
//!
//! What others wrote (names of stages, logs, parameters) is on the page as data only: inside the JSON no character stands that HTML reads
//! as its own, and the scripts write it as text. A content security policy names the scripts by their digests, so that nothing else
//! would run even then.

use std::sync::LazyLock;

use base64::{Engine, prelude::BASE64_STANDARD};
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::Page;

const TEMPLATE: &str = include_str!("assets/page.html");
const STYLE: &str = include_str!("assets/page.css");
/// The plotting library and what it is built on, as published.
const VENDOR: [&str; 2] = [include_str!("assets/vendor/d3.min.js"), include_str!("assets/vendor/plot.umd.min.js")];
/// Our own, in the order in which they build on each other.
const OWN: [&str; 10] = [
    include_str!("assets/base.js"),
    include_str!("assets/tables.js"),
    include_str!("assets/graph.js"),
    include_str!("assets/detail.js"),
    include_str!("assets/plots.js"),
    include_str!("assets/results.js"),
    include_str!("assets/effects.js"),
    include_str!("assets/sections.js"),
    include_str!("assets/live.js"),
    include_str!("assets/main.js"),
];

/// The two scripts of a page.
static SCRIPTS: LazyLock<[String; 2]> = LazyLock::new(|| {
    let own: String = OWN.iter().flat_map(|file| [file, "\n"]).collect();
    [VENDOR.join("\n"), format!("(() => {{\n\"use strict\";\n{own}}})();\n")]
});

/// Their digests, as a content security policy names them.
static DIGESTS: LazyLock<String> = LazyLock::new(|| {
    let digest = |script: &String| format!("'sha256-{}'", BASE64_STANDARD.encode(Sha256::digest(script)));
    SCRIPTS.iter().map(digest).collect::<Vec<_>>().join(" ")
});

/// Where a page that is served gets what happens.
#[derive(Clone, Debug, Serialize)]
pub struct Live {
    /// The run that is shown; none where there is none yet.
    pub run: Option<String>,
    /// From where in its journal on it has to be told.
    pub from: u64,
    /// Whether the next run is to be shown as soon as it begins.
    pub follow: bool,
}

/// What a page may do: draw itself, and where it is served, ask who served it.
#[must_use]
pub fn policy(served: bool) -> String {
    let connect = if served { "'self'" } else { "'none'" };
    let digests = DIGESTS.as_str();
    format!(
        "default-src 'none'; script-src {digests}; style-src 'unsafe-inline'; img-src data:; connect-src {connect}; base-uri 'none'; form-action 'none'"
    )
}

impl Page {
    /// The page as a file.
    ///
    /// # Errors
    /// Where it cannot be written as JSON.
    pub fn html(&self) -> serde_json::Result<String> {
        Ok(html(&self.title, &serde_json::to_value(self)?, None))
    }
}

/// A document as a page; of one that is served, with where it gets what happens.
#[must_use]
pub fn html(title: &str, document: &Value, live: Option<&Live>) -> String {
    let [vendor, own] = &*SCRIPTS;
    let fill = |name: &str| match name {
        "title" => text(title),
        "version" => env!("CARGO_PKG_VERSION").to_owned(),
        "policy" => text(&policy(live.is_some())),
        "style" => STYLE.to_owned(),
        "page" => data(document),
        "live" => data(&live),
        "vendor" => vendor.clone(),
        "own" => own.clone(),
        // A test fills the whole template.
        unknown => format!("no `{unknown}`"),
    };
    let mut page = String::with_capacity(TEMPLATE.len() + STYLE.len() + vendor.len() + own.len() + (1 << 16));
    let mut rest = TEMPLATE;
    while let Some((before, after)) = rest.split_once("{{") {
        page.push_str(before);
        let (name, after) = after.split_once("}}").unwrap_or((after, ""));
        page.push_str(&fill(name));
        rest = after;
    }
    page + rest
}

/// Text in which nothing is markup.
fn text(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// JSON in which nothing ends a script or begins a comment.
fn data(value: &impl Serialize) -> String {
    let json = serde_json::to_string(value).unwrap_or_else(|_| "null".to_owned());
    // Outside of its texts JSON has none of these.
    json.replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('&', "\\u0026")
        .replace('\u{2028}', "\\u2028")
        .replace('\u{2029}', "\\u2029")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_is_filled_and_no_script_ends_early() {
        let page = html("a", &Value::Null, None);
        assert!(!page.contains("no `") && !page.contains("{{title"), "a name in the template is not known");
        // A script ends at the first `</script`, wherever that stands, and one with `<!--` in it reads on otherwise.
        for script in &*SCRIPTS {
            assert!(!script.contains("</script") && !script.contains("<!--"));
        }
        assert_eq!(page.matches("</script>").count(), 4);
    }

    #[test]
    fn what_others_wrote_is_data() {
        let bad = "</script><script>alert(1)</script><!-- & \u{2028} \"'";
        let page = html(bad, &serde_json::json!({ "log": bad, bad: 1 }), None);
        assert_eq!(page.matches("</script>").count(), 4);
        assert!(!page.contains("alert(1)</script>") && !page.contains("<!-- &"));
        let begin = page.find("id=\"page\">").map(|at| at + "id=\"page\">".len()).unwrap_or(0);
        let end = page[begin..].find("</script>").map_or(0, |end| begin + end);
        let read: Value = serde_json::from_str(&page[begin..end]).unwrap_or_default();
        assert_eq!(read["log"], bad);
        assert!(page.contains("<title>&lt;/script&gt;"));
    }

    #[test]
    fn the_plotting_library_is_as_published() {
        let sums = include_str!("assets/vendor/SHA256SUMS");
        for (file, text) in ["d3.min.js", "plot.umd.min.js"].into_iter().zip(VENDOR) {
            let digest: String = Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect();
            assert!(sums.contains(&format!("{digest}  {file}\n")), "{file}");
        }
    }

    #[test]
    fn the_policy_names_the_scripts_and_allows_nothing_else() {
        let policy = policy(false);
        assert_eq!(policy.matches("'sha256-").count(), 2);
        assert!(policy.contains("default-src 'none'") && policy.contains("connect-src 'none'"));
        assert!(!policy.contains("script-src 'unsafe") && !policy.contains("http"));
        assert!(super::policy(true).contains("connect-src 'self'"));
    }
}
