//! What there is to ask for, and by which names. Paths are compared, never opened.

use std::net::IpAddr;

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route<'a> {
    /// The page of the run that is followed.
    Current,
    /// The names of all runs, the last first.
    Runs,
    /// The page of a run.
    Run(&'a str),
    /// Its document.
    Document(&'a str),
    /// What happens in it, from a place in its journal on.
    Events(&'a str, u64),
    /// Nothing there is.
    Unknown,
}

impl<'a> Route<'a> {
    /// From a request's target.
    pub fn of(target: &'a str) -> Self {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let parts: Vec<&str> = path.split('/').collect();
        match parts[..] {
            ["", ""] => Self::Current,
            ["", "runs.json"] => Self::Runs,
            ["", "run", name] if is_name(name) => Self::Run(name),
            ["", "run", name, "page.json"] if is_name(name) => Self::Document(name),
            ["", "run", name, "events"] if is_name(name) => {
                let from = query.split('&').find_map(|pair| pair.strip_prefix("from="));
                Self::Events(name, from.and_then(|from| from.parse().ok()).unwrap_or(0))
            }
            _ => Self::Unknown,
        }
    }
}

/// Whether it could be the name of a run.
fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// Whether a Host header names this server: by an address, which no name of somebody else's can stand for, as `localhost`, or by the name it was
/// told to listen on.
pub fn is_own_name(host: &str, told: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((name, port)) if port.is_empty() || port.starts_with(':') => name,
            _ => return false,
        },
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.parse::<IpAddr>().is_ok() || name.eq_ignore_ascii_case("localhost") || name.eq_ignore_ascii_case(told)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_to_pages_and_nowhere_else() {
        let run = "20260101-000000-000";
        assert_eq!(Route::of("/"), Route::Current);
        assert_eq!(Route::of("/?x=1"), Route::Current);
        assert_eq!(Route::of("/runs.json"), Route::Runs);
        assert_eq!(Route::of("/run/20260101-000000-000"), Route::Run(run));
        assert_eq!(Route::of("/run/20260101-000000-000/page.json"), Route::Document(run));
        assert_eq!(Route::of("/run/20260101-000000-000/events"), Route::Events(run, 0));
        assert_eq!(Route::of("/run/20260101-000000-000/events?from=12"), Route::Events(run, 12));
        let bad = [
            "",
            "*",
            "//",
            "/run",
            "/run/",
            "/run/..",
            "/run/../../etc/passwd",
            "/run/%2e%2e",
            "/run/a/../b",
            "/run/a\\b/events",
            "/etc/passwd",
            "http://elsewhere/",
            "/run/20260101-000000-000/events.jsonl",
            "/run/20260101-000000-000/logs/0.log",
            "/run/a/page.json/",
        ];
        for target in bad {
            assert_eq!(Route::of(target), Route::Unknown, "{target}");
        }
    }

    #[test]
    fn names_of_others_are_refused() {
        for host in
            ["127.0.0.1:8720", "127.0.0.1", "[::1]:8720", "[::1]", "localhost:8720", "LOCALHOST", "lab:8720", "192.168.1.7:8720"]
        {
            assert!(is_own_name(host, "lab"), "{host}");
        }
        for host in [
            "",
            "elsewhere.example:8720",
            "127.0.0.1.elsewhere.example",
            "localhost.example",
            "[::1",
            "[::1]x",
            "127.0.0.1:8720:x",
            ":8720",
        ] {
            assert!(!is_own_name(host, "lab"), "{host}");
        }
    }
}
