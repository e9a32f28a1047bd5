//! Reads what is known about items: titles and genres, in each format's way of writing them.
//!
//! Lists of items are small beside the ratings and are held whole.

use std::collections::{HashMap, HashSet};
use std::{io, iter};

use csv::ByteRecord;

use crate::cards::EARLY_GENRES;
use crate::error::{Error, Malformed, Place, shown};
use crate::input::Input;
use crate::suggest;

/// No list of films we know of has more than a few megabytes, none of a shop's wares more than this.
const LARGEST: u64 = 256 << 20;
/// What was read takes at most about so many bytes of memory: short names take many times what they take in a file.
const ROOM: usize = 512 << 20;
/// What an item takes beside its names, in a table that grows by doubling,
const ITEM: usize = 240;
/// and a name beside its letters, in a list that does.
const NAME: usize = 80;
/// The most genres of one item, which are compared with each other.
const MOST_GENRES: usize = 1_000_000;
/// The longest line, or row of a table.
const LONGEST_LINE: usize = 16 << 20;
/// What MovieLens writes in place of a genre where it knows none.
const NO_GENRE: [&str; 2] = ["(no genres listed)", "unknown"];
/// How many flags an item has in `u.item`: one for "unknown", which is no genre, and one for each genre.
const FLAGS: usize = 1 + EARLY_GENRES.len();

/// What RecBole's data sets call a title, and genres.
const ATOMIC_TITLES: [&str; 3] = ["movie_title", "title", "name"];
const ATOMIC_GENRES: [&str; 4] = ["class", "genre", "genres", "categories"];

/// What is known about an item.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Details {
    pub title: Option<String>,
    pub genres: Vec<String>,
}

/// Details by the item's id as written.
pub(crate) type Items = HashMap<String, Details>;

/// How a list of items is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ItemsFormat {
    /// `u.item`: id, title, two dates and an address between bars, then 19 flags; Latin-1.
    Flags,
    /// `movies.dat`: id, title and genres between `::`; Latin-1 or UTF-8.
    DoubleColon,
    /// A table with a header: the names of its columns, and what stands between genres.
    Table { separator: u8, id: String, title: Option<String>, genres: Option<String>, between: String },
    /// RecBole's `.item`: a header with types, tabs between columns, spaces between genres. Data sets differ in what they call titles
    /// and genres, and many have none.
    Atomic { id: String },
}

/// Reads a list of items.
pub(crate) fn read(input: &Input, format: &ItemsFormat) -> Result<Items, Error> {
    let bytes = input.read(LARGEST, "a list of items")?;
    parse(input.label(), &bytes, format)
}

fn parse(file: String, bytes: &[u8], format: &ItemsFormat) -> Result<Items, Error> {
    parse_into(List::new(file), bytes, format)
}

fn parse_into(list: List, bytes: &[u8], format: &ItemsFormat) -> Result<Items, Error> {
    let reader = Reader { list };
    match format {
        ItemsFormat::Flags => reader.flags(bytes),
        ItemsFormat::DoubleColon => reader.double_colon(bytes),
        ItemsFormat::Table { separator, id, title, genres, between } => {
            let columns = |reader: &Reader, names: &[String]| {
                Ok(Columns {
                    id: reader.column(names, id)?,
                    title: title.as_ref().map(|title| reader.column(names, title)).transpose()?,
                    genres: genres.as_ref().map(|genres| reader.column(names, genres)).transpose()?,
                })
            };
            reader.table(bytes, (*separator, true), between, columns)
        }
        ItemsFormat::Atomic { id } => {
            let columns = |reader: &Reader, names: &[String]| {
                let bare: Vec<String> = names.iter().map(|name| name.split(':').next().unwrap_or_default().to_owned()).collect();
                let first = |known: &[&str]| known.iter().find_map(|name| bare.iter().position(|bare| bare == name));
                Ok(Columns { id: reader.column(&bare, id)?, title: first(&ATOMIC_TITLES), genres: first(&ATOMIC_GENRES) })
            };
            reader.table(bytes, (b'\t', false), " ", columns)
        }
    }
}

/// Where the columns of a table of items are.
struct Columns {
    id: usize,
    title: Option<usize>,
    genres: Option<usize>,
}

/// UTF-8 where it is valid, else Latin-1, in which every byte is the code point of the same number.
fn decoded(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().map(|&byte| char::from(byte)).collect(),
    }
}

/// The parts of a list of genres written as one text; with nothing between them it is a single genre.
pub(crate) fn cut<'a>(text: &'a str, between: &'a str) -> impl Iterator<Item = &'a str> {
    let between = if between.is_empty() { "\0" } else { between };
    text.split(between)
}

/// Items as they are read, no more than memory should hold.
pub(crate) struct List {
    file: String,
    items: Items,
    /// Bytes that the rest may take.
    room: usize,
}

impl List {
    /// An empty one; `file` is what messages call the source.
    pub(crate) fn new(file: String) -> Self {
        Self { file, items: Items::new(), room: ROOM }
    }

    /// Adds an item, which must have an id that no other has.
    pub(crate) fn add(&mut self, at: Place, id: String, details: Details) -> Result<(), Error> {
        let wrong = |found: String, expected: &str| Malformed {
            file: self.file.clone(),
            at: Some(at),
            column: Some("item id".to_owned()),
            found,
            expected: expected.to_owned(),
        };
        if id.is_empty() {
            return Err(wrong("nothing".to_owned(), "an id").into());
        }
        if self.items.contains_key(&id) {
            return Err(wrong(format!("`{id}` a second time"), "each item once").into());
        }
        if details.genres.len() > MOST_GENRES {
            let (column, found) = (Some("genres".to_owned()), format!("more than {MOST_GENRES} genres"));
            let expected = "fewer: what stands between two of them may be another sign".to_owned();
            return Err(Malformed { file: self.file.clone(), at: Some(at), column, found, expected }.into());
        }
        let names = details.title.iter().chain(&details.genres).chain([&id]);
        let takes = ITEM + names.map(|name| NAME + name.len()).sum::<usize>();
        self.room = self.room.checked_sub(takes).ok_or_else(|| Malformed {
            file: self.file.clone(),
            at: Some(at),
            column: None,
            found: format!("more than {} items with their titles and genres", self.items.len()),
            expected: format!("no more than fit into {} MiB of memory: leave out items without ratings", ROOM >> 20),
        })?;
        self.items.insert(id, details);
        Ok(())
    }

    /// All of them.
    pub(crate) fn into_items(self) -> Items {
        self.items
    }
}

/// The genres that are genres, each once, in their order; of too many, one more than an item may have.
pub(crate) fn genres<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut known = HashSet::new();
    let named = names.map(str::trim).filter(|name| !name.is_empty() && !NO_GENRE.contains(name));
    named.filter(|name| known.insert(*name)).take(MOST_GENRES + 1).map(str::to_owned).collect()
}

struct Reader {
    list: List,
}

impl Reader {
    fn malformed(&self, line: u64, column: Option<&str>, found: String, expected: impl Into<String>) -> Error {
        let (at, column) = ((line > 0).then_some(Place::Line(line)), column.map(str::to_owned));
        Malformed { file: self.list.file.clone(), at, column, found, expected: expected.into() }.into()
    }

    fn add(&mut self, line: u64, id: String, details: Details) -> Result<(), Error> {
        self.list.add(Place::Line(line), id, details)
    }

    /// The lines that are not blank, numbered from 1.
    fn lines(bytes: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
        let lines = bytes.split(|&byte| byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
        (1..).zip(lines).filter(|(_, line)| !line.is_empty())
    }

    /// That a line is not longer than any list has: each field of it takes memory.
    fn check_length(&self, number: u64, line: &[u8]) -> Result<(), Error> {
        match line.len() > LONGEST_LINE {
            true => {
                Err(self.malformed(number, None, format!("a line of {} bytes", line.len()), format!("at most {LONGEST_LINE}")))
            }
            false => Ok(()),
        }
    }

    fn flags(mut self, bytes: &[u8]) -> Result<Items, Error> {
        for (number, line) in Self::lines(bytes) {
            self.check_length(number, line)?;
            let fields: Vec<&[u8]> = line.split(|&byte| byte == b'|').collect();
            if fields.len() != 5 + FLAGS {
                let expected = format!("{} fields between bars: id, title, two dates, an address, {FLAGS} flags", 5 + FLAGS);
                return Err(self.malformed(number, None, format!("{} fields", fields.len()), expected));
            }
            let mut set = Vec::new();
            for (flag, genre) in fields[5..].iter().zip(iter::once("unknown").chain(EARLY_GENRES)) {
                match *flag {
                    b"1" => set.push(genre),
                    b"0" => {}
                    other => return Err(self.malformed(number, Some(genre), shown(other), "0 or 1")),
                }
            }
            let details = Details { title: Some(decoded(fields[1])), genres: genres(set.into_iter()) };
            self.add(number, decoded(fields[0]), details)?;
        }
        Ok(self.list.into_items())
    }

    fn double_colon(mut self, bytes: &[u8]) -> Result<Items, Error> {
        for (number, line) in Self::lines(bytes) {
            self.check_length(number, line)?;
            let text = decoded(line);
            // A title may hold `::` itself; an id and genres do not.
            let fields =
                text.split_once("::").and_then(|(id, rest)| rest.rsplit_once("::").map(|(title, genres)| (id, title, genres)));
            let Some((id, title, names)) = fields else {
                return Err(self.malformed(number, None, shown(line), "id::title::genres"));
            };
            let details = Details { title: Some(title.to_owned()), genres: genres(names.split('|')) };
            self.add(number, id.to_owned(), details)?;
        }
        Ok(self.list.into_items())
    }

    fn column(&self, names: &[String], name: &str) -> Result<usize, Error> {
        names.iter().position(|known| known == name).ok_or_else(|| {
            let known = || names.iter().map(String::as_str);
            let found = format!("the columns {}", suggest::listed(known()));
            self.malformed(1, None, found, format!("a column `{name}`{}", suggest::did_you_mean(name, known())))
        })
    }

    fn table(
        mut self,
        bytes: &[u8],
        (separator, quotes): (u8, bool),
        between: &str,
        columns: impl FnOnce(&Self, &[String]) -> Result<Columns, Error>,
    ) -> Result<Items, Error> {
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let mut reader = csv::ReaderBuilder::new()
            .delimiter(separator)
            .quoting(quotes)
            .has_headers(false)
            .from_reader(Ration { bytes, left: 0 });
        let mut record = ByteRecord::new();
        self.next(&mut reader, &mut record)?;
        let names: Vec<String> = record.iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect();
        let columns = columns(&self, &names)?;
        while self.next(&mut reader, &mut record)? {
            let line = record.position().map_or(0, csv::Position::line);
            let text = |at: usize| {
                let field = record.get(at).unwrap_or_default();
                std::str::from_utf8(field)
                    .map_err(|_| self.malformed(line, names.get(at).map(String::as_str), shown(field), "UTF-8"))
            };
            let details = Details {
                title: columns.title.map(text).transpose()?.filter(|title| !title.is_empty()).map(str::to_owned),
                genres: match columns.genres.map(text).transpose()? {
                    Some(field) => genres(cut(field, between)),
                    None => Vec::new(),
                },
            };
            let id = text(columns.id)?.to_owned();
            self.add(line, id, details)?;
        }
        Ok(self.list.into_items())
    }

    /// The next record; what the library objects to (a row of another width) becomes an error with its place.
    fn next(&self, reader: &mut csv::Reader<Ration<'_>>, record: &mut ByteRecord) -> Result<bool, Error> {
        reader.get_mut().left = LONGEST_LINE;
        reader.read_byte_record(record).map_err(|error| match error.kind() {
            csv::ErrorKind::UnequalLengths { pos, expected_len, len } => {
                let line = pos.as_ref().map_or(0, csv::Position::line);
                self.malformed(line, None, format!("{len} fields"), format!("{expected_len}, as in the header"))
            }
            _ => self.malformed(0, None, error.to_string(), "a table of text"),
        })
    }
}

/// Gives a reader of rows no more than the longest row at a time: each field takes memory, and none is refused before its row ends.
struct Ration<'a> {
    bytes: &'a [u8],
    left: usize,
}

impl io::Read for Ration<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 && !self.bytes.is_empty() {
            return Err(io::Error::other(format!("a row of more than {LONGEST_LINE} bytes; a quote may be open")));
        }
        let (now, later) = self.bytes.split_at(into.len().min(self.left).min(self.bytes.len()));
        into[..now.len()].copy_from_slice(now);
        (self.bytes, self.left) = (later, self.left - now.len());
        Ok(now.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(bytes: &[u8], format: &ItemsFormat) -> Result<Items, String> {
        super::parse("items".to_owned(), bytes, format).map_err(|e| e.to_string())
    }

    fn movies_csv() -> ItemsFormat {
        ItemsFormat::Table {
            separator: b',',
            id: "movieId".to_owned(),
            title: Some("title".to_owned()),
            genres: Some("genres".to_owned()),
            between: "|".to_owned(),
        }
    }

    #[test]
    fn flags_in_latin_1() -> Result<(), String> {
        let none = "1|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0";
        let text =
            format!("1|Caf\u{1}|d||u|0|0|0|0|1|1|0|0|0|0|0|0|0|0|0|0|0|0|1\n2|Who|||x|{none}\r\n").replace('\u{1}', "\u{e9}");
        let latin: Vec<u8> = text.chars().map(|c| c as u8).collect();
        let items = parse(&latin, &ItemsFormat::Flags)?;
        assert_eq!(items["1"].title.as_deref(), Some("Caf\u{e9}"));
        assert_eq!(items["1"].genres, ["Children's", "Comedy", "Western"]);
        assert!(items["2"].genres.is_empty(), "the flag `unknown` is no genre");
        let error = parse(format!("1|T|||x|{none}|0\n").as_bytes(), &ItemsFormat::Flags).err().unwrap_or_default();
        assert!(error.starts_with("items:1: found 25 fields, expected 24"), "{error}");
        let error = parse(format!("1|T|||x|{}\n", none.replace("1|0|0", "1|0|2")).as_bytes(), &ItemsFormat::Flags)
            .err()
            .unwrap_or_default();
        assert!(error.contains("column `Adventure`: found \"2\", expected 0 or 1"), "{error}");
        Ok(())
    }

    #[test]
    fn double_colons_also_inside_a_title() -> Result<(), String> {
        let items = parse(b"10::Mission :: Possible (1990)::Action|Sci-Fi\n11::L\xe9on::Drama\n", &ItemsFormat::DoubleColon)?;
        assert_eq!(
            items["10"],
            Details { title: Some("Mission :: Possible (1990)".into()), genres: vec!["Action".into(), "Sci-Fi".into()] }
        );
        assert_eq!(items["11"].title.as_deref(), Some("L\u{e9}on"));
        assert!(parse(b"1::only\n", &ItemsFormat::DoubleColon).is_err());
        Ok(())
    }

    #[test]
    fn csv_with_quotes_and_without_genres() -> Result<(), String> {
        let text = "movieId,title,genres\n11,\"American President, The (1995)\",Comedy|Drama|Comedy\n12,X,(no genres listed)\n";
        let items = parse(text.as_bytes(), &movies_csv())?;
        assert_eq!(items["11"].title.as_deref(), Some("American President, The (1995)"));
        assert_eq!(items["11"].genres, ["Comedy", "Drama"], "each genre once");
        assert!(items["12"].genres.is_empty());
        Ok(())
    }

    #[test]
    fn atomic_items_have_typed_headers_and_spaces_between_genres() -> Result<(), String> {
        let format = ItemsFormat::Atomic { id: "item_id".to_owned() };
        let text = "item_id:token\tmovie_title:token_seq\tclass:token_seq\n1\tThe \"Big\" One\tComedy Film-Noir\n2\t\t\n";
        let items = parse(text.as_bytes(), &format)?;
        assert_eq!(
            items["1"],
            Details { title: Some("The \"Big\" One".into()), genres: vec!["Comedy".into(), "Film-Noir".into()] }
        );
        assert_eq!(items["2"], Details::default());
        Ok(())
    }

    #[test]
    fn short_names_do_not_take_all_memory() {
        let refused = |bytes: &[u8], format: &ItemsFormat| parse(bytes, format).err().unwrap_or_default();
        // Rows and lines of very many fields.
        let wide = |between: &str| between.repeat(LONGEST_LINE + (1 << 20));
        assert_eq!(
            refused(wide("|").as_bytes(), &ItemsFormat::Flags),
            "items:1: found a line of 17825792 bytes, expected at most 16777216"
        );
        assert!(refused(wide("::").as_bytes(), &ItemsFormat::DoubleColon).contains("a line of"));
        let open = format!("movieId,title,genres\n1,\"{}", wide("\n"));
        for text in [wide(","), format!("movieId,title,genres\n1,a,{}\n", wide("a")), open] {
            let message = refused(text.as_bytes(), &movies_csv());
            assert!(message.contains("a row of more than 16777216 bytes"), "{message}");
        }
        let long = format!("movieId,title,genres\n1,a,{}\n2,b,c\n", "a".repeat(LONGEST_LINE - 100_000));
        assert_eq!(parse(long.as_bytes(), &movies_csv()).map(|items| items.len()), Ok(2));
        // One item of very many genres; very many items of few.
        let genres: Vec<String> = (0..=MOST_GENRES).map(|n| format!("{n:x}")).collect();
        let message = refused(format!("movieId,title,genres\n1,a,{}\n", genres.join("|")).as_bytes(), &movies_csv());
        assert!(message.starts_with("items:2, column `genres`: found more than 1000000 genres"), "{message}");
        let text = "movieId,title,genres\n1,a,b|c\n2,a,b|c\n3,a,b|c\n";
        let list = List { room: 2 * (ITEM + 4 * (NAME + 1)), ..List::new("items".to_owned()) };
        let message =
            parse_into(list, text.as_bytes(), &movies_csv()).map_err(|error| error.to_string()).err().unwrap_or_default();
        assert!(
            message.starts_with("items:4: found more than 2 items with their titles and genres, expected no more"),
            "{message}"
        );
    }

    #[test]
    fn mistakes_name_their_place() {
        let error = |text: &str| parse(text.as_bytes(), &movies_csv()).err().unwrap_or_default();
        assert_eq!(
            error("movieId,titel,genres\n"),
            "items:1: found the columns `movieId`, `titel`, `genres`, expected a column `title` (did you mean `titel`?)"
        );
        assert_eq!(error("movieId,title,genres\n1,a,b\n2,c\n"), "items:3: found 2 fields, expected 3, as in the header");
        assert_eq!(
            error("movieId,title,genres\n1,a,b\n1,c,d\n"),
            "items:3, column `item id`: found `1` a second time, expected each item once"
        );
        assert_eq!(error("movieId,title,genres\n,a,b\n"), "items:2, column `item id`: found nothing, expected an id");
    }
}
