//! Selections of a prepared artifact: the rows of genres as whole columns have them, and what of a damaged artifact is refused.

use std::fmt::Write;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int64Array, RecordBatch, UInt32Array, new_null_array};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::properties::WriterProperties;
use talkflow_datasets::prepare::{OwnFiles, OwnFormat, OwnItems, Source};
use talkflow_datasets::ratings::{Ratings, RatingsFiles};
use talkflow_datasets::selection::{Columns, Selection};
use talkflow_datasets::{ColumnNames, Error};

use super::{contents, prepared};

const ROWS: u32 = 30_000;
/// Rows of a row group: no whole number of what is decoded at a time, so that a short batch ends each.
const GROUP: usize = 10_000;

/// Item 9 has few rows: a row group has none, and where one has, whole pages of its users and ratings are passed over.
fn item(row: u32) -> u32 {
    if row == 9_500 || (29_000..29_011).contains(&row) || row == ROWS - 1 { 9 } else { [0, 1, 4][row as usize / 7 % 3] }
}

/// An artifact in small row groups; the genres of its items overlap, and item 8 is not rated.
fn artifact() -> tempfile::TempDir {
    let source = tempfile::tempdir().unwrap();
    let mut text = String::from("user,item,rating\n");
    (0..ROWS).for_each(|row| writeln!(text, "{},{},{}", row % 977, item(row), row % 5 + 1).unwrap());
    let ratings = source.path().join("ratings.csv");
    std::fs::write(&ratings, text).unwrap();
    let items = source.path().join("items.csv");
    let genres = "id,genres\n0,Even|Low\n1,Odd|Low\n4,Even|High\n8,Even|Unseen\n9,Rare|High\n";
    std::fs::write(&items, genres).unwrap();
    let csv = OwnFormat::Csv { separator: b',' };
    let items =
        OwnItems { path: items, format: csv, id: "id".into(), title: None, genres: Some("genres".into()), between: "|".into() };
    let (folder, _) = prepared(&Source::Own(OwnFiles {
        name: "mine".to_owned(),
        ratings,
        format: csv,
        columns: ColumnNames::default(),
        items: Some(items),
        scale: None,
        licence: None,
        citation: None,
    }));
    rewrite(folder.path(), |_, column| column);
    folder
}

/// Writes `ratings.parquet` again, in small row groups of small pages, with its columns as `change` has them.
fn rewrite(folder: &Path, change: impl Fn(&str, ArrayRef) -> ArrayRef) {
    let path = folder.join("ratings.parquet");
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(&path).unwrap()).unwrap();
    let schema = Arc::clone(reader.schema());
    let batches: Vec<RecordBatch> = reader.build().unwrap().map(Result::unwrap).collect();
    let whole = arrow::compute::concat_batches(&schema, &batches).unwrap();
    let columns = schema.fields().iter().zip(whole.columns());
    let columns = columns.map(|(field, column)| (field.name().as_str(), change(field.name(), Arc::clone(column))));
    let changed = RecordBatch::try_from_iter(columns).unwrap();
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(GROUP))
        .set_data_page_row_count_limit(1_000)
        .set_write_batch_size(500)
        .build();
    let mut writer = ArrowWriter::try_new(File::create(&path).unwrap(), changed.schema(), Some(properties)).unwrap();
    writer.write(&changed).unwrap();
    let groups = writer.close().unwrap().num_row_groups();
    assert_eq!(groups, ROWS as usize / GROUP);
}

fn select(folder: &Path, genres: &[&str]) -> Result<Selection, Error> {
    let genres: Vec<String> = genres.iter().map(|&genre| genre.to_owned()).collect();
    Selection::open(&RatingsFiles::in_folder(folder), &genres)
}

/// The rows for which `keep` is true, from whole columns.
fn expected(ratings: &Ratings, keep: impl Fn(u32, u32) -> bool) -> Columns {
    let mut columns = Columns::default();
    for (row, ((&user, &item), &rating)) in (0..).zip(ratings.user().iter().zip(ratings.item()).zip(ratings.rating())) {
        if keep(row, item) {
            columns.row.push(row);
            columns.user.push(user);
            columns.item.push(item);
            columns.rating.push(rating);
        }
    }
    columns
}

#[test]
fn a_selection_is_the_filter_of_whole_columns_on_any_number_of_threads() {
    let folder = artifact();
    let ratings = Ratings::open(&RatingsFiles::in_folder(folder.path())).unwrap();
    let has = |item: u32, genres: &[&str]| {
        let of = &ratings.items()[item as usize].genres;
        genres.is_empty() || genres.iter().any(|genre| of.iter().any(|own| own == genre))
    };
    let choices: [&[&str]; 7] =
        [&["Rare"], &["Low"], &["Even"], &["Even", "Low"], &["Rare", "Odd", "Rare"], &["Even", "Odd", "High"], &[]];
    for genres in choices {
        let whole = expected(&ratings, |_, item| has(item, genres));
        assert!(!whole.row.is_empty() && whole.row.is_sorted_by(|a, b| a < b));
        for threads in [1, 2] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let selection = pool.install(|| select(folder.path(), genres)).unwrap();
            assert!(*selection.columns() == whole, "{genres:?}, {threads} threads");
            assert_eq!((selection.summary(), selection.items()), (ratings.summary(), ratings.items()));
        }
    }
    let rare = select(folder.path(), &["Rare"]).unwrap();
    let rows: Vec<u32> = [9_500].into_iter().chain(29_000..29_011).chain([ROWS - 1]).collect();
    assert_eq!(rare.columns().row, rows);
}

#[test]
fn genres_of_unrated_items_are_unknown() {
    let folder = artifact();
    let message = select(folder.path(), &["Unseen"]).unwrap_err().to_string();
    assert!(message.starts_with("no item has the genre `Unseen`"), "{message}");
}

#[test]
fn damaged_artifacts_are_refused_as_whole_columns_are() {
    let sound = artifact();
    let refused = |problem: &str, damage: &dyn Fn(&Path)| {
        let folder = tempfile::tempdir().unwrap();
        contents(sound.path()).iter().for_each(|(name, bytes)| std::fs::write(folder.path().join(name), bytes).unwrap());
        damage(folder.path());
        let whole = Ratings::open(&RatingsFiles::in_folder(folder.path())).unwrap_err();
        let error = select(folder.path(), &["Even"]).unwrap_err();
        assert!(matches!(error, Error::NotAnArtifact { .. }), "{error}");
        assert_eq!(error.to_string(), whole.to_string());
        assert!(error.to_string().contains(problem), "{error}");
    };
    let summary = |from: &str, to: &str| {
        let (from, to) = (from.to_owned(), to.to_owned());
        move |folder: &Path| {
            let path = folder.join("dataset.json");
            let text = std::fs::read_to_string(&path).unwrap();
            assert!(text.contains(&from));
            std::fs::write(&path, text.replacen(&from, &to, 1)).unwrap();
        }
    };
    let column = |wanted: &'static str, change: fn(ArrayRef) -> ArrayRef| {
        move |folder: &Path| rewrite(folder, |name, column| if name == wanted { change(column) } else { column })
    };
    refused("it has 30000 rows where dataset.json says 29999", &summary("\"ratings\": 30000", "\"ratings\": 29999"));
    let counts = "its users or items are not those of dataset.json";
    refused(counts, &summary("\"users\": 977", "\"users\": 976"));
    refused(counts, &summary("\"items\": 4", "\"items\": 5"));
    refused(
        counts,
        &column("item", |items| {
            let items = items.as_any().downcast_ref::<UInt32Array>().unwrap();
            Arc::new(UInt32Array::from_iter_values(items.values().iter().map(|&item| if item == 3 { 4 } else { item })))
        }),
    );
    refused(
        counts,
        &column("user", |users| {
            let users = users.as_any().downcast_ref::<UInt32Array>().unwrap();
            Arc::new(UInt32Array::from_iter_values(users.values().iter().map(|&user| if user == 500 { u32::MAX } else { user })))
        }),
    );
    for name in ["user", "item", "rating"] {
        let lacking = column(name, |column| {
            let without = new_null_array(column.data_type(), 1);
            let (before, after) = (column.slice(0, 5_000), column.slice(5_001, column.len() - 5_001));
            arrow::compute::concat(&[before.as_ref(), without.as_ref(), after.as_ref()]).unwrap()
        });
        refused(&format!("its column `{name}` lacks values"), &lacking);
        let other = column(name, |column| Arc::new(Int64Array::from(vec![1; column.len()])));
        refused(&format!("its column `{name}` has another type"), &other);
    }
    refused("it has no column `item`", &|folder| {
        let path = folder.join("ratings.parquet");
        std::fs::copy(folder.join("users.parquet"), &path).unwrap();
    });
}
