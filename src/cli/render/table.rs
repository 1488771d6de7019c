//! Tables: no lines, two spaces between columns, the last column as long as it likes.
//!
//! Never wraps: a row that is too long for a terminal goes on below itself, by [`super::text::fit`].

use comfy_table::{ContentArrangement, Table, presets};

/// Rows under a header, aligned. Ends without a newline; without rows it is empty.
pub(crate) fn table(header: &[&str], rows: Vec<Vec<String>>) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header.to_vec());
    table.add_rows(rows);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.trim_fmt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_nothing_is_wrapped() {
        let long = "x".repeat(300);
        let rows = vec![
            vec!["mw1".to_owned(), "a".to_owned(), long.clone()],
            vec!["m".to_owned(), "bcd".to_owned(), String::new()],
        ];
        assert_eq!(table(&["HOST", "S", "FOR"], rows), format!("HOST  S    FOR\nmw1   a    {long}\nm     bcd"));
        assert_eq!(table(&["HOST"], Vec::new()), "");
    }
}
