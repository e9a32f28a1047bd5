//! Downloads from a server that does everything wrong that servers do, and finding files once they are there.

use std::io::{Read, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};
use talkflow_datasets::cards::{Card, Checksum, Kind, find};
use talkflow_datasets::download::{FetchError, Network, ProxyFrom, Wanted, download};
use talkflow_datasets::locate::{Origin, Places, fetch, locate_local};
use talkflow_datasets::progress::{Progress, Silent};

use super::prepare::zip_of;
use super::server::{Answer, Server};

/// Patient, so that a busy machine fails no test; those about silence are less so.
fn network() -> Network {
    Network {
        connect: Duration::from_secs(5),
        stall: Duration::from_secs(10),
        retries: 2,
        pause: Duration::ZERO,
        proxy: ProxyFrom::Nowhere,
        ..Network::default()
    }
}

fn sum(bytes: &[u8]) -> &'static str {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    Box::leak(hex.into_boxed_str())
}

fn file() -> Vec<u8> {
    (0..300_000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

/// A folder, and what is in it after one download.
struct Case {
    folder: tempfile::TempDir,
    server: Server,
    file: Vec<u8>,
    bytes: Option<u64>,
    limit: u64,
    stall: Duration,
}

impl Case {
    fn new(answers: &[Answer]) -> Self {
        let file = file();
        let server = Server::start(&file, answers);
        Self {
            folder: tempfile::tempdir().unwrap(),
            server,
            bytes: Some(file.len() as u64),
            limit: file.len() as u64,
            stall: network().stall,
            file,
        }
    }

    fn target(&self) -> PathBuf {
        self.folder.path().join("data.zip")
    }

    fn part(&self) -> PathBuf {
        self.folder.path().join("data.zip.part")
    }

    fn run_with(&self, progress: &mut dyn Progress) -> Result<Option<String>, FetchError> {
        let addresses = [self.server.address];
        let checksum = Checksum::Sha256(sum(&self.file));
        let wanted = Wanted { name: "a test", addresses: &addresses, bytes: self.bytes, limit: self.limit, checksum };
        let network = Network { stall: self.stall, ..network() };
        download(&wanted, &self.target(), &network, progress)
    }

    fn run(&self) -> Result<Option<String>, FetchError> {
        self.run_with(&mut Silent)
    }

    /// A case with little patience.
    fn hasty(answers: &[Answer]) -> Self {
        Self { stall: Duration::from_millis(300), ..Self::new(answers) }
    }

    /// The download succeeds and the file is whole.
    fn arrives(&self) {
        assert_eq!(self.run().unwrap().as_deref(), Some(self.server.address));
        assert!(std::fs::read(self.target()).unwrap() == self.file);
        assert!(!self.part().exists());
    }

    /// The download fails, and no file is there.
    fn fails(&self) -> FetchError {
        let error = self.run().unwrap_err();
        assert!(!self.target().exists(), "{error}");
        error
    }
}

#[test]
fn a_file_arrives_and_is_not_fetched_twice() {
    let case = Case::new(&[Answer::Serve]);
    case.arrives();
    assert_eq!(case.run().unwrap(), None);
    assert_eq!(case.server.requests(), 1);
}

#[test]
fn a_cut_download_goes_on_where_it_ended() {
    let case = Case::new(&[Answer::CutAfter(100_000), Answer::CutAfter(50_000), Answer::Serve]);
    case.arrives();
    let ranges = case.server.ranges();
    assert_eq!(ranges, [None, Some("bytes=100000-".to_owned()), Some("bytes=150000-".to_owned())]);
}

#[test]
fn a_stalled_download_goes_on_too() {
    let case = Case::hasty(&[Answer::StallAfter(1_000), Answer::Serve]);
    case.arrives();
    assert_eq!(case.server.ranges()[1].as_deref(), Some("bytes=1000-"));
}

#[test]
fn what_a_killed_process_left_is_used() {
    let case = Case::new(&[Answer::Serve]);
    std::fs::write(case.part(), &case.file[..200_000]).unwrap();
    case.arrives();
    assert_eq!(case.server.ranges(), [Some("bytes=200000-".to_owned())]);

    let case = Case::new(&[Answer::Serve]);
    std::fs::write(case.part(), &case.file).unwrap();
    assert!(case.run().is_ok());
    assert_eq!(case.server.requests(), 0, "everything had arrived already");
}

#[test]
fn a_left_over_of_another_file_is_noticed() {
    let case = Case::new(&[Answer::Serve]);
    std::fs::write(case.part(), vec![7; 1_000]).unwrap();
    case.arrives();
    assert_eq!(case.server.ranges(), [Some("bytes=1000-".to_owned()), None], "once more, from the beginning");

    let case = Case::new(&[Answer::Serve]);
    std::fs::write(case.part(), vec![7; 400_000]).unwrap();
    case.arrives();
    assert_eq!(case.server.ranges(), [None], "longer than the file can be");
}

#[test]
fn a_server_without_ranges_sends_it_all_again() {
    let case = Case::new(&[Answer::CutAfter(100_000), Answer::IgnoreRange]);
    case.arrives();
}

#[test]
fn a_range_that_begins_elsewhere_is_not_taken() {
    let case = Case::new(&[Answer::CutAfter(100_000), Answer::WrongRange, Answer::Serve]);
    case.arrives();
    assert_eq!(case.server.ranges()[2], None);
}

#[test]
fn a_file_of_unknown_size_arrives_without_a_length() {
    let mut case = Case::new(&[Answer::NoLength(file())]);
    case.bytes = None;
    case.arrives();
}

#[test]
fn wrong_bytes_are_named_by_both_sums_and_not_kept() {
    let other = vec![b'x'; file().len()];
    let case = Case::new(&[Answer::Instead(other.clone())]);
    let error = case.fails();
    assert!(matches!(error, FetchError::WrongSum { .. }));
    let message = error.to_string();
    assert!(message.contains(sum(&case.file)) && message.contains(sum(&other)) && message.contains("deleted"), "{message}");
    assert!(!case.part().exists());
    assert_eq!(case.server.requests(), 1, "a wrong sum is not tried again");
}

#[test]
fn sizes_that_are_not_the_files_are_refused() {
    for length in [file().len() - 1, file().len() + 1] {
        let case = Case::new(&[Answer::LieAboutLength(length)]);
        let error = case.fails();
        assert!(matches!(error, FetchError::WrongSize { .. }), "{error}");
        assert!(error.to_string().contains(&format!("refused: {length} bytes offered, 300000 expected")), "{error}");
        assert!(!case.part().exists());
    }
    let case = Case::new(&[Answer::Endless]);
    assert!(matches!(case.fails(), FetchError::WrongSize { .. }));
    let mut case = Case::new(&[Answer::Endless]);
    (case.bytes, case.limit) = (None, 5_000);
    let message = case.fails().to_string();
    assert!(message.ends_with("refused: more than 5000 bytes offered, at most 5000 expected"), "{message}");
    let mut case = Case::new(&[Answer::Serve]);
    (case.bytes, case.limit) = (None, 5_000);
    assert!(matches!(case.fails(), FetchError::WrongSize { .. }));
}

#[test]
fn an_answer_that_ends_too_early_for_good_is_unreachable_and_kept() {
    let case = Case::new(&[Answer::CutAfter(10)]);
    let error = case.fails();
    assert!(matches!(error, FetchError::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains("30 bytes are kept"), "{error}");
    assert_eq!(std::fs::read(case.part()).unwrap(), case.file[..30]);
    assert_eq!(case.server.requests(), 3);
}

#[test]
fn silence_is_unreachable() {
    let case = Case::hasty(&[Answer::SayNothing]);
    assert!(matches!(case.fails(), FetchError::Unreachable { .. }));
    let case = Case::hasty(&[Answer::StallAfter(0)]);
    assert!(matches!(case.fails(), FetchError::Unreachable { .. }));
}

#[test]
fn a_closed_port_is_unreachable_and_a_status_is_not() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let address = format!("http://{free}/data.zip");
    let folder = tempfile::tempdir().unwrap();
    let wanted = Wanted { name: "a test", addresses: &[&address], bytes: None, limit: 10, checksum: Checksum::Sha256(sum(b"")) };
    let error = download(&wanted, &folder.path().join("f"), &network(), &mut Silent).unwrap_err();
    assert!(matches!(error, FetchError::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains(&address), "{error}");

    for status in [403, 404, 500] {
        let case = Case::new(&[Answer::Status(status)]);
        let error = case.fails();
        assert!(matches!(error, FetchError::Status { status: found, .. } if found == status), "{error}");
    }
    let case = Case::new(&[Answer::Garbage]);
    assert!(matches!(case.fails(), FetchError::Protocol { .. }));
}

#[test]
fn a_server_that_cannot_prove_itself_is_not_unreachable() {
    // Whoever answers in plain text on a protected address is not whom we meant; no stand-in may hide that.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("https://{}/data.zip", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
            // Until the client hangs up, so that our answer is not lost with the connection.
            let _ = stream.read_to_end(&mut Vec::new());
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let wanted = Wanted { name: "a test", addresses: &[&address], bytes: None, limit: 10, checksum: Checksum::Sha256(sum(b"")) };
    let error = download(&wanted, &folder.path().join("f"), &network(), &mut Silent).unwrap_err();
    assert!(matches!(error, FetchError::Protocol { .. }), "{error}");
}

#[test]
fn a_redirect_is_followed() {
    let file = file();
    let there = Server::start(&file, &[Answer::Serve]);
    let case = Case::new(&[Answer::Redirect(there.address.to_owned())]);
    case.arrives();
    assert_eq!(there.requests(), 1);
}

#[test]
fn the_second_address_is_tried_when_the_first_fails() {
    let file = file();
    let (bad, good) = (Server::start(&file, &[Answer::Status(404)]), Server::start(&file, &[Answer::Serve]));
    let folder = tempfile::tempdir().unwrap();
    let addresses = [bad.address, good.address];
    let wanted =
        Wanted { name: "a test", addresses: &addresses, bytes: None, limit: 1 << 20, checksum: Checksum::Sha256(sum(&file)) };
    let from = download(&wanted, &folder.path().join("f"), &network(), &mut Silent).unwrap();
    assert_eq!(from.as_deref(), Some(good.address));
}

#[test]
fn stopping_keeps_what_has_arrived() {
    let case = Case::new(&[Answer::StallAfter(150_000), Answer::Serve]);
    let mut stop =
        |_: &str, done: u64, _: Option<u64>| if done >= 100_000 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
    assert!(matches!(case.run_with(&mut stop), Err(FetchError::Cancelled)));
    let kept = std::fs::metadata(case.part()).unwrap().len();
    assert!((100_000..=150_000).contains(&kept), "{kept}");
    case.arrives();
    assert_eq!(case.server.ranges()[1], Some(format!("bytes={kept}-")));
}

#[test]
fn two_at_once_fetch_it_once() {
    let case = Case::new(&[Answer::Serve]);
    let outcomes: Vec<Option<String>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| case.run().unwrap())).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(outcomes.iter().filter(|from| from.is_some()).count(), 1);
    assert_eq!(case.server.requests(), 1);
    assert!(std::fs::read(case.target()).unwrap() == case.file);
}

#[test]
fn the_proxy_of_the_environment_is_used() {
    // Only a process of its own can have an environment of its own: this test starts itself again.
    const CHILD: &str = "TALKFLOW_TEST_PROXY_CHILD";
    if let Some(folder) = std::env::var_os(CHILD) {
        let file = file();
        let checksum = Checksum::Sha256(sum(&file));
        let wanted =
            Wanted { name: "a test", addresses: &["http://data.invalid/data.zip"], bytes: None, limit: 1 << 20, checksum };
        let network = Network { proxy: ProxyFrom::Environment, ..network() };
        download(&wanted, &Path::new(&folder).join("f"), &network, &mut Silent).unwrap();
        return;
    }
    let proxy = Server::start(&file(), &[Answer::Serve]);
    let folder = tempfile::tempdir().unwrap();
    let mut child = std::process::Command::new(std::env::current_exe().unwrap());
    for name in ["ALL_PROXY", "all_proxy", "HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "NO_PROXY", "no_proxy"] {
        child.env_remove(name);
    }
    let output = child
        .args(["--exact", "download::the_proxy_of_the_environment_is_used"])
        .env(CHILD, folder.path())
        .env("http_proxy", proxy.address.trim_end_matches("/data.zip"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert!(folder.path().join("f").is_file());
    assert_eq!(proxy.lines()[0], "CONNECT data.invalid:80 HTTP/1.1");
}

#[test]
fn offline_says_so_and_asks_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let places = Places { data: None, cache: folder.path().to_owned() };
    let offline = Network { offline: true, ..network() };
    let error = fetch(find("movielens/1m").unwrap(), &places, &offline, &mut Silent).unwrap_err();
    assert!(matches!(error, FetchError::Unreachable { .. }));
    assert!(error.to_string().contains("offline") && error.to_string().contains("ml-1m.zip"), "{error}");
    assert!(locate_local(find("movielens/1m").unwrap(), &places).is_none());
    let found = fetch(find("movielens/synthetic").unwrap(), &places, &offline, &mut Silent).unwrap();
    assert!(found.paths().is_empty());
    assert_eq!(found.origin, Origin::Generated);
}

/// The card of 1M with another archive behind it.
fn card(server: &Server, bytes: &[u8]) -> &'static Card {
    let mut card = find("movielens/1m").unwrap().clone();
    if let Kind::Archive(archive) = &mut card.kind {
        let download = &mut archive.download;
        download.addresses = Box::leak(Box::new([server.address]));
        download.bytes = Some(bytes.len() as u64);
        download.limit = bytes.len() as u64;
        download.checksum = Checksum::Sha256(sum(bytes));
    }
    Box::leak(Box::new(card))
}

#[test]
fn data_folder_then_cache_then_address() {
    let scratch = tempfile::tempdir().unwrap();
    let archive = scratch.path().join("made.zip");
    zip_of(&archive, &[("ml-1m/ratings.dat", b"1::2::3::4\n"), ("ml-1m/movies.dat", b"2::T::Drama\n")]);
    let bytes = std::fs::read(&archive).unwrap();
    let server = Server::start(&bytes, &[Answer::Serve]);
    let card = card(&server, &bytes);
    let (data, cache) = (scratch.path().join("data"), scratch.path().join("cache"));
    let places = Places { data: Some(data.clone()), cache: cache.clone() };

    assert_eq!(locate_local(card, &places), None);
    let found = fetch(card, &places, &network(), &mut Silent).unwrap();
    assert_eq!(found.origin, Origin::Download(server.address.to_owned()));
    assert_eq!(found.paths(), [cache.join("ml-1m.zip")]);

    let found = fetch(card, &places, &network(), &mut Silent).unwrap();
    assert_eq!(found.origin, Origin::Cache(cache.join("ml-1m.zip")));
    assert_eq!(server.requests(), 1);

    std::fs::create_dir_all(data.join("ml-1m")).unwrap();
    std::fs::write(data.join("ml-1m/ratings.dat"), "").unwrap();
    assert!(matches!(locate_local(card, &places).unwrap().origin, Origin::Cache(_)), "half an unpacked folder does not count");
    std::fs::write(data.join("ml-1m/movies.dat"), "").unwrap();
    let found = fetch(card, &places, &network(), &mut Silent).unwrap();
    assert_eq!(found.origin, Origin::Data(data.join("ml-1m")));
    assert_eq!(found.paths(), [data.join("ml-1m/ratings.dat"), data.join("ml-1m/movies.dat")]);

    std::fs::write(data.join("ml-1m.zip"), &bytes).unwrap();
    let found = fetch(card, &places, &network(), &mut Silent).unwrap();
    assert_eq!(found.origin, Origin::Data(data.join("ml-1m.zip")));
}

#[test]
fn a_damaged_file_is_deleted_from_the_cache_and_left_in_the_users_folder() {
    let scratch = tempfile::tempdir().unwrap();
    let server = Server::start(b"right", &[Answer::Serve]);
    let card = card(&server, b"right");
    let (data, cache) = (scratch.path().join("data"), scratch.path().join("cache"));
    let places = Places { data: Some(data.clone()), cache: cache.clone() };
    for (folder, kept) in [(&cache, false), (&data, true)] {
        std::fs::create_dir_all(folder).unwrap();
        let path = folder.join("ml-1m.zip");
        std::fs::write(&path, "wrong").unwrap();
        let error = fetch(card, &places, &network(), &mut Silent).unwrap_err();
        assert!(matches!(error, FetchError::WrongSum { .. }), "{error}");
        assert!(error.to_string().contains(sum(b"right")) && error.to_string().contains(sum(b"wrong")), "{error}");
        assert_eq!(path.exists(), kept);
    }
    assert_eq!(server.requests(), 0);
}
