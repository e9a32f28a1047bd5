//! Every format of ratings, from its files to the loaded artifact.

use std::io::Write;
use std::path::{Path, PathBuf};

use talkflow_datasets::ColumnNames;
use talkflow_datasets::Input;
use talkflow_datasets::cards::{Card, Counts, Format, Rows, Scale, find};
use talkflow_datasets::locate::{Files, Found, Origin, Places, locate_local};
use talkflow_datasets::prepare::{OwnFiles, OwnFormat, OwnItems, Source, prepare as run};
use talkflow_datasets::progress::Silent;
use talkflow_datasets::ratings::{Provenance, Ratings, RatingsFiles};
use talkflow_datasets::selection::Selection;

use super::{contents, prepared, refused, rows_of_genre};

/// A card of four ratings of three films by two users, in each format the same ones.
fn tiny(format: Format) -> &'static Card {
    let mut card = find("movielens/100k").unwrap().clone();
    card.name = "movielens/tiny";
    let scale = match format {
        Format::Csv => Scale { min: 0.5, max: 5.0, step: Some(0.5) },
        _ => Scale { min: 1.0, max: 5.0, step: Some(1.0) },
    };
    card.rows = Rows::Ratings { scale, counts: Counts { ratings: 4, users: 2, items: 4 } };
    Box::leak(Box::new(card))
}

fn texts(format: Format) -> (&'static str, Vec<u8>) {
    match format {
        Format::Tab => {
            let flags = |set: &[usize]| (0..19).map(|at| if set.contains(&at) { "1" } else { "0" }).collect::<Vec<_>>().join("|");
            let items = format!(
                "31|Dangerous Minds|01-Jan-1995||http://x|{}\n7|Caf\u{e9}|||x|{}\n9|Nothing|||x|{}\n8|Unrated|||x|{}\n",
                flags(&[8]),
                flags(&[10, 18]),
                flags(&[0]),
                flags(&[1]),
            );
            ("5\t31\t4\t100\n5\t7\t3\t90\n2\t31\t5\t100\n2\t9\t1\t101\n", items.chars().map(|c| c as u8).collect())
        }
        Format::DoubleColon => (
            "5::31::4::100\n5::7::3::90\n2::31::5::100\n2::9::1::101\n",
            b"31::Dangerous Minds::Drama\n7::Caf\xe9::Film-Noir|Western\n9::Nothing::(no genres listed)\n8::Unrated::Action\n".to_vec(),
        ),
        Format::Csv => (
            "userId,movieId,rating,timestamp\r\n5,31,4.0,100\r\n5,7,3.0,90\r\n2,31,5.0,100\r\n2,9,1.0,101\r\n",
            "movieId,title,genres\r\n31,\"Dangerous Minds\",Drama\r\n7,Caf\u{e9},Film-Noir|Western\r\n9,Nothing,(no genres listed)\r\n8,Unrated,Action\r\n".into(),
        ),
    }
}

fn found(folder: &Path, format: Format) -> Source {
    let (ratings, items) = texts(format);
    let (ratings_name, items_name) = format.files();
    std::fs::write(folder.join(ratings_name), ratings).unwrap();
    std::fs::write(folder.join(items_name), items).unwrap();
    let files =
        Files::Official { format, ratings: Input::File(folder.join(ratings_name)), items: Input::File(folder.join(items_name)) };
    Source::Card(Found { card: tiny(format), files, origin: Origin::Data(folder.to_owned()) })
}

fn check_tiny(ratings: &Ratings) {
    assert_eq!(ratings.user(), [0, 0, 1, 1]);
    assert_eq!(ratings.item(), [0, 1, 0, 2]);
    assert_eq!(ratings.rating(), [4.0, 3.0, 5.0, 1.0]);
    assert_eq!(ratings.timestamps().unwrap(), Some(vec![100, 90, 100, 101]));
    assert_eq!(ratings.user_ids().unwrap(), ["5", "2"]);
    let titles: Vec<_> = ratings.items().iter().map(|item| (item.id.as_str(), item.title.as_deref())).collect();
    assert_eq!(titles, [("31", Some("Dangerous Minds")), ("7", Some("Caf\u{e9}")), ("9", Some("Nothing"))]);
    assert_eq!(ratings.items()[1].genres, ["Film-Noir", "Western"]);
    assert!(ratings.items()[2].genres.is_empty());
    let summary = ratings.summary();
    assert_eq!((summary.ratings, summary.users, summary.items, summary.items_without_details), (4, 2, 3, 0));
    let genres: Vec<_> = summary.genres.iter().map(|count| (count.genre.as_str(), count.items, count.ratings)).collect();
    assert_eq!(genres, [("Drama", 1, 2), ("Film-Noir", 1, 1), ("Western", 1, 1)], "films that nobody rated do not count");
    assert_eq!(summary.source, Provenance::Real);
}

#[test]
fn all_movielens_formats_give_the_same_rows() {
    for format in [Format::Tab, Format::DoubleColon, Format::Csv] {
        let files = tempfile::tempdir().unwrap();
        let (_folder, ratings) = prepared(&found(files.path(), format));
        check_tiny(&ratings);
    }
}

#[test]
fn the_bytes_depend_on_the_rows_alone() {
    let files = tempfile::tempdir().unwrap();
    let source = found(files.path(), Format::Csv);
    let (one, _) = prepared(&source);
    let (two, _) = prepared(&source);
    assert_eq!(contents(one.path()), contents(two.path()));
    let names: Vec<String> = contents(one.path()).into_keys().collect();
    assert_eq!(names, ["dataset.json", "items.parquet", "ratings.parquet", "users.parquet"]);
}

#[test]
fn an_archive_is_read_in_place() {
    let data = tempfile::tempdir().unwrap();
    let (ratings, items) = texts(Format::Tab);
    zip_of(&data.path().join("ml-100k.zip"), &[("ml-100k/u.data", ratings.as_bytes()), ("ml-100k/u.item", &items)]);
    let places = Places { data: Some(data.path().to_owned()), cache: PathBuf::new() };
    let mut found = locate_local(find("movielens/100k").unwrap(), &places).unwrap();
    found.card = tiny(Format::Tab);
    let (_folder, ratings) = prepared(&Source::Card(found));
    check_tiny(&ratings);
}

pub(crate) fn zip_of(path: &Path, files: &[(&str, &[u8])]) {
    let mut archive = zip::ZipWriter::new(std::fs::File::create(path).unwrap());
    for (name, bytes) in files {
        archive.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
        archive.write_all(bytes).unwrap();
    }
    archive.finish().unwrap();
}

#[test]
fn atomic_files_stand_in_for_the_official_ones() {
    let data = tempfile::tempdir().unwrap();
    let folder = data.path().join("ml-100k");
    std::fs::create_dir(&folder).unwrap();
    let inter = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n5\t31\t4\t100\n5\t7\t3\t90\n2\t31\t5\t100\n2\t9\t1\t101.0\n";
    let item = "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n31\tDangerous Minds\t1995\tDrama\n7\tCaf\u{e9}\t\tFilm-Noir Western\n9\tNothing\t\tunknown\n";
    std::fs::write(folder.join("ml-100k.inter"), inter).unwrap();
    std::fs::write(folder.join("ml-100k.item"), item).unwrap();
    let places = Places { data: Some(data.path().to_owned()), cache: PathBuf::new() };
    let mut found = locate_local(find("movielens/100k").unwrap(), &places).unwrap();
    assert_eq!(found.paths(), [folder.join("ml-100k.inter"), folder.join("ml-100k.item")]);
    found.card = tiny(Format::Tab);
    let (_folder, ratings) = prepared(&Source::Card(found));
    check_tiny(&ratings);
}

#[test]
fn a_file_with_fewer_rows_than_published_is_refused() {
    let files = tempfile::tempdir().unwrap();
    let source = found(files.path(), Format::Tab);
    let path = files.path().join("u.data");
    let cut = std::fs::read_to_string(&path).unwrap().lines().take(3).collect::<Vec<_>>().join("\n");
    std::fs::write(&path, cut).unwrap();
    let message = refused(&source);
    assert!(message.contains("u.data: found 3 ratings, expected the 4 of MovieLens 100K"), "{message}");
}

fn own(folder: &Path, text: &str) -> OwnFiles {
    let ratings = folder.join("mine.csv");
    std::fs::write(&ratings, text).unwrap();
    OwnFiles {
        name: "mine".to_owned(),
        ratings,
        format: OwnFormat::Csv { separator: b',' },
        columns: ColumnNames::default(),
        items: None,
        scale: None,
        licence: None,
        citation: None,
    }
}

#[test]
fn the_users_own_csv() {
    let folder = tempfile::tempdir().unwrap();
    let mut files = own(folder.path(), "stars;who;what\n4.5;anna;book 7\n2;bert;\"a; b\"\n1;anna;\"a; b\"\n");
    files.format = OwnFormat::Csv { separator: b';' };
    files.columns = ColumnNames { user: "who".into(), item: "what".into(), rating: "stars".into(), timestamp: None };
    let items = folder.path().join("books.csv");
    std::fs::write(&items, "id;name;tags\nbook 7;Seven;crime/new\n").unwrap();
    files.items = Some(OwnItems {
        path: items,
        format: OwnFormat::Csv { separator: b';' },
        id: "id".into(),
        title: Some("name".into()),
        genres: Some("tags".into()),
        between: "/".into(),
    });
    let (kept, ratings) = prepared(&Source::Own(files));
    assert_eq!(ratings.user_ids().unwrap(), ["anna", "bert"]);
    assert_eq!(ratings.items()[0].genres, ["crime", "new"]);
    assert_eq!((ratings.items()[1].id.as_str(), ratings.items()[1].title.as_deref()), ("a; b", None));
    assert_eq!(ratings.timestamps().unwrap(), None);
    assert_eq!(ratings.summary().scale, Scale { min: 1.0, max: 4.5, step: None });
    assert_eq!(ratings.summary().items_without_details, 1);
    assert_eq!(rows_of_genre(kept.path(), "crime"), [0]);
}

#[test]
fn a_genre_nobody_has_is_answered_with_the_nearest() {
    let files = tempfile::tempdir().unwrap();
    let (folder, _) = prepared(&found(files.path(), Format::Csv));
    assert_eq!(rows_of_genre(folder.path(), "Drama"), [0, 2]);
    assert_eq!(rows_of_genre(folder.path(), "Western"), [1]);
    let files = RatingsFiles::in_folder(folder.path());
    let select = |genres: &[&str]| Selection::open(&files, &genres.iter().map(|&genre| genre.to_owned()).collect::<Vec<_>>());
    let message = "no item has the genre `film noir` (did you mean `Film-Noir`?); the genres are `Drama`, `Film-Noir`, `Western`";
    assert_eq!(select(&["Drama", "film noir"]).unwrap_err().to_string(), message);
    let asked = select(&["Drama"]).unwrap().having(&["film noir".to_owned()]);
    assert_eq!(asked.unwrap_err().to_string(), message);
}

#[test]
fn mistakes_in_own_files_name_line_and_column() {
    let folder = tempfile::tempdir().unwrap();
    let message = |text: &str, scale: Option<Scale>| {
        let mut files = own(folder.path(), text);
        files.scale = scale;
        let message = refused(&Source::Own(files));
        message.strip_prefix(&folder.path().display().to_string()).unwrap().to_owned()
    };
    let scale = Some(Scale { min: 1.0, max: 5.0, step: None });
    assert_eq!(message("", None), "/mine.csv: found an empty file, expected a header and ratings");
    assert_eq!(message("user,item,rating\n", None), "/mine.csv: found no ratings, expected at least one");
    assert_eq!(
        message("user,item,rating\na,b,3\na,c,6\n", scale),
        "/mine.csv:3, column `rating`: found \"6\", expected a rating on the scale 1 to 5"
    );
    assert_eq!(
        message("user,item,rating\n\na,b,inf\n", None),
        "/mine.csv:3, column `rating`: found \"inf\", expected a finite number"
    );
    assert_eq!(message("user,item,rating\na,b\n", None), "/mine.csv:2: found 2 fields, expected 3 (user, item, rating)");
}

#[test]
fn a_mistake_far_down_is_found_at_its_line() {
    // Several megabytes: many blocks, and the mistake in one of the last.
    let folder = tempfile::tempdir().unwrap();
    let mut text = String::from("user,item,rating\n");
    for row in 0..400_000_u32 {
        text.push_str(&format!("{},{},{}\n", row / 20, row % 977, row % 5 + 1));
    }
    let good = text.clone();
    text.push_str("1,2,three\n");
    let message = refused(&Source::Own(own(folder.path(), &text)));
    assert!(message.contains("mine.csv:400002, column `rating`: found \"three\""), "{message}");

    let (_kept, ratings) = prepared(&Source::Own(own(folder.path(), &good)));
    assert_eq!(ratings.len(), 400_000);
    assert!((0..400_000_u32).all(|row| {
        let at = row as usize;
        ratings.user()[at] == row / 20 && ratings.item()[at] == row % 977 && ratings.rating()[at] == (row % 5 + 1) as f32
    }));
}

#[test]
fn the_number_of_threads_changes_no_byte() {
    let folder = tempfile::tempdir().unwrap();
    let mut text = String::from("user,item,rating\n");
    // Over a row group, so that groups are cut in the middle of blocks.
    for row in 0..1_100_000_u32 {
        text.push_str(&format!("{},{},{}\n", row % 7919, row % 977, row % 5 + 1));
    }
    let source = Source::Own(own(folder.path(), &text));
    let outputs: Vec<_> = [1, 3]
        .into_iter()
        .map(|threads| {
            let out = tempfile::tempdir().unwrap();
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| run(&source, out.path(), &mut Silent)).unwrap();
            contents(out.path())
        })
        .collect();
    assert!(outputs[0] == outputs[1]);
}

#[test]
fn the_users_own_parquet() {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Float64Array, Int64Array, ListArray, RecordBatch, StringArray, TimestampMillisecondArray};
    use arrow::datatypes::Int32Type;

    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, columns: Vec<(&str, ArrayRef)>| -> PathBuf {
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let path = folder.path().join(name);
        let file = std::fs::File::create(&path).unwrap();
        let mut writer = parquet::arrow::ArrowWriter::try_new(file, batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        path
    };
    let _ = ListArray::from_iter_primitive::<Int32Type, _, _>(vec![Some(vec![Some(1)])]);
    let stars: ArrayRef = Arc::new(Float64Array::from(vec![4.0, 3.5, 1.0]));
    let ratings = write(
        "r.parquet",
        vec![
            ("stars", Arc::clone(&stars)),
            ("user", Arc::new(Int64Array::from(vec![7, -7, 7]))),
            ("item", Arc::new(StringArray::from(vec!["x", "12", "012"]))),
            ("when", Arc::new(TimestampMillisecondArray::from(vec![1_999, 5_000, 6_000]))),
        ],
    );
    let items = write(
        "i.parquet",
        vec![
            ("id", Arc::new(StringArray::from(vec!["12", "x"])) as ArrayRef),
            ("tags", Arc::new(StringArray::from(vec![Some("a|b"), None]))),
        ],
    );
    let mut files = own(folder.path(), "");
    files.ratings = ratings;
    files.format = OwnFormat::Parquet;
    files.columns =
        ColumnNames { user: "user".into(), item: "item".into(), rating: "stars".into(), timestamp: Some("when".into()) };
    files.items = Some(OwnItems {
        path: items,
        format: OwnFormat::Parquet,
        id: "id".into(),
        title: None,
        genres: Some("tags".into()),
        between: "|".into(),
    });
    let (_kept, ratings) = prepared(&Source::Own(files.clone()));
    assert_eq!(ratings.user_ids().unwrap(), ["7", "-7"]);
    assert_eq!(ratings.item(), [0, 1, 2]);
    assert_eq!(ratings.timestamps().unwrap(), Some(vec![1, 5, 6]));
    assert_eq!(ratings.items()[1].genres, ["a", "b"]);

    files.scale = Some(Scale { min: 1.0, max: 5.0, step: Some(1.0) });
    let message = refused(&Source::Own(files.clone()));
    assert!(
        message.ends_with("r.parquet, row 2, column `stars`: found 3.5, expected a rating on the scale 1 to 5 in steps of 1"),
        "{message}"
    );

    files.columns.user = "usr".into();
    let message = refused(&Source::Own(files));
    assert!(message.contains("expected a column `usr` (did you mean `user`?)"), "{message}");
}

#[test]
fn preparing_can_be_cancelled() {
    let files = tempfile::tempdir().unwrap();
    let source = found(files.path(), Format::Csv);
    let out = tempfile::tempdir().unwrap();
    let mut stop = |_: &str, _: u64, _: Option<u64>| std::ops::ControlFlow::Break(());
    let error = run(&source, out.path(), &mut stop).unwrap_err();
    assert_eq!(error.to_string(), "cancelled");
}

#[test]
fn settings_that_cannot_be_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let files = own(folder.path(), "user,item,rating\na,b,3\n");
    let with = |change: &dyn Fn(&mut OwnFiles)| {
        let mut files = files.clone();
        change(&mut files);
        refused(&Source::Own(files))
    };
    assert!(with(&|files| files.scale = Some(Scale { min: 5.0, max: 1.0, step: None })).contains("from 5 to 1"));
    for separator in [b'"', b'.', b'7'] {
        assert!(with(&|files| files.format = OwnFormat::Csv { separator }).contains("cannot stand between"));
    }
    assert_eq!(with(&|files| files.columns.item = "user".into()), "mine: the column `user` is named for two uses");
    assert!(with(&|files| files.ratings = folder.path().join("nowhere.csv")).contains("nowhere.csv: cannot open the file"));
}

/// A table as a csv writer would write it, quoting where it must and sometimes where it need not.
fn csv_field(text: &str, quote: bool) -> String {
    if quote || text.contains(['"', ',', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(32))]

    #[test]
    fn any_table_is_read_as_it_was_written(
        rows in proptest::collection::vec(
            ("[0-9]{1,4}|[a-z ,\"\n]{1,5}", "[0-9]{1,11}|[^\u{0}]{1,3}", 0_u8..=10, -5_i64..2_000_000_000, proptest::bool::ANY),
            1..40,
        ),
        crlf in proptest::bool::ANY,
    ) {
        let end = if crlf { "\r\n" } else { "\n" };
        let mut text = format!("time,user,note,item,rating{end}");
        for (user, item, halves, time, quote) in &rows {
            let fields = [
                time.to_string(),
                csv_field(user, *quote),
                csv_field("x\"y", false),
                csv_field(item, *quote),
                format!("{}", f32::from(*halves) / 2.0),
            ];
            text.push_str(&fields.join(","));
            text.push_str(end);
        }
        let folder = tempfile::tempdir().unwrap();
        let mut files = own(folder.path(), &text);
        files.columns.timestamp = Some("time".into());
        let (_kept, ratings) = prepared(&Source::Own(files));
        let users = ratings.user_ids().unwrap();
        let times = ratings.timestamps().unwrap().unwrap();
        proptest::prop_assert_eq!(ratings.len(), rows.len());
        for (at, (user, item, halves, time, _)) in rows.iter().enumerate() {
            proptest::prop_assert_eq!(&users[ratings.user()[at] as usize], user);
            proptest::prop_assert_eq!(&ratings.items()[ratings.item()[at] as usize].id, item);
            proptest::prop_assert_eq!(ratings.rating()[at], f32::from(*halves) / 2.0);
            proptest::prop_assert_eq!(times[at], *time);
        }
    }
}
