//! Columns without lines.

use std::fmt::{self, Write as _};

use anstyle::Style;

use super::style;

/// Between columns.
const GAP: usize = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

/// Rows under headings.
#[derive(Debug)]
pub(crate) struct Table {
    columns: Vec<(String, Align)>,
    rows: Vec<Vec<Cell>>,
}

/// Text, and how it is shown.
#[derive(Debug, Clone)]
pub(crate) struct Cell {
    text: String,
    style: Style,
}

impl Cell {
    pub(crate) fn styled(text: impl Into<String>, style: Style) -> Self {
        Self { text: text.into(), style }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::styled(text, Style::new())
    }
}

impl Table {
    pub(crate) fn new<'a>(columns: impl IntoIterator<Item = (&'a str, Align)>) -> Self {
        let columns = columns.into_iter().map(|(heading, align)| (heading.to_owned(), align)).collect();
        Self { columns, rows: Vec::new() }
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        self.rows.push(cells.into_iter().collect());
    }

    fn widths(&self) -> Vec<usize> {
        let heading = |column: usize| self.columns[column].0.chars().count();
        let widest = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.text.chars().count()).max().unwrap_or(0)
        };
        (0..self.columns.len()).map(|column| heading(column).max(widest(column))).collect()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths = self.widths();
        let heading = |(text, _): &(String, Align)| Cell::styled(text.clone(), style::FAINT);
        let headings: Vec<Cell> = self.columns.iter().map(heading).collect();
        let mut lines = Vec::new();
        for row in std::iter::once(&headings).chain(&self.rows) {
            let mut line = String::new();
            for (column, cell) in row.iter().enumerate() {
                let blank = " ".repeat(widths[column] - cell.text.chars().count());
                let (before, after) = match self.columns[column].1 {
                    Align::Left => ("", blank.as_str()),
                    Align::Right => (blank.as_str(), ""),
                };
                let style = cell.style;
                let last = row[column + 1..].iter().all(|cell| cell.text.is_empty());
                let gap = if last { 0 } else { GAP };
                let after = if last { "" } else { after };
                write!(line, "{before}{style}{}{style:#}{after}{:gap$}", cell.text, "")?;
                if last {
                    break;
                }
            }
            lines.push(line);
        }
        f.write_str(&lines.join("\n"))
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn columns_stand_under_their_headings() {
        let mut table = Table::new([("name", Align::Left), ("size", Align::Right), ("note", Align::Left)]);
        table.row(["a".into(), "1 MB".into(), "".into()]);
        table.row([Cell::from("longer"), "812 MB".into(), "ü".into()]);
        let shown = anstream::adapter::strip_str(&table.to_string()).to_string();
        expect![[r#"
            name      size  note
            a         1 MB
            longer  812 MB  ü"#]]
        .assert_eq(&shown);
    }
}
