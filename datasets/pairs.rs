//! Reads (user, item) pairs for which somebody wants predictions, and finds them among the users and items of the ratings artifact.
//!
//! It knows ids and nothing of models: an id that no rating had is `None`, and what to do about it is the model's business.

use std::collections::HashMap;
use std::path::Path;

use csv::ByteRecord;

use crate::error::{Error, Malformed, Place, shown};
use crate::ratings::Ratings;
use crate::suggest;

/// Pairs in the order of their file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pairs {
    /// The ids as written.
    pub ids: Vec<(String, String)>,
    /// The user's dense number, where the artifact has that user.
    pub users: Vec<Option<u32>>,
    /// The item's dense number, where the artifact has that item.
    pub items: Vec<Option<u32>>,
}

/// Reads the columns `user` and `item` of a csv with a header; it may have others.
///
/// # Errors
/// [`Error::Io`]; [`Error::Malformed`] with line and column for a missing column, an empty id, or a row of another width.
pub fn read(path: &Path, user: &str, item: &str, ratings: &Ratings) -> Result<Pairs, Error> {
    let file = path.display().to_string();
    let malformed = |line: u64, column: Option<&str>, found: String, expected: String| {
        let (at, column) = ((line > 0).then_some(Place::Line(line)), column.map(str::to_owned));
        Error::from(Malformed { file: file.clone(), at, column, found, expected })
    };
    let text = std::fs::File::open(path).map_err(Error::io(path, "open the file"))?;
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(std::io::BufReader::new(text));
    let mut record = ByteRecord::new();
    let mut next = |record: &mut ByteRecord| {
        reader.read_byte_record(record).map_err(|e| match e.kind() {
            csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
                let line = e.position().map_or(0, csv::Position::line);
                malformed(line, None, format!("{len} fields"), format!("{expected_len}, as in the header"))
            }
            _ => malformed(0, None, e.to_string(), "a table of text".to_owned()),
        })
    };
    next(&mut record)?;
    let names: Vec<String> =
        record.iter().map(|name| String::from_utf8_lossy(name).trim_start_matches('\u{feff}').to_owned()).collect();
    let column = |name: &str| {
        names.iter().position(|known| known == name).ok_or_else(|| {
            let known = || names.iter().map(String::as_str);
            let expected = format!("a column `{name}`{}", suggest::did_you_mean(name, known()));
            malformed(1, None, format!("the columns {}", suggest::listed(known())), expected)
        })
    };
    let (user_at, item_at) = (column(user)?, column(item)?);
    let user_ids = ratings.user_ids()?;
    let users: HashMap<&str, u32> = user_ids.iter().map(String::as_str).zip(0..).collect();
    let items: HashMap<&str, u32> = ratings.items().iter().map(|item| item.id.as_str()).zip(0..).collect();
    let mut pairs = Pairs::default();
    while next(&mut record)? {
        let line = record.position().map_or(0, csv::Position::line);
        let id = |at: usize, name: &str| {
            let field = record.get(at).unwrap_or_default();
            std::str::from_utf8(field)
                .ok()
                .filter(|id| !id.is_empty())
                .ok_or_else(|| malformed(line, Some(name), shown(field), "an id in UTF-8".to_owned()))
        };
        let (user, item) = (id(user_at, user)?, id(item_at, item)?);
        pairs.users.push(users.get(user).copied());
        pairs.items.push(items.get(item).copied());
        pairs.ids.push((user.to_owned(), item.to_owned()));
    }
    Ok(pairs)
}
