//! Parses blocks of separated text into [`Rows`]: `::`, tabs, commas; with or without quotes.
//!
//! It knows fields and columns; where a block comes from and what its file is called, others know.

use crate::cards::Scale;
use crate::error::shown;

use super::rows::{Rows, rating, timestamp};

/// What a column means to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    User,
    Item,
    Rating,
    Timestamp,
}

/// What stands between two fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Separator {
    /// One byte; with `quotes`, a field may be enclosed in double quotes as RFC 4180 has it.
    Byte { byte: u8, quotes: bool },
    /// `::`
    DoubleColon,
}

/// One column of a text table.
#[derive(Clone, Debug)]
pub(crate) struct Column {
    pub name: String,
    pub role: Option<Role>,
}

/// How the rows of a text are laid out.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    pub separator: Separator,
    pub columns: Vec<Column>,
    pub scale: Option<Scale>,
}

/// What is wrong with a row, its place counted within the block.
#[derive(Debug)]
pub(crate) struct RowError {
    /// Lines (or rows) of the block before this one.
    pub before: u64,
    pub column: Option<String>,
    pub found: String,
    pub expected: String,
}

/// What ended a field.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Separator,
    Line,
}

/// How fields are told apart; a type for each, so that the inner loop is compiled for each.
trait Cut {
    /// How many bytes of separator stand at `at`.
    fn separator(&self, block: &[u8], at: usize) -> usize;
    /// Whether a field may be quoted.
    fn quotes(&self) -> bool;
}

struct Byte {
    byte: u8,
    quotes: bool,
}

impl Cut for Byte {
    #[inline(always)]
    fn separator(&self, block: &[u8], at: usize) -> usize {
        usize::from(block[at] == self.byte)
    }

    #[inline(always)]
    fn quotes(&self) -> bool {
        self.quotes
    }
}

struct DoubleColon;

impl Cut for DoubleColon {
    #[inline(always)]
    fn separator(&self, block: &[u8], at: usize) -> usize {
        if block[at] == b':' && block.get(at + 1) == Some(&b':') { 2 } else { 0 }
    }

    #[inline(always)]
    fn quotes(&self) -> bool {
        false
    }
}

impl Table {
    /// The rows of a block of whole lines.
    pub(crate) fn parse(&self, block: &[u8]) -> Result<Rows, RowError> {
        match self.separator {
            Separator::Byte { byte, quotes } => self.parse_with(&Byte { byte, quotes }, block),
            Separator::DoubleColon => self.parse_with(&DoubleColon, block),
        }
    }

    /// The fields of the first line of a block, and where the next line begins.
    pub(crate) fn header(separator: Separator, block: &[u8]) -> (Vec<String>, usize) {
        match separator {
            Separator::Byte { byte, quotes } => header_with(&Byte { byte, quotes }, block),
            Separator::DoubleColon => header_with(&DoubleColon, block),
        }
    }

    fn parse_with<C: Cut>(&self, cut: &C, block: &[u8]) -> Result<Rows, RowError> {
        // About 20 bytes a row; a wrong guess costs a reallocation, nothing else.
        let guess = block.len() / 20;
        let mut rows = Rows {
            users: super::rows::Ids::with_capacity(guess),
            items: super::rows::Ids::with_capacity(guess),
            ratings: Vec::with_capacity(guess),
            timestamps: Vec::with_capacity(guess),
            lines: 0,
        };
        let mut at = 0;
        let last = self.columns.len().saturating_sub(1);
        while at < block.len() {
            // A blank line is no row.
            let line_feed = if block[at] == b'\r' { at + 1 } else { at };
            if block.get(line_feed) == Some(&b'\n') {
                at = line_feed + 1;
                rows.lines += 1;
                continue;
            }
            let mut lines = 1;
            for (index, column) in self.columns.iter().enumerate() {
                let unescaped;
                let (mut field, end, next) = plain_field(cut, block, at);
                let mut end = end;
                at = if cut.quotes() && field.first() == Some(&b'"') {
                    let (text, quoted_end, next, line_feeds) = quoted_field(cut, block, at).ok_or_else(|| RowError {
                        before: rows.lines,
                        column: Some(column.name.clone()),
                        found: shown(field),
                        expected: "a quoted field that ends with a quote, a separator after it".to_owned(),
                    })?;
                    unescaped = text;
                    field = &unescaped;
                    end = quoted_end;
                    lines += line_feeds;
                    next
                } else {
                    next
                };
                if (end == End::Line) != (index == last) {
                    let found = if index == last { "more".to_owned() } else { (index + 1).to_string() };
                    return Err(RowError {
                        before: rows.lines,
                        column: None,
                        found: format!("{found} fields"),
                        expected: format!("{} ({})", self.columns.len(), self.names()),
                    });
                }
                let understood = match column.role {
                    None => Some(()),
                    Some(Role::User) => rows.users.push(field),
                    Some(Role::Item) => rows.items.push(field),
                    Some(Role::Rating) => rating(field)
                        .filter(|&value| self.scale.is_none_or(|scale| scale.contains(value)))
                        .map(|value| rows.ratings.push(value)),
                    Some(Role::Timestamp) => timestamp(field).map(|value| rows.timestamps.push(value)),
                };
                if understood.is_none() {
                    return Err(RowError {
                        before: rows.lines,
                        column: Some(column.name.clone()),
                        found: shown(field),
                        expected: expected(column.role, self.scale),
                    });
                }
            }
            rows.lines += lines;
        }
        Ok(rows)
    }

    fn names(&self) -> String {
        self.columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>().join(", ")
    }
}

/// What a field of this role should have been.
pub(crate) fn expected(role: Option<Role>, scale: Option<Scale>) -> String {
    match (role, scale) {
        (Some(Role::Rating), Some(scale)) => format!("a rating on the scale {scale}"),
        (Some(Role::Rating), None) => "a finite number".to_owned(),
        (Some(Role::Timestamp), _) => {
            "a time in seconds since 1970 (without times, leave the column `timestamp` unnamed)".to_owned()
        }
        (Some(Role::User | Role::Item) | None, _) => "an id in UTF-8".to_owned(),
    }
}

/// The field that begins at `start`, what ended it, and where the next begins.
#[inline(always)]
fn plain_field<'b, C: Cut>(cut: &C, block: &'b [u8], start: usize) -> (&'b [u8], End, usize) {
    let mut at = start;
    while at < block.len() {
        let length = cut.separator(block, at);
        if length > 0 {
            return (&block[start..at], End::Separator, at + length);
        }
        if block[at] == b'\n' {
            break;
        }
        at += 1;
    }
    let field = &block[start..at];
    (field.strip_suffix(b"\r").unwrap_or(field), End::Line, (at + 1).min(block.len()))
}

/// As [`plain_field`] for a field that opens with a quote, and how many line ends it holds. `None`: it does not close.
#[cold]
fn quoted_field<C: Cut>(cut: &C, block: &[u8], start: usize) -> Option<(Vec<u8>, End, usize, u64)> {
    let (mut text, mut line_feeds, mut at) = (Vec::new(), 0, start + 1);
    loop {
        match (*block.get(at)?, block.get(at + 1)) {
            (b'"', Some(b'"')) => {
                text.push(b'"');
                at += 2;
            }
            (b'"', _) => break,
            (byte, _) => {
                line_feeds += u64::from(byte == b'\n');
                text.push(byte);
                at += 1;
            }
        }
    }
    let (after, end, next) = plain_field(cut, block, at + 1);
    after.is_empty().then_some((text, end, next, line_feeds))
}

fn header_with<C: Cut>(cut: &C, block: &[u8]) -> (Vec<String>, usize) {
    let (mut names, mut at) = (Vec::new(), 0);
    loop {
        let (plain, mut end, mut next) = plain_field(cut, block, at);
        let mut name = String::from_utf8_lossy(plain).into_owned();
        if cut.quotes()
            && plain.first() == Some(&b'"')
            && let Some((text, quoted_end, after, _)) = quoted_field(cut, block, at)
        {
            name = String::from_utf8_lossy(&text).into_owned();
            (end, next) = (quoted_end, after);
        }
        names.push(name);
        at = next;
        if end == End::Line {
            return (names, at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMA: Separator = Separator::Byte { byte: b',', quotes: true };

    fn table(separator: Separator, roles: &[(&str, Option<Role>)]) -> Table {
        let columns = roles.iter().map(|&(name, role)| Column { name: name.to_owned(), role }).collect();
        Table { separator, columns, scale: Some(Scale { min: 0.5, max: 5.0, step: Some(0.5) }) }
    }

    fn movielens(separator: Separator) -> Table {
        let roles = [
            ("userId", Some(Role::User)),
            ("movieId", Some(Role::Item)),
            ("rating", Some(Role::Rating)),
            ("timestamp", Some(Role::Timestamp)),
        ];
        table(separator, &roles)
    }

    fn error(table: &Table, text: &str) -> (u64, String) {
        match table.parse(text.as_bytes()) {
            Ok(rows) => panic!("{text:?} was taken: {rows:?}"),
            Err(e) => (e.before, format!("{}: {} / {}", e.column.unwrap_or_default(), e.found, e.expected)),
        }
    }

    #[test]
    fn all_separators_give_the_same_rows() -> Result<(), String> {
        for (separator, text) in [
            (COMMA, "1,31,2.5,1260759144\r\n\n2,\"10\",4,835355493"),
            (Separator::Byte { byte: b'\t', quotes: false }, "1\t31\t2.5\t1260759144\n2\t10\t4\t835355493\n\r\n"),
            (Separator::DoubleColon, "1::31::2.5::1260759144\n\n2::10::4::835355493\n"),
        ] {
            let rows = movielens(separator).parse(text.as_bytes()).map_err(|e| format!("{e:?}"))?;
            assert_eq!(rows.ratings, [2.5, 4.0], "{text:?}");
            assert_eq!(rows.timestamps, [1_260_759_144, 835_355_493]);
            assert!(matches!(&rows.users, super::super::rows::Ids::Numbers(n) if *n == [1, 2]));
            assert!(matches!(&rows.items, super::super::rows::Ids::Numbers(n) if *n == [31, 10]));
            assert_eq!(rows.lines, 3);
        }
        Ok(())
    }

    #[test]
    fn quoted_fields_are_unescaped_and_their_lines_counted() -> Result<(), String> {
        let table = table(
            COMMA,
            &[("note", None), ("user", Some(Role::User)), ("item", Some(Role::Item)), ("stars", Some(Role::Rating))],
        );
        let text = "\"a, b\nc\",\"u \"\"1\"\"\",x,3\nplain,u2,\"x\",4\nthird,u3,y,oops\n";
        let (line, message) = error(&table, text);
        assert_eq!(line, 3, "two lines of the first row, one of the second");
        assert_eq!(message, "stars: \"oops\" / a rating on the scale 0.5 to 5 in steps of 0.5");
        let rows = table.parse(text.split("third").next().unwrap_or_default().as_bytes()).map_err(|e| format!("{e:?}"))?;
        assert!(matches!(&rows.users, super::super::rows::Ids::Texts { bytes, .. } if bytes == "u \"1\"u2"));
        Ok(())
    }

    #[test]
    fn each_mistake_names_its_line_and_column() {
        let table = movielens(COMMA);
        assert_eq!(error(&table, "1,2,3,4\n1,2,3\n"), (1, ": 3 fields / 4 (userId, movieId, rating, timestamp)".to_owned()));
        assert_eq!(error(&table, "1,2,3,4,5\n").1, ": more fields / 4 (userId, movieId, rating, timestamp)");
        assert_eq!(error(&table, "1,2,3.3,4\n").1, "rating: \"3.3\" / a rating on the scale 0.5 to 5 in steps of 0.5");
        assert_eq!(error(&table, "1,2,nan,4\n").1, "rating: \"nan\" / a rating on the scale 0.5 to 5 in steps of 0.5");
        assert!(error(&table, "1,2,3,\n").1.starts_with("timestamp: nothing / a time in seconds"));
        assert_eq!(error(&table, ",2,3,4\n").1, "userId: nothing / an id in UTF-8");
        assert!(error(&table, "1,\"2,3,4\n").1.starts_with("movieId: \"\\\"2\" / a quoted field"));
    }

    #[test]
    fn a_header_may_be_quoted() {
        assert_eq!(Table::header(COMMA, b"a,\"b,c\",d\r\n1,2,3\n"), (vec!["a".into(), "b,c".into(), "d".into()], 11));
    }
}
