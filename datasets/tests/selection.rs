//! Ratings of some genres, chosen while they are read: the same as a filter over whole columns, whatever the row groups and threads.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;

use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::properties::WriterProperties;
use talkflow_datasets::prepare::Source;
use talkflow_datasets::ratings::Ratings;
use talkflow_datasets::selection::Columns;
use talkflow_datasets::synthetic::Synthetic;

use super::{prepared, select};

/// Ratings in row groups of 3 000 and pages of 500, so that there are many of both and batches end inside of them.
fn in_many_groups() -> (tempfile::TempDir, Ratings) {
    let spec = Synthetic { users: 200, items: 300, ratings: 20_000, ..Synthetic::default() };
    let (folder, ratings) = prepared(&Source::Synthetic(spec));
    rewrite(&folder.path().join("ratings.parquet"), 20_000);
    (folder, ratings)
}

/// Writes the first `rows` rows of a file anew.
fn rewrite(path: &Path, rows: usize) {
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap()).unwrap();
    let schema = reader.schema().clone();
    let batches: Vec<_> = reader.with_limit(rows).build().unwrap().map(Result::unwrap).collect();
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(3_000))
        .set_data_page_row_count_limit(500)
        .set_write_batch_size(100)
        .build();
    let mut writer = ArrowWriter::try_new(File::create(path).unwrap(), schema, Some(properties)).unwrap();
    batches.iter().for_each(|batch| writer.write(batch).unwrap());
    writer.close().unwrap();
}

/// The same by whole columns.
fn filtered(ratings: &Ratings, genres: &[&str]) -> Columns {
    let has = |item: u32| {
        let own = &ratings.items()[item as usize].genres;
        genres.is_empty() || genres.iter().any(|genre| own.iter().any(|own| own == genre))
    };
    let mut columns = Columns::default();
    for row in (0..ratings.len()).filter(|&row| has(ratings.item()[row])) {
        columns.row.push(row as u32);
        columns.user.push(ratings.user()[row]);
        columns.item.push(ratings.item()[row]);
        columns.rating.push(ratings.rating()[row]);
    }
    columns
}

#[test]
fn a_selection_is_the_filter_of_whole_columns() {
    let (folder, ratings) = in_many_groups();
    let names: Vec<&str> = ratings.summary().genres.iter().map(|count| count.genre.as_str()).collect();
    let rarest = ratings.summary().genres.iter().min_by_key(|count| count.ratings).unwrap();
    // A genre with so few rows that whole batches have none of them; all; each alone; several, whose items overlap.
    let mut choices: Vec<Vec<&str>> = names.iter().map(|&name| vec![name]).collect();
    choices.extend([vec![], vec![&rarest.genre, "Drama"], names.clone()]);
    for genres in choices {
        let expected = filtered(&ratings, &genres);
        for threads in [1, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let selection = pool.install(|| select(&folder, &genres)).unwrap();
            assert_eq!(*selection.columns(), expected, "{genres:?}");
            assert_eq!((selection.summary(), selection.items()), (ratings.summary(), ratings.items()));
        }
    }
}

#[test]
fn rows_are_picked_out_of_a_selection() {
    let (folder, ratings) = in_many_groups();
    let selection = select(&folder, &["Drama", "Western"]).unwrap();
    let western = selection.having(&["Western".to_owned()]).unwrap();
    let picked = selection.pick(|row, item| row.is_multiple_of(2) && western[item as usize]);
    let all = filtered(&ratings, &["Western"]);
    let even: Vec<usize> = (0..all.row.len()).filter(|&place| all.row[place].is_multiple_of(2)).collect();
    assert!(!even.is_empty());
    assert_eq!(picked.row, even.iter().map(|&place| all.row[place]).collect::<Vec<_>>());
    assert_eq!(picked.user, even.iter().map(|&place| all.user[place]).collect::<Vec<_>>());
    assert_eq!(picked.item, even.iter().map(|&place| all.item[place]).collect::<Vec<_>>());
    assert_eq!(picked.rating, even.iter().map(|&place| all.rating[place]).collect::<Vec<_>>());
    let items: BTreeSet<u32> = picked.item.iter().copied().collect();
    assert!(items.iter().all(|&item| ratings.items()[item as usize].genres.iter().any(|genre| genre == "Western")));
}

#[test]
fn a_damaged_artifact_is_refused() {
    let (folder, _) = in_many_groups();
    let message = |genres: &[&str]| select(&folder, genres).err().unwrap().to_string();
    assert!(message(&["Drame"]).contains("did you mean `Drama`?"), "{}", message(&["Drame"]));
    let path = folder.path().join("ratings.parquet");
    rewrite(&path, 19_000);
    for genres in [&[][..], &["Drama"]] {
        assert!(message(genres).contains("it has 19000 rows where dataset.json says 20000"), "{}", message(genres));
    }
    // Fewer users, or items, than the rows have.
    let (folder, ratings) = in_many_groups();
    let message = |genres: &[&str]| select(&folder, genres).err().unwrap().to_string();
    let summary = folder.path().join("dataset.json");
    let text = std::fs::read_to_string(&summary).unwrap();
    let users = ratings.summary().users;
    std::fs::write(&summary, text.replace(&format!("\"users\": {users}"), "\"users\": 10")).unwrap();
    for genres in [&[][..], &["Drama"]] {
        assert!(message(genres).contains("its users or items are not those of dataset.json"), "{}", message(genres));
    }
    let items = ratings.summary().items;
    std::fs::write(&summary, text.replace(&format!("\"items\": {items}"), "\"items\": 10")).unwrap();
    for genres in [&[][..], &["Drama"]] {
        assert!(message(genres).contains("its users or items are not those of dataset.json"), "{}", message(genres));
    }
    // Bytes of another kind.
    std::fs::write(&summary, &text).unwrap();
    let path = folder.path().join("ratings.parquet");
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    assert!(message(&["Drama"]).contains("ratings.parquet"), "{}", message(&["Drama"]));
}
