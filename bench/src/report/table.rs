//! A markdown table whose columns line up as plain text too.

use std::fmt;

const HEAD: [&str; 4] = ["what", "measured", "ratio", "aim"];

#[derive(Default)]
pub struct Table {
    rows: Vec<[String; 4]>,
}

impl Table {
    pub fn row(&mut self, what: &str, measured: impl Into<String>, ratio: &str, aim: &str) {
        self.rows.push([what.to_owned(), measured.into(), ratio.to_owned(), aim.to_owned()]);
    }

    /// A rate beside the one it is compared with.
    pub fn ratio(&mut self, what: String, rate: f64, base: f64, aim: f64) {
        let ratio = rate / base.max(1.0);
        let met = if ratio >= aim { "met" } else { "missed" };
        self.rows.push([what, format!("{rate:.0}"), format!("{ratio:.2}"), format!(">= {aim}: {met}")]);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut widths = HEAD.map(str::len);
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        line(f, &HEAD.map(String::from), &widths)?;
        line(f, &widths.map(|width| "-".repeat(width)), &widths)?;
        self.rows.iter().try_for_each(|row| line(f, row, &widths))
    }
}

fn line(f: &mut fmt::Formatter<'_>, cells: &[String; 4], widths: &[usize; 4]) -> fmt::Result {
    for (cell, width) in cells.iter().zip(widths) {
        write!(f, "| {cell:width$} ")?;
    }
    writeln!(f, "|")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table = Table::default();
        table.row("commits/s", "19700", "", "");
        table.ratio("202s/s".to_owned(), 12_000.0, 19_700.0, 0.5);
        insta::assert_snapshot!(table, @"
        | what      | measured | ratio | aim         |
        | --------- | -------- | ----- | ----------- |
        | commits/s | 19700    |       |             |
        | 202s/s    | 12000    | 0.61  | >= 0.5: met |
        ");
    }
}
