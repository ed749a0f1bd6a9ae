//! Plain tables that fit the terminal.

/// Between two columns.
const GAP: &str = "  ";
/// A column that may be cut is never made narrower.
const CUT_WIDTH_MIN: usize = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Column {
    /// Words, to the left, never cut.
    Left(&'static str),
    /// Numbers, to the right, never cut.
    Right(&'static str),
    /// Words, to the left, whose middle may be cut out when the terminal is narrow.
    Cut(&'static str),
}

impl Column {
    fn title(self) -> &'static str {
        match self {
            Self::Left(title) | Self::Right(title) | Self::Cut(title) => title,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(columns: &[Column]) -> Self {
        Self { columns: columns.to_vec(), rows: Vec::new() }
    }

    pub(crate) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// All lines; at most `width` columns wide if that can be had by cutting.
    pub(crate) fn render(&self, width: Option<usize>) -> String {
        let widths = self.widths(width);
        let titles: Vec<_> = self.columns.iter().map(|c| c.title().to_owned()).collect();
        let mut text = String::new();
        for row in std::iter::once(&titles).chain(&self.rows) {
            text += self.line(row, &widths).trim_end();
            text.push('\n');
        }
        text
    }

    fn widths(&self, limit: Option<usize>) -> Vec<usize> {
        let mut widths: Vec<usize> = self.columns.iter().map(|c| c.title().len()).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let gaps = GAP.len() * widths.len().saturating_sub(1);
        while limit.is_some_and(|limit| widths.iter().sum::<usize>() + gaps > limit) {
            let cuttable = self.columns.iter().zip(&mut widths).filter(|(c, _)| matches!(c, Column::Cut(_)));
            match cuttable.map(|(_, width)| width).filter(|width| **width > CUT_WIDTH_MIN).max() {
                Some(widest) => *widest -= 1,
                None => break,
            }
        }
        widths
    }

    fn line(&self, row: &[String], widths: &[usize]) -> String {
        let cells = self.columns.iter().zip(row).zip(widths).map(|((column, cell), width)| match column {
            Column::Right(_) => format!("{cell:>width$}"),
            Column::Left(_) | Column::Cut(_) => format!("{:<width$}", cut(cell, *width)),
        });
        cells.collect::<Vec<_>>().join(GAP)
    }
}

/// Takes the middle out of a text that is too long: the ends of names and addresses tell them apart.
fn cut(text: &str, width: usize) -> String {
    let chars: Vec<char> = text.chars().collect();
    if chars.len() <= width || width == 0 {
        return text.to_owned();
    }
    let tail = (width - 1) / 2;
    let head = width - 1 - tail;
    chars[..head].iter().chain(&['…']).chain(&chars[chars.len() - tail..]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(&[Column::Left("NAME"), Column::Right("SIZE"), Column::Cut("ISCSI NAME")]);
        table.row(["web01", "40 GiB", "iqn.2026-01.io.osvol:web01-0123abcd"].map(String::from).to_vec());
        table.row(["b", "1 TiB", "iqn.x"].map(String::from).to_vec());
        table
    }

    #[test]
    fn columns_line_up() {
        let expected = "NAME     SIZE  ISCSI NAME\n\
                        web01  40 GiB  iqn.2026-01.io.osvol:web01-0123abcd\n\
                        b       1 TiB  iqn.x\n";
        assert_eq!(table().render(None), expected);
    }

    #[test]
    fn a_narrow_terminal_cuts_the_middle_out_and_never_overflows() {
        let text = table().render(Some(40));
        assert!(text.lines().all(|line| line.chars().count() <= 40), "{text}");
        assert!(text.contains("iqn.2026-01…eb01-0123abcd") || text.contains('…'), "{text}");
        assert!(text.contains("0123abcd"), "{text}");
        // Too narrow for anything: it stays readable rather than vanish.
        assert!(table().render(Some(3)).contains("web01"));
    }
}
