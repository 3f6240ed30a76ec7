//! The text of a summary: lines of a label, a number and a remark.

use crate::text::{COLUMNS, DIM, Text, printable, wrap};
use indicatif::HumanCount;
use std::collections::BTreeMap;
use std::fmt::{self, Write};

/// A text in the making: a label, a number, a remark.
pub(super) struct Table {
    pub text: Text,
    /// Of the labels, in characters.
    pub width: usize,
    /// Of the numbers.
    pub digits: usize,
}

impl Table {
    pub fn blank(&mut self) -> fmt::Result {
        writeln!(self.text.out)
    }

    pub fn count(&mut self, label: &str, count: u64, remark: &str) -> fmt::Result {
        self.line(label, &HumanCount(count).to_string(), remark)
    }

    /// Writes a line without a number.
    pub fn say(&mut self, label: &str, remark: &str) -> fmt::Result {
        self.line(&format!("  {label}"), "", remark)
    }

    fn line(&mut self, label: &str, number: &str, remark: &str) -> fmt::Result {
        write!(self.text.out, "{label:<0$}  {number:>1$}", self.width, self.digits)?;
        if !remark.is_empty() {
            let (dim, plain) = self.text.style(DIM);
            let indent = self.width + 2 + self.digits + 2;
            let mut lines = wrap(remark, COLUMNS.saturating_sub(indent)).into_iter();
            write!(self.text.out, "  {dim}{}{plain}", lines.next().unwrap_or_default())?;
            for line in lines {
                write!(self.text.out, "\n{:indent$}{dim}{line}{plain}", "")?;
            }
        }
        writeln!(self.text.out)
    }

    /// Writes the line only if the count is not 0.
    pub fn some(&mut self, label: &str, count: u64, remark: &str) -> fmt::Result {
        if count > 0 { self.count(&format!("  {label}"), count, remark) } else { Ok(()) }
    }

    pub fn reasons(
        &mut self,
        label: &str,
        remark: &str,
        reasons: &BTreeMap<String, u64>,
        meaning: fn(&str) -> &'static str,
    ) -> fmt::Result {
        let total: u64 = reasons.values().sum();
        if total == 0 {
            return Ok(());
        }
        self.blank()?;
        self.count(label, total, remark)?;
        for (code, count) in reasons {
            self.some(&printable(code), *count, meaning(code))?;
        }
        Ok(())
    }
}
