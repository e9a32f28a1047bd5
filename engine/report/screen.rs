//! A terminal whose last rows are redrawn in place while lines go by above them. Each change is one write. After a change of size the
//! whole screen is drawn anew, since no two terminals agree on what becomes of rows that no longer fit.

use std::{collections::VecDeque, io::Write};

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Columns and rows of a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Columns.
    pub columns: usize,
    /// Rows.
    pub rows: usize,
}

impl Size {
    /// That of the terminal on standard error; 80 by 24 where it does not say.
    pub fn of_stderr() -> Self {
        let size = rustix::termios::tcgetwinsize(std::io::stderr()).ok();
        let or = |n: Option<u16>, default: usize| n.filter(|n| *n > 0).map_or(default, usize::from);
        Self { columns: or(size.map(|size| size.ws_col), 80), rows: or(size.map(|size| size.ws_row), 24) }
    }
}

/// What is on the screen.
#[derive(Debug, Default)]
pub struct Screen {
    /// Rows of the frame that is drawn.
    drawn: usize,
    size: Option<Size>,
    /// The last lines that went by, to be drawn again.
    tail: VecDeque<String>,
}

/// No screen has more rows.
const TAIL: usize = 300;

impl Screen {
    /// Prints lines above the frame and draws the frame anew. Each row of it has to be narrower than the screen.
    pub fn show(&mut self, size: Size, lines: &[String], frame: &[String]) {
        let bytes = self.render(size, lines, frame);
        // A terminal that is gone is no reason to stop a run.
        let _ = std::io::stderr().lock().write_all(bytes.as_bytes());
    }

    fn render(&mut self, size: Size, lines: &[String], frame: &[String]) -> String {
        let resized = self.size.is_some_and(|known| known != size);
        self.size = Some(size);
        self.tail.extend(lines.iter().cloned());
        self.tail.drain(..self.tail.len().saturating_sub(TAIL));
        // Begin of an update that terminals which know it show all at once; others ignore it.
        let mut text = "\x1b[?2026h".to_owned();
        if resized {
            text += "\x1b[H\x1b[2J";
            let mut room = size.rows.saturating_sub(frame.len());
            let mut shown = 0;
            for line in self.tail.iter().rev() {
                let rows = line.width().div_ceil(size.columns).max(1);
                if rows > room {
                    break;
                }
                (room, shown) = (room - rows, shown + 1);
            }
            self.tail.iter().skip(self.tail.len() - shown).for_each(|line| text += &format!("{line}\r\n"));
        } else {
            text += &match self.drawn {
                0 => String::new(),
                1 => "\r".to_owned(),
                rows => format!("\r\x1b[{}A", rows - 1),
            };
            if !lines.is_empty() {
                text += "\x1b[J";
                lines.iter().for_each(|line| text += &format!("{line}\r\n"));
            }
        }
        let rows: Vec<String> = frame.iter().map(|row| format!("{row}\x1b[K")).collect();
        text += &rows.join("\r\n");
        text += "\x1b[J\x1b[?2026l";
        self.drawn = frame.len();
        text
    }
}

/// As much of a text as fits into so many columns; what would move the cursor is a space.
pub fn clip(text: &str, columns: usize) -> String {
    let mut width = 0;
    let visible = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    visible
        .take_while(|c| {
            width += c.width().unwrap_or(0);
            width <= columns
        })
        .collect()
}

/// A name in at most so many columns: both ends, which tell names apart, and dots between them.
pub fn shorten(name: &str, columns: usize) -> String {
    if name.width() <= columns || columns < 5 {
        return clip(name, columns);
    }
    let room = columns - 2;
    let head = clip(name, room / 2);
    let mut tail = String::new();
    for c in name.chars().rev() {
        if tail.width() + head.width() + c.width().unwrap_or(0) > room {
            break;
        }
        tail.insert(0, c);
    }
    format!("{head}..{tail}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: Size = Size { columns: 20, rows: 6 };

    fn emulator(columns: u16, rows: u16) -> vt100::Parser {
        vt100::Parser::new(size(rows), size(columns), 0)
    }

    fn size(n: u16) -> std::num::NonZero<u16> {
        std::num::NonZero::new(n).expect("a size")
    }

    fn screen(terminal: &vt100::Parser) -> Vec<String> {
        let (_, columns) = terminal.screen().size();
        terminal.screen().rows(0, columns.get()).map(|row| row.trim_end().to_owned()).collect()
    }

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn lines_go_by_above_a_frame_that_stays() {
        let mut terminal = emulator(20, 6);
        let mut shown = Screen::default();
        let mut show = |lines: &[&str], frame: &[&str]| {
            terminal.process(shown.render(SIZE, &texts(lines), &texts(frame)).as_bytes());
            screen(&terminal)
        };
        assert_eq!(show(&[], &["bar one", "total"])[..2], texts(&["bar one", "total"]));
        assert_eq!(show(&["first"], &["bar one", "bar two", "total"])[..4], texts(&["first", "bar one", "bar two", "total"]));
        // A line of exactly the width, and one that wraps.
        let long = "twenty columns wide!";
        assert_eq!(
            show(&[long, "wraps after twenty columns"], &["total"]),
            texts(&["first", long, "wraps after twenty c", "olumns", "total", ""])
        );
        assert_eq!(show(&[], &[])[..4], texts(&["first", long, "wraps after twenty c", "olumns"]));
    }

    #[test]
    fn after_a_change_of_size_the_screen_is_whole() {
        let mut shown = Screen::default();
        let mut terminal = emulator(20, 6);
        terminal
            .process(shown.render(SIZE, &texts(&["one", "two", "three"]), &texts(&["a bar of the stage", "total"])).as_bytes());
        for (columns, rows) in [(10, 6), (40, 3), (20, 6)] {
            terminal.screen_mut().set_size(size(rows), size(columns));
            let now = Size { columns: usize::from(columns), rows: usize::from(rows) };
            let frame = ["a bar of the stage", "total"].map(|row| clip(row, now.columns - 1).trim_end().to_owned());
            terminal.process(shown.render(now, &[], &frame).as_bytes());
            let rows = screen(&terminal);
            let found: Vec<&str> = rows.iter().map(String::as_str).filter(|row| !row.is_empty()).collect();
            let expected: Vec<&str> = ["one", "two", "three"].into_iter().chain(frame.iter().map(String::as_str)).collect();
            let room = rows.len().min(expected.len());
            assert_eq!(found, expected[expected.len() - room..], "{columns} by {}", rows.len());
        }
    }

    #[test]
    fn names_are_shortened_in_the_middle_by_what_they_show() {
        assert_eq!(shorten("student[genre=Western,method=talk]", 20), "student[g..hod=talk]");
        assert_eq!(shorten("teacher", 20), "teacher");
        assert_eq!(clip("a\tb\x1b[2J", 5), "a b [");
        assert_eq!(clip("日本語", 5), "日本");
        assert_eq!(shorten("日本語の名前です", 9).width(), 8);
    }
}
