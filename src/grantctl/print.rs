//! Text for people: tables, facts, times. Pure. What the daemon says passes through [`clean`] on its way to a terminal.

use jiff::{Timestamp, Unit};

use crate::exit::Failure;

/// `text` on one line: line breaks become spaces; whatever could steer a terminal or reverse the reading order is
/// written out as an escape.
pub fn clean(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\r' | '\t' => shown.push(' '),
            c if c.is_control() || is_invisible(c) => shown.extend(c.escape_unicode()),
            c => shown.push(c),
        }
    }
    shown
}

/// Marks of direction, zero-width characters and line separators (Unicode UAX #9 and general category Cf, Zl, Zp).
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
}

/// Columns under a head, two spaces apart, without space at the end of a line.
#[derive(Debug)]
pub struct Table<const N: usize> {
    rows: Vec<[String; N]>,
}

impl<const N: usize> Table<N> {
    /// A table with this head.
    pub fn new(head: [&str; N]) -> Self {
        Self { rows: vec![head.map(str::to_owned)] }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: [String; N]) {
        self.rows.push(cells.map(|cell| clean(&cell)));
    }

    /// The table as text, each line after `indent`.
    pub fn text(&self, indent: &str) -> String {
        let mut widths = [0; N];
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = cell.chars().count().max(*width);
            }
        }
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::from(indent);
            for (width, cell) in widths.iter().zip(row) {
                line.push_str(&format!("{cell:<width$}  "));
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

/// Facts about one thing: a name, then what there is to say.
#[derive(Debug, Default)]
pub struct Facts(String);

impl Facts {
    /// Begins with a line of its own.
    pub fn titled(title: &str) -> Self {
        Self(format!("{}\n", clean(title)))
    }

    /// Adds a fact.
    pub fn fact(&mut self, name: &str, value: impl AsRef<str>) {
        self.0.push_str(&format!("  {name:<13} {}\n", clean(value.as_ref())));
    }

    /// Adds a fact if there is one.
    pub fn maybe(&mut self, name: &str, value: Option<impl AsRef<str>>) {
        if let Some(value) = value {
            self.fact(name, value);
        }
    }

    /// Adds a fact for each value, and `none` when there is none.
    pub fn each(&mut self, name: &str, values: &[String], none: &str) {
        if values.is_empty() {
            self.fact(name, none);
        }
        let mut name = name;
        for value in values {
            self.fact(name, value);
            name = "";
        }
    }

    /// Adds text as it is.
    pub fn raw(&mut self, text: &str) {
        self.0.push_str(text);
    }

    /// All of it.
    pub fn text(self) -> String {
        self.0
    }
}

/// A span in hours, minutes and seconds, exact: `1h 30m`.
pub fn span(seconds: u64) -> String {
    let parts = [(seconds / 3600, "h"), (seconds / 60 % 60, "m"), (seconds % 60, "s")];
    let parts: Vec<String> =
        parts.iter().filter(|(number, _)| *number > 0).map(|(number, unit)| format!("{number}{unit}")).collect();
    if parts.is_empty() { "0s".to_owned() } else { parts.join(" ") }
}

/// How far `at` is from `now`, to two units: `in 4m 12s`, `3d 2h ago`. What is no time is shown as it is.
pub fn relative(at: &str, now: Timestamp) -> String {
    let Ok(at) = at.parse::<Timestamp>() else { return at.to_owned() };
    let seconds = at.as_second().saturating_sub(now.as_second());
    let distance = seconds.unsigned_abs();
    let parts =
        [(distance / 86_400, "d"), (distance / 3600 % 24, "h"), (distance / 60 % 60, "m"), (distance % 60, "s")];
    let parts: Vec<String> = parts
        .iter()
        .skip_while(|(number, _)| *number == 0)
        .take(2)
        .filter(|(number, _)| *number > 0)
        .map(|(number, unit)| format!("{number}{unit}"))
        .collect();
    match (parts.is_empty(), seconds > 0) {
        (true, _) => "now".to_owned(),
        (false, true) => format!("in {}", parts.join(" ")),
        (false, false) => format!("{} ago", parts.join(" ")),
    }
}

/// `at` to the second in UTC, and how far away that is.
pub fn absolute(at: &str, now: Timestamp) -> String {
    match at.parse::<Timestamp>() {
        Ok(parsed) => format!("{} ({})", to_second(parsed), relative(at, now)),
        Err(_) => at.to_owned(),
    }
}

/// `at` to the second in UTC.
pub fn to_second(at: Timestamp) -> Timestamp {
    at.round(jiff::TimestampRound::new().smallest(Unit::Second).mode(jiff::RoundMode::Trunc)).unwrap_or(at)
}

/// JSON for people, each line after `indent`. JSON escapes control characters itself; the rest is cleaned.
pub fn pretty(value: &serde_json::Value, indent: &str) -> String {
    let text = serde_json::to_string_pretty(value).unwrap_or_default();
    text.lines().map(|line| format!("{indent}{}\n", clean(line))).collect()
}

/// At most `enough` characters of `text`, with a mark where it is cut.
pub fn shortened(text: &str, enough: usize) -> String {
    if text.chars().count() <= enough {
        return text.to_owned();
    }
    text.chars().take(enough.saturating_sub(1)).chain(['…']).collect()
}

/// `1 record`, `2 records`.
pub fn count(number: u64, thing: &str) -> String {
    if number == 1 { format!("1 {thing}") } else { format!("{number} {thing}s") }
}

/// Writes all of `bytes` in one go.
pub fn write(out: &mut dyn std::io::Write, bytes: &[u8]) -> Result<(), Failure> {
    out.write_all(bytes).and_then(|()| out.flush()).map_err(Failure::output)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_from_the_daemon_can_steer_a_terminal() {
        assert_eq!(clean("a\u{1b}[31mb\u{202e}c\nd é"), "a\\u{1b}[31mb\\u{202e}c d é");
        assert_eq!(clean("x\u{9b}y\u{7}"), "x\\u{9b}y\\u{7}");
        let value = serde_json::json!({ "k": "a\u{202e}b\u{1b}" });
        assert_eq!(pretty(&value, " "), " {\n   \"k\": \"a\\u{202e}b\\u001b\"\n }\n");
    }

    #[test]
    fn a_table_is_aligned_by_characters() {
        let mut table = Table::new(["NAME", "N"]);
        table.row(["é".to_owned(), "10".to_owned()]);
        table.row(["longer".to_owned(), String::new()]);
        assert_eq!(table.text(" "), " NAME    N\n é       10\n longer\n");
    }

    #[test]
    fn what_is_cut_is_marked() {
        assert_eq!([shortened("abcd", 4), shortened("äbcde", 4)], ["abcd", "äbc…"]);
    }

    #[test]
    fn spans_are_exact_and_distances_are_short() {
        assert_eq!([span(0), span(59), span(5400), span(90_061)], ["0s", "59s", "1h 30m", "25h 1m 1s"]);
        let now = "2026-11-22T09:00:00.9Z".parse().unwrap();
        for (at, expected) in [
            ("2026-11-22T09:00:00Z", "now"),
            ("2026-11-22T09:04:12Z", "in 4m 12s"),
            ("2026-11-22T08:59:59Z", "1s ago"),
            ("2026-11-22T12:00:05Z", "in 3h"),
            ("2026-11-19T06:59:00Z", "3d 2h ago"),
            ("soon", "soon"),
        ] {
            assert_eq!(relative(at, now), expected, "{at}");
        }
        assert_eq!(absolute("2026-11-22T10:04:12.5+01:00", now), "2026-11-22T09:04:12Z (in 4m 12s)");
    }
}
