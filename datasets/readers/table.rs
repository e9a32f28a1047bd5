//! Parses blocks of separated text into [`Rows`]: `::`, tabs, commas; with or without quotes.
//!
//! It knows fields and columns; where a block comes from and what its file is called, others know.

use crate::cards::Scale;
use crate::error::shown;

use super::plain::{Quick, WINDOW};
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
pub(super) trait Cut {
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
        let mut rows = Rows::default();
        self.parse_into(block, &mut rows).map(|()| rows)
    }

    /// As [`Table::parse`], into `rows`, which are empty and may have room from earlier use.
    pub(crate) fn parse_into(&self, block: &[u8], rows: &mut Rows) -> Result<(), RowError> {
        // Not worth its while for a single line.
        let quick = if block.len() > WINDOW { Quick::new(&self.columns, self.scale) } else { None };
        match self.separator {
            Separator::Byte { byte, quotes } => self.parse_with(&Byte { byte, quotes }, quick.as_ref(), block, rows),
            Separator::DoubleColon => self.parse_with(&DoubleColon, quick.as_ref(), block, rows),
        }
    }

    /// The fields of the first line of a block, and where the next line begins.
    pub(crate) fn header(separator: Separator, block: &[u8]) -> (Vec<String>, usize) {
        match separator {
            Separator::Byte { byte, quotes } => header_with(&Byte { byte, quotes }, block),
            Separator::DoubleColon => header_with(&DoubleColon, block),
        }
    }

    fn parse_with<C: Cut>(&self, cut: &C, quick: Option<&Quick>, block: &[u8], rows: &mut Rows) -> Result<(), RowError> {
        // About 20 bytes a row; a wrong guess costs a reallocation, nothing else.
        rows.reserve(block.len() / 20);
        let mut at = 0;
        let last = self.columns.len().saturating_sub(1);
        loop {
            if let Some(quick) = quick {
                at = quick.lines(cut, block, at, rows);
            }
            if at >= block.len() {
                return Ok(());
            }
            // A blank line is no row.
            let line_feed = if block[at] == b'\r' { at + 1 } else { at };
            if block.get(line_feed) == Some(&b'\n') {
                at = line_feed + 1;
                rows.lines += 1;
                continue;
            }
            let mut lines = 1;
            for (index, column) in self.columns.iter().enumerate() {
                if let Some(next) = self.plain_number(cut, block, at, column.role, index == last, rows) {
                    at = next;
                    continue;
                }
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
    }

    /// The quick way for what most fields are: plain digits, with a point among those of a rating. Takes the field and says where the
    /// next begins; or takes nothing, and the field is looked at in the careful way.
    #[inline(always)]
    fn plain_number<C: Cut>(
        &self,
        cut: &C,
        block: &[u8],
        start: usize,
        role: Option<Role>,
        last: bool,
        rows: &mut Rows,
    ) -> Option<usize> {
        let (value, mut end) = digits(block, start);
        let count = end - start;
        if count == 0 || count > 18 {
            return None;
        }
        let next = match role? {
            role @ (Role::User | Role::Item) => {
                let next = field_end(cut, block, end, last)?;
                // Such an id is written as its number is.
                if count > 9 || (count > 1 && block[start] == b'0') {
                    return None;
                }
                let ids = if role == Role::User { &mut rows.users } else { &mut rows.items };
                ids.push_number(value as u32);
                next
            }
            Role::Rating => {
                let mut number = value;
                let mut scale = 1_u32;
                if block.get(end) == Some(&b'.') {
                    let (decimals, after) = digits(block, end + 1);
                    let places = after - end - 1;
                    if count + places > 7 {
                        return None;
                    }
                    scale = 10_u32.pow(places as u32);
                    number = value * u64::from(scale) + decimals;
                    end = after;
                }
                let next = field_end(cut, block, end, last)?;
                if count > 7 {
                    return None;
                }
                // Both are below 2^24 and so exact; one division rounds correctly.
                let rating = number as f32 / scale as f32;
                if self.scale.is_some_and(|scale| !scale.contains(rating)) {
                    return None;
                }
                rows.ratings.push(rating);
                next
            }
            Role::Timestamp => {
                let next = field_end(cut, block, end, last)?;
                rows.timestamps.push(value as i64);
                next
            }
        };
        Some(next)
    }

    fn names(&self) -> String {
        self.columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>().join(", ")
    }
}

/// The number that begins at `start`, and where its digits end; it is wrong, not dangerous, where there are more than 19.
///
/// Eight bytes are looked at together: fields of all lengths take the same path, which spares the processor its wrong guesses.
#[inline(always)]
fn digits(block: &[u8], start: usize) -> (u64, usize) {
    const TENS: [u64; 9] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000];
    let (mut value, mut at) = (0_u64, start);
    while let Some(eight) = block.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let (number, count) = leading_digits(*eight);
        value = value.wrapping_mul(TENS[count]).wrapping_add(number);
        at += count;
        if count < 8 {
            return (value, at);
        }
    }
    while let Some(byte) = block.get(at) {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            break;
        }
        value = value.wrapping_mul(10).wrapping_add(u64::from(digit));
        at += 1;
    }
    (value, at)
}

/// The number that the leading digits of eight bytes make, and how many they are, all bytes at once.
#[inline(always)]
pub(super) fn leading_digits(eight: [u8; 8]) -> (u64, usize) {
    // A digit becomes its value, everything else more than 9; the first byte is the lowest.
    let values = u64::from_le_bytes(eight) ^ 0x3030_3030_3030_3030;
    // Adding 0x76 sets the top bit of what is more than 9 (or it is set already). A carry can only come from such a byte, so that the
    // lowest of them is right.
    let others = (values.wrapping_add(0x7676_7676_7676_7676) | values) & 0x8080_8080_8080_8080;
    let count = (others.trailing_zeros() / 8) as usize;
    if count == 0 {
        return (0, 0);
    }
    // Zeros in front, then neighbours together: to pairs, to fours, to eight digits.
    let aligned = values << (64 - 8 * count);
    let pairs = (aligned.wrapping_mul(10).wrapping_add(aligned >> 8)) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs.wrapping_mul(100).wrapping_add(pairs >> 16)) & 0x0000_ffff_0000_ffff;
    let number = (fours.wrapping_mul(10_000).wrapping_add(fours >> 32)) & 0xffff_ffff;
    (number, count)
}

/// Where the next field begins if this one ends at `end` as it should: with its line if it is the last one, else with a separator.
#[inline(always)]
fn field_end<C: Cut>(cut: &C, block: &[u8], end: usize, last: bool) -> Option<usize> {
    match (block.get(end), last) {
        (Some(b'\n'), true) => Some(end + 1),
        (Some(b'\r'), true) if block.get(end + 1) == Some(&b'\n') => Some(end + 2),
        (None, true) => Some(end),
        (Some(_), false) => Some(cut.separator(block, end)).filter(|&length| length > 0).map(|length| end + length),
        _ => None,
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
    use proptest::prelude::*;

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
    fn digits_end_where_they_end() {
        for text in [
            "",
            "x",
            "7",
            "7x",
            "0",
            "00",
            "1234567",
            "12345678",
            "12345678,",
            "123456789",
            "12345678901234567\n",
            "1:2",
            "9/9",
            "1\u{e9}23456",
        ] {
            let expected: String = text.chars().take_while(char::is_ascii_digit).collect();
            let number = expected.parse().unwrap_or(0);
            // With and without more after it, which decides between eight bytes at once and one at a time.
            for rest in ["", "\u{ff}12345678"] {
                let block = format!("{text}{}", if text.ends_with(|last: char| last.is_ascii_digit()) { rest } else { "" });
                assert_eq!(digits(block.as_bytes(), 0), (number, expected.len()), "{block:?}");
            }
        }
        for byte in (0..=255).filter(|byte: &u8| !byte.is_ascii_digit()) {
            assert_eq!(leading_digits([b'4', b'2', byte, b'9', byte, b'0', 255, 0]), (42, 2), "{byte}");
        }
    }

    #[test]
    fn the_quick_way_and_the_careful_way_agree() {
        let table = movielens(COMMA);
        for (user, item, stars, time) in [
            ("0", "10", "5", "0"),
            ("00", "7", "5.0", "1"),
            ("999999999", "1000000000", "0.500", "999999999999999"),
            ("4294967296", "u7", "1.5000000", "12.5"),
            ("-1", "+2", "+1", "-5"),
            ("1e3", "1 ", " 2", "1e3"),
        ] {
            for (quoted, text) in [
                (false, format!("{user},{item},{stars},{time}\n")),
                (true, format!("\"{user}\",\"{item}\",\"{stars}\",\"{time}\"\n")),
            ] {
                let mut interner = super::super::rows::Interner::default();
                let Ok(rows) = table.parse(text.as_bytes()) else { panic!("{text:?} (quoted: {quoted})") };
                interner.intern(&rows.users, &mut Vec::new());
                interner.intern(&rows.items, &mut Vec::new());
                let ids = interner.into_names();
                assert_eq!((ids.first().map(String::as_str), ids.last().map(String::as_str)), (Some(user), Some(item)));
                assert_eq!(rows.ratings, [stars.trim().parse::<f32>().unwrap_or(f32::NAN)]);
                assert_eq!(rows.timestamps, [time.parse::<f64>().unwrap_or(f64::NAN).floor() as i64]);
            }
        }
    }

    /// Whole parse, with the quick way and without it, as text: rows or the error.
    fn both_ways<C: Cut>(table: &Table, cut: &C, block: &[u8]) -> [String; 2] {
        let quick = Quick::new(&table.columns, table.scale);
        assert!(quick.is_some(), "the layout has a quick way");
        [quick.as_ref(), None].map(|quick| {
            let mut rows = Rows::default();
            match table.parse_with(cut, quick, block, &mut rows) {
                Ok(()) => format!("{rows:?}"),
                Err(error) => format!("{error:?}"),
            }
        })
    }

    /// A field as it mostly is, and now and then as it hardly ever is.
    fn field(plain: &'static str) -> impl Strategy<Value = String> {
        prop_oneof![
            40 => plain,
            1 => "[0-9]{0,21}",
            1 => "0[0-9]{1,3}",
            1 => "[-+]?[0-9]{1,3}[.]?[0-9]{0,3}",
            1 => "\"[0-9.]{0,3}\"",
            1 => "[0-9.,: \r\"a\u{e9}-]{0,6}",
        ]
    }

    proptest! {
        #[test]
        fn the_quick_way_takes_what_the_careful_way_takes(
            lines in proptest::collection::vec(
                (field("[1-9][0-9]{0,7}"), field("[1-9][0-9]{0,6}"), field("[0-5][.][05]|[1-5]"), field("[0-9]{7,11}"), "\n|\r\n|\n\n|\r"),
                0..40,
            ),
            times in proptest::bool::ANY,
            scaled in proptest::bool::ANY,
        ) {
            let mut table = movielens(COMMA);
            table.columns.truncate(if times { 4 } else { 3 });
            table.scale = table.scale.filter(|_| scaled);
            let text = |separator: &str| -> String {
                let line = |(user, item, rating, time, end): &(String, String, String, String, String)| {
                    let fields = [user.as_str(), item, rating, time];
                    format!("{}{end}", fields[..table.columns.len()].join(separator))
                };
                lines.iter().map(line).collect()
            };
            let [quick, careful] = both_ways(&table, &Byte { byte: b',', quotes: true }, text(",").as_bytes());
            prop_assert_eq!(quick, careful);
            let [quick, careful] = both_ways(&table, &Byte { byte: b'\t', quotes: false }, text("\t").as_bytes());
            prop_assert_eq!(quick, careful);
            let [quick, careful] = both_ways(&table, &DoubleColon, text("::").as_bytes());
            prop_assert_eq!(quick, careful);
        }
    }

    #[test]
    fn the_quick_way_takes_the_lines_it_is_made_for() {
        let table = movielens(COMMA);
        let text = "1,31,2.5,1260759144\n2,1234567,4,835355493\r\n".repeat(9);
        let mut rows = Rows::default();
        let quick = Quick::new(&table.columns, table.scale);
        let left = quick.map(|quick| quick.lines(&Byte { byte: b',', quotes: true }, text.as_bytes(), 0, &mut rows));
        assert!(left.is_some_and(|left| text.len() - left < 64 + 24), "all but the window at the end: {left:?}");
        assert_eq!((rows.ratings[1], rows.timestamps[1]), (4.0, 835_355_493));
    }

    #[test]
    fn a_header_may_be_quoted() {
        assert_eq!(Table::header(COMMA, b"a,\"b,c\",d\r\n1,2,3\n"), (vec!["a".into(), "b,c".into(), "d".into()], 11));
    }
}
