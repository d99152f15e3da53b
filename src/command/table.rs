//! Aligned tables for people. Programs use `--json`.

use std::fmt::Write as _;

use carnet_exchange::web::visible;

/// Formats rows below their headings, each column as wide as its widest cell. Cells may be
/// texts of other parties, so they are made [`visible`].
pub fn table(headings: &[&str], rows: &[Vec<String>]) -> String {
    let clean = |cell: &String| visible(cell);
    let headings: Vec<String> = headings.iter().map(|text| (*text).to_owned()).collect();
    let rows: Vec<Vec<String>> = std::iter::once(&headings)
        .chain(rows)
        .map(|row| row.iter().map(clean).collect())
        .collect();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..headings.len()).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            // Writing to a string does not fail.
            write!(line, "{cell:<width$}  ").ok();
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_control_characters_are_not_printed() {
        let rows = [
            vec!["short".to_owned(), "x".to_owned()],
            vec!["a longer name".to_owned(), "\u{1b}[2J".to_owned()],
        ];
        assert_eq!(
            table(&["NAME", "STATE"], &rows),
            "NAME           STATE\nshort          x\na longer name  \\u{1b}[2J\n"
        );
    }
}
