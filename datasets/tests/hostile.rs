//! Files that are meant to hurt: every one ends in an error that says where, or is read as what it is.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parquet::basic::Compression;
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use talkflow_datasets::ColumnNames;
use talkflow_datasets::prepare::{OwnFiles, OwnFormat, OwnItems, Source, prepare};
use talkflow_datasets::progress::Silent;
use talkflow_datasets::ratings::{RATINGS, Ratings, RatingsFiles};
use talkflow_datasets::selection::Selection;
use talkflow_datasets::synthetic::Synthetic;

use super::{prepared, refused};

fn own(ratings: PathBuf, format: OwnFormat) -> OwnFiles {
    OwnFiles {
        name: "own".to_owned(),
        ratings,
        format,
        columns: ColumnNames::default(),
        items: None,
        scale: None,
        licence: None,
        citation: None,
    }
}

/// A page's header: kind, bytes unfolded and folded, values, encoding; Thrift's compact protocol by hand.
fn header(kind: i64, unfolded: i64, folded: i64, values: i64, encoding: i64) -> Vec<u8> {
    let mut bytes = Vec::new();
    let field = |bytes: &mut Vec<u8>, number: i64| {
        let mut zigzag = (number << 1 ^ number >> 63).cast_unsigned();
        bytes.push(0x15);
        while zigzag >= 0x80 {
            bytes.push(zigzag as u8 | 0x80);
            zigzag >>= 7;
        }
        bytes.push(zigzag as u8);
    };
    [kind, unfolded, folded].iter().for_each(|number| field(&mut bytes, *number));
    bytes.push(if kind == DICTIONARY { 0x4c } else { 0x2c });
    let inner = [values, encoding, 3, 3];
    inner[..if kind == DICTIONARY { 2 } else { 4 }].iter().for_each(|number| field(&mut bytes, *number));
    bytes.extend([0, 0]);
    bytes
}

const DATA: i64 = 0;
const DICTIONARY: i64 = 2;
const PLAIN: i64 = 0;
const DELTA_LENGTHS: i64 = 6;
const DELTA_STRINGS: i64 = 7;
const BY_DICTIONARY: i64 = 8;

/// A file of some rows whose columns all have these pages, the users' of this type.
fn file(path: &Path, user: &str, compression: Compression, pages: &[u8], dictionary: bool, rows: i64) {
    let text = format!("message m {{ required {user} user; required int32 item; required float rating; }}");
    let schema = Arc::new(parse_message_type(&text).unwrap());
    let mut writer = SerializedFileWriter::new(File::create(path).unwrap(), schema, Default::default()).unwrap();
    let columns = writer.schema_descr().columns().to_vec();
    let mut group = writer.next_row_group().unwrap();
    let mut source = tempfile::tempfile().unwrap();
    source.write_all(pages).unwrap();
    for column in columns {
        let metadata = ColumnChunkMetaData::builder(column)
            .set_compression(compression)
            .set_num_values(rows)
            .set_total_compressed_size(pages.len() as i64)
            .set_total_uncompressed_size(pages.len() as i64)
            .set_data_page_offset(0)
            .set_dictionary_page_offset(dictionary.then_some(0))
            .build()
            .unwrap();
        let close = parquet::column::writer::ColumnCloseResult {
            bytes_written: pages.len() as u64,
            rows_written: rows as u64,
            metadata,
            bloom_filter: None,
            column_index: None,
            offset_index: None,
        };
        group.append_column(&source, close).unwrap();
    }
    group.close().unwrap();
    writer.close().unwrap();
}

/// For each of these the library would take gigabytes, or fall over.
#[test]
fn pages_that_claim_too_much_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("own.parquet");
    let most = i64::from(i32::MAX);
    let four = [1, 0, 0, 0];
    let page = |header: Vec<u8>, body: &[u8]| [&header, body].concat();
    // Lengths as differences: blocks of 128 in 4 parts, 2^40 of them, all 0.
    let lengths = [0x80, 0x01, 0x04, 0x80, 0x80, 0x80, 0x80, 0x80, 0x20, 0x00];
    let strings = "binary";
    for (user, compression, pages, dictionary, expected) in [
        (
            "int32",
            Compression::UNCOMPRESSED,
            page(header(DICTIONARY, 4, 4, most, PLAIN), &four),
            true,
            "a dictionary at byte 4 claims 2147483647 values in 4 bytes",
        ),
        (
            "int32",
            Compression::SNAPPY,
            page(header(DATA, most, 4, 1, PLAIN), &four),
            false,
            "a page at byte 4 unfolds to 2147483647 bytes; at most 134217728 are read",
        ),
        (
            "int32",
            Compression::UNCOMPRESSED,
            page(header(DATA, 4, 4, most, PLAIN), &four),
            false,
            "its pages claim 2147483647 values for 1 rows",
        ),
        (
            "int32",
            Compression::UNCOMPRESSED,
            page(header(DATA, 4, 400, 1, PLAIN), &four),
            false,
            "its last page ends elsewhere than the column",
        ),
        (
            "int32",
            Compression::UNCOMPRESSED,
            page(header(DATA, 4, -4, 1, PLAIN), &four),
            false,
            "the header of a page at byte 4 cannot be read",
        ),
        ("int32", Compression::UNCOMPRESSED, vec![0xff; 40], false, "the header of a page at byte 4 cannot be read"),
        (
            strings,
            Compression::UNCOMPRESSED,
            page(header(DATA, 10, 10, 1, DELTA_LENGTHS), &lengths),
            false,
            "a page of 1 values has other lengths in front of it",
        ),
        (
            strings,
            Compression::UNCOMPRESSED,
            page(header(DATA, 10, 10, 1, DELTA_STRINGS), &lengths),
            false,
            "its encoding is DELTA_BYTE_ARRAY, which talkflow does not read",
        ),
        (
            "fixed_len_byte_array(1000000000)",
            Compression::UNCOMPRESSED,
            page(header(DATA, 4, 4, 1, PLAIN), &four),
            false,
            "its values have 1000000000 bytes; 1 to 64 are read",
        ),
    ] {
        file(&path, user, compression, &pages, dictionary, 1);
        let message = refused(&Source::Own(own(path.clone(), OwnFormat::Parquet)));
        assert!(
            message.contains("own.parquet: not a sound Parquet file: column `user`: ") && message.contains(expected),
            "{message}"
        );
    }
    // Sound as far as its headers go, and yet nothing that can be decoded.
    let pages = [page(header(DICTIONARY, 4, 4, 1, PLAIN), &four), page(header(DATA, 1, 1, 1, BY_DICTIONARY), &[40])].concat();
    file(&path, "int32", Compression::UNCOMPRESSED, &pages, true, 1);
    let message = refused(&Source::Own(own(path.clone(), OwnFormat::Parquet)));
    assert!(message.contains("own.parquet"), "{message}");
}

/// Found by fuzzing: the library asserts what the levels of a list do not keep. To its user that is an error about the file.
#[test]
fn a_file_that_the_library_falls_over_is_an_error_about_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("items.parquet");
    std::fs::write(&path, include_bytes!("hostile/levels.parquet")).unwrap();
    std::fs::write(folder.path().join("ratings"), "user,item,rating\n1,1,3\n1,2,4\n").unwrap();
    let items = OwnItems {
        path,
        format: OwnFormat::Parquet,
        id: "id".to_owned(),
        title: Some("title".to_owned()),
        genres: Some("genres".to_owned()),
        between: "|".to_owned(),
    };
    let files = OwnFiles { items: Some(items), ..own(folder.path().join("ratings"), OwnFormat::Csv { separator: b',' }) };
    let message = refused(&Source::Own(files));
    assert!(message.contains("items.parquet: not a sound Parquet file: "), "{message}");
}

/// A long name that a page of a few bytes repeats for every row: not all of them are unfolded at once.
#[test]
fn a_long_name_named_often_is_read_a_few_rows_at_a_time() {
    use arrow::array::{ArrayRef, Float32Array, RecordBatch, StringArray, UInt32Array};
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("own.parquet");
    let (rows, name) = (300, "x".repeat(1 << 20));
    let columns: [(&str, ArrayRef); 3] = [
        ("user", Arc::new(StringArray::from(vec![name.as_str(); rows]))),
        ("item", Arc::new(UInt32Array::from_iter_values(0..rows as u32))),
        ("rating", Arc::new(Float32Array::from(vec![3.0; rows]))),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let properties = WriterProperties::builder().set_dictionary_page_size_limit(8 << 20).build();
    let file = File::create(&path).unwrap();
    let mut writer = parquet::arrow::ArrowWriter::try_new(file, batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    assert!(std::fs::metadata(&path).unwrap().len() < 5 << 20, "the name is written once or twice");
    let (_folder, ratings) = prepared(&Source::Own(own(path, OwnFormat::Parquet)));
    assert_eq!((ratings.len(), ratings.user_ids().unwrap()), (rows, vec![name]));
}

/// Whatever byte is damaged, and wherever a file ends: an error, or ratings.
#[test]
fn damaged_parquet_ends_in_an_error_or_is_read() {
    let (folder, _) = prepared(&Source::Synthetic(Synthetic { users: 20, items: 60, ratings: 100, ..Synthetic::default() }));
    let path = folder.path().join(RATINGS);
    let whole = std::fs::read(&path).unwrap();
    let out = tempfile::tempdir().unwrap();
    let files = RatingsFiles::in_folder(folder.path());
    let read = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        let _ = prepare(&Source::Own(own(path.clone(), OwnFormat::Parquet)), out.path(), &mut Silent);
        let _ = (Ratings::open(&files), Selection::open(&files, &["Drama".to_owned()]));
    };
    for at in (0..whole.len()).step_by(11) {
        let mut damaged = whole.clone();
        damaged[at] ^= 1 << (at % 8);
        read(&damaged);
    }
    for end in (0..whole.len()).step_by(97) {
        read(&whole[..end]);
    }
}

/// Comparing each of a hundred thousand genres with all before took minutes.
#[test]
fn an_item_of_very_many_genres_is_read_in_no_time() {
    let folder = tempfile::tempdir().unwrap();
    let genres: Vec<String> = (0..100_000).map(|number| format!("genre {number}")).collect();
    std::fs::write(folder.path().join("items"), format!("id,genres\n1,{}\n", genres.join("|"))).unwrap();
    std::fs::write(folder.path().join("ratings"), "user,item,rating\n1,1,3\n1,1,4\n").unwrap();
    let items = OwnItems {
        path: folder.path().join("items"),
        format: OwnFormat::Csv { separator: b',' },
        id: "id".to_owned(),
        title: None,
        genres: Some("genres".to_owned()),
        between: "|".to_owned(),
    };
    let files = OwnFiles { items: Some(items), ..own(folder.path().join("ratings"), OwnFormat::Csv { separator: b',' }) };
    let (_folder, ratings) = prepared(&Source::Own(files));
    assert_eq!(ratings.items()[0].genres.len(), 100_000);
}

/// A field that no version of the format has: a list of two billion truths, in six bytes.
#[test]
fn a_description_that_claims_more_than_it_has_is_refused_before_it_is_walked_through() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("own.parquet");
    let description = [0xf9, 0xf1, 0xff, 0xff, 0xff, 0xff, 0x07, 0];
    let bytes = [b"PAR1", &description[..], &(description.len() as u32).to_le_bytes(), b"PAR1"].concat();
    std::fs::write(&path, bytes).unwrap();
    let message = refused(&Source::Own(own(path, OwnFormat::Parquet)));
    assert!(
        message.contains("own.parquet: not a sound Parquet file: its description ends too early, or makes no sense"),
        "{message}"
    );
}
