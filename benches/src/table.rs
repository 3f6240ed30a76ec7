//! Markdown tables on standard output.

pub struct Table {
    columns: usize,
}

impl Table {
    /// Prints the head. The first column is of names, the others are of numbers.
    pub fn new(title: &str, columns: &[&str]) -> Table {
        println!("\n{title}\n\n| {} |", columns.join(" | "));
        let rules: Vec<_> = (0..columns.len()).map(|column| if column == 0 { "---" } else { "--:" }).collect();
        println!("|{}|", rules.join("|"));
        Table { columns: columns.len() }
    }

    /// Prints a row at once: benches take long.
    pub fn row(&self, cells: &[String]) {
        assert_eq!(cells.len(), self.columns);
        println!("| {} |", cells.join(" | "));
    }
}

/// Three significant digits, as far as they go.
pub fn number(value: f64) -> String {
    match value.abs() {
        small if small < 0.1 => format!("{value:.4}"),
        small if small < 1.0 => format!("{value:.3}"),
        small if small < 10.0 => format!("{value:.2}"),
        small if small < 100.0 => format!("{value:.1}"),
        _ => thousands(value.round() as i64),
    }
}

/// `1,234,567`.
pub fn thousands(value: impl TryInto<i64>) -> String {
    let value = value.try_into().unwrap_or(i64::MAX);
    let digits = value.unsigned_abs().to_string();
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    format!("{}{}", if value < 0 { "-" } else { "" }, groups.join(","))
}
