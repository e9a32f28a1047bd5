//! Splits of a prepared artifact, drawn and imported.

use std::path::Path;

use talkflow_datasets::ColumnNames;
use talkflow_datasets::cards::Scale;
use talkflow_datasets::prepare::{OwnFiles, OwnFormat, Source};
use talkflow_datasets::ratings::{Ratings, RatingsFiles};
use talkflow_datasets::split::{Fractions, ImportedFiles, Part, Split, SplitFiles, SplitSpec};
use talkflow_datasets::synthetic::Synthetic;

use super::{contents, prepared};

fn ratings() -> (tempfile::TempDir, Ratings) {
    prepared(&Source::Synthetic(Synthetic { users: 100, items: 120, ratings: 3_000, ..Synthetic::default() }))
}

fn fractions() -> Fractions {
    Fractions::new(0.8, 0.1, 0.1).unwrap()
}

#[test]
fn by_rating_has_exact_sizes_and_depends_on_the_seed_alone() {
    let (_folder, ratings) = ratings();
    let make = |seed| Split::make(&ratings, &SplitSpec::ByRating(fractions()), seed).unwrap();
    let split = make(1);
    let counts = split.summary().counts;
    assert_eq!((counts.train, counts.validation, counts.test), (2_400, 300, 300));
    assert_eq!(split, make(1));
    assert_ne!(split, make(2));
}

#[test]
fn by_user_keeps_users_whole() {
    let (_folder, ratings) = ratings();
    let split = Split::make(&ratings, &SplitSpec::ByUser(fractions()), 1).unwrap();
    let mut part_of = [None; 100];
    for (&user, &part) in ratings.user().iter().zip(split.parts()) {
        assert_eq!(*part_of[user as usize].get_or_insert(part), part);
    }
    let count = |wanted| part_of.iter().filter(|&&part| part == Some(wanted)).count();
    assert_eq!([count(Part::Train), count(Part::Validation), count(Part::Test)], [80, 10, 10]);
}

#[test]
fn a_split_of_the_files_is_one_of_the_ratings() {
    let (folder, ratings) = ratings();
    let files = RatingsFiles::in_folder(folder.path());
    for spec in [SplitSpec::ByRating(fractions()), SplitSpec::ByUser(fractions()), SplitSpec::ByTime(fractions())] {
        assert_eq!(Split::make_from(&files, &spec, 3).unwrap(), Split::make(&ratings, &spec, 3).unwrap(), "{spec:?}");
    }
    let summary = std::fs::read_to_string(&files.dataset).unwrap();
    std::fs::write(&files.dataset, summary.replace("\"ratings\": 3000", "\"ratings\": 2999")).unwrap();
    let message = Split::make_from(&files, &SplitSpec::ByRating(fractions()), 3).unwrap_err().to_string();
    assert!(message.contains("it has 3000 rows where dataset.json says 2999"), "{message}");
}

#[test]
fn by_time_cuts_once_for_all() {
    let (_folder, ratings) = ratings();
    let split = Split::make(&ratings, &SplitSpec::ByTime(fractions()), 1).unwrap();
    let times = ratings.timestamps().unwrap().unwrap();
    let key = |row: u32| (times[row as usize], row);
    let bounds = |part| {
        let keys: Vec<_> = split.rows(part).into_iter().map(key).collect();
        (*keys.iter().min().unwrap(), *keys.iter().max().unwrap(), keys.len())
    };
    let [train, validation, test] = Part::ALL.map(bounds);
    assert!(train.1 < validation.0 && validation.1 < test.0);
    assert_eq!([train.2, validation.2, test.2], [2_400, 300, 300]);
    assert_eq!(split, Split::make(&ratings, &SplitSpec::ByTime(fractions()), 2).unwrap(), "no randomness");
}

/// Against sorting: for each user, its rows by time, item and row.
#[test]
fn leave_one_out_tests_each_users_newest() {
    let (folder, ratings) = ratings();
    let split = Split::make(&ratings, &SplitSpec::LeaveOneOut, 1).unwrap();
    let times = ratings.timestamps().unwrap().unwrap();
    for user in 0..100 {
        let mut rows: Vec<u32> = (0..3_000).filter(|&row| ratings.user()[row as usize] == user).collect();
        rows.sort_by_key(|&row| (times[row as usize], ratings.item()[row as usize], row));
        let parts: Vec<Part> = rows.iter().map(|&row| split.parts()[row as usize]).collect();
        let mut expected = vec![Part::Train; rows.len()];
        if let [.., before, last] = expected.as_mut_slice()
            && rows.len() > 2
        {
            (*before, *last) = (Part::Validation, Part::Test);
        }
        assert_eq!(parts, expected, "user {user}");
    }
    assert_eq!(split.summary().fractions, None);
    assert_eq!(split, Split::make_from(&RatingsFiles::in_folder(folder.path()), &SplitSpec::LeaveOneOut, 2).unwrap());
}

/// Ties go by item, then by row; who has two ratings only trains; without times, and without anybody who has three, it is refused.
#[test]
fn leave_one_out_by_hand() {
    let split = |text: &str| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("r.csv");
        std::fs::write(&path, text).unwrap();
        let timestamp = text.contains("timestamp").then(|| "timestamp".to_owned());
        let columns = ColumnNames { timestamp, ..ColumnNames::default() };
        let own = OwnFiles {
            name: "mine".into(),
            ratings: path,
            format: OwnFormat::Csv { separator: b',' },
            columns,
            items: None,
            scale: Some(Scale { min: 1.0, max: 5.0, step: Some(1.0) }),
            licence: None,
            citation: None,
        };
        let (_artifact, ratings) = prepared(&Source::Own(own));
        Split::make(&ratings, &SplitSpec::LeaveOneOut, 1)
            .map(|split| split.parts().iter().map(|part| part.name()).collect::<Vec<_>>())
    };
    // Without a list of items they are numbered as they come: 3, 1, 2.
    let tied = "user,item,rating,timestamp\na,3,5,7\na,1,4,7\na,2,3,7\nb,1,2,9\nb,2,1,8\na,0,1,1\n";
    assert_eq!(split(tied).unwrap(), ["train", "validation", "test", "train", "train", "train"]);
    let few = "user,item,rating,timestamp\na,1,5,1\na,2,4,2\n";
    assert!(split(few).unwrap_err().to_string().contains("no user has 3 ratings"));
    assert!(split("user,item,rating\na,1,5\na,2,4\na,3,4\n").unwrap_err().to_string().contains("has no times"));
}

#[test]
fn a_split_survives_its_files_byte_for_byte() {
    let (_folder, ratings) = ratings();
    let split = Split::make(&ratings, &SplitSpec::ByRating(fractions()), 1).unwrap();
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    split.write(one.path()).unwrap();
    let loaded = Split::open(&SplitFiles::in_folder(one.path())).unwrap();
    assert_eq!(loaded, split);
    loaded.write(two.path()).unwrap();
    assert_eq!(contents(one.path()), contents(two.path()));

    let csv = one.path().join("split.csv");
    split.export_csv(&csv).unwrap();
    let imported = Split::make(&ratings, &SplitSpec::Rows(csv), 9).unwrap();
    assert_eq!(imported.parts(), split.parts());
}

#[test]
fn a_tables_mistakes_are_named() {
    let (_folder, ratings) = ratings();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.csv");
    let message = |text: &str| {
        std::fs::write(&path, text).unwrap();
        let message = Split::make(&ratings, &SplitSpec::Rows(path.clone()), 1).unwrap_err().to_string();
        message.strip_prefix(&path.display().to_string()).unwrap().to_owned()
    };
    assert_eq!(message("row,part\n0,train\n0,test\n"), ":3, column `row`: found row 0 a second time, expected each row once");
    assert_eq!(message("row,part\n3000,train\n"), ":2, column `row`: found \"3000\", expected a row from 0 to 2999");
    assert_eq!(message("row,part\n1,dev\n"), ":2, column `part`: found \"dev\", expected train, validation or test");
    assert_eq!(
        message("row,part\n1,train\n"),
        ": found no part for 2999 of 3000 rows, the first of them row 0, expected every row of the data set in exactly one part"
    );
    assert!(message("part,row\n").contains("the two columns row,part"));
}

/// Writes rows of the ratings as `u1.base` and `u1.test` are written.
fn write_rows(ratings: &Ratings, path: &Path, rows: impl Iterator<Item = usize>) {
    let users = ratings.user_ids().unwrap();
    let times = ratings.timestamps().unwrap().unwrap();
    let text: String = rows
        .map(|row| {
            let user = &users[ratings.user()[row] as usize];
            let item = &ratings.items()[ratings.item()[row] as usize].id;
            format!("{user}\t{item}\t{}\t{}\n", ratings.rating()[row], times[row])
        })
        .collect();
    std::fs::write(path, text).unwrap();
}

#[test]
fn the_users_base_and_test_files() {
    let (_kept, ratings) = ratings();
    let folder = tempfile::tempdir().unwrap();
    let (train, test) = (folder.path().join("u1.base"), folder.path().join("u1.test"));
    let is_test = |row: &usize| row % 5 == 3;
    // In another order than the data set's.
    write_rows(&ratings, &train, (0..3_000).rev().filter(|row| !is_test(row)));
    write_rows(&ratings, &test, (0..3_000).filter(is_test));
    let files = ImportedFiles { train, validation: None, test: test.clone(), validation_fraction: 0.1, columns: None };
    let split = Split::make(&ratings, &SplitSpec::Files(files.clone()), 1).unwrap();
    assert!((0..3_000).all(|row| (split.parts()[row] == Part::Test) == is_test(&row)));
    assert_eq!(split.summary().counts.validation, 240);
    let other = Split::make(&ratings, &SplitSpec::Files(files.clone()), 2).unwrap();
    assert_ne!(split, other, "validation is drawn by the seed");

    let spec = SplitSpec::Files(files);
    let message = |text: &str| {
        std::fs::write(&test, text).unwrap();
        let message = Split::make(&ratings, &spec, 1).unwrap_err().to_string();
        message.replace(&folder.path().display().to_string(), "")
    };
    let row = |row: usize| {
        (ratings.user_ids().unwrap()[ratings.user()[row] as usize].clone(), &ratings.items()[ratings.item()[row] as usize].id)
    };
    let (user, item) = row(0);
    let rating = ratings.rating()[0];
    assert_eq!(
        message(&format!("{user}\t{item}\t{rating}\t5\n")),
        format!(
            "/u1.test:1: found user {user}, item {item} a second time (row 0, already in train), expected each rating in one part, once"
        )
    );
    let (user, item) = row(3);
    let rating = ratings.rating()[3];
    let wrong = if rating == 1.0 { 2.0 } else { 1.0 };
    assert_eq!(
        message(&format!("{user}\t{item}\t{wrong}\t5\n")),
        format!(
            "/u1.test:1: found user {user}, item {item} rated {wrong}, expected {rating}, as in row 3 of movielens/synthetic"
        )
    );
    assert_eq!(message("zoe\t1\t3\t5\n"), "/u1.test:1: found user zoe, item 1, expected a rating that movielens/synthetic has");
    assert!(message(&format!("{user}\t{item}\t{rating}\t5\n")).contains("found no part for 599 of 3000 rows"));
}

#[test]
fn imported_files_may_have_headers() {
    let (_kept, ratings) = ratings();
    let folder = tempfile::tempdir().unwrap();
    let users = ratings.user_ids().unwrap();
    let write = |name: &str, wanted: usize| {
        let mut text = String::from("rating,movieId,userId\n");
        for row in (0..3_000).filter(|row| row % 3 == wanted) {
            let item = &ratings.items()[ratings.item()[row] as usize].id;
            text.push_str(&format!("{},{item},{}\n", ratings.rating()[row], users[ratings.user()[row] as usize]));
        }
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let files = ImportedFiles {
        train: write("train.csv", 0),
        validation: Some(write("validation.csv", 1)),
        test: write("test.csv", 2),
        validation_fraction: 0.0,
        columns: Some(ColumnNames { timestamp: None, ..ColumnNames::movielens() }),
    };
    let split = Split::make(&ratings, &SplitSpec::Files(files), 1).unwrap();
    assert!((0..3_000).all(|row| split.parts()[row] as usize == row % 3));
}
