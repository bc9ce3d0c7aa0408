//! What the commands print: text for people, or one JSON value.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::json;

use crate::commands::listen::Addresses;
use crate::keys::secret::SecretKey;
use crate::keys::view::NewKeyView;
use crate::record::{Record, RecordView, Status};

/// Prints the results of commands, as text or JSON.
#[derive(Debug)]
pub(crate) struct Output<W> {
    writer: W,
    json: bool,
}

impl<W: Write> Output<W> {
    /// Returns an output that prints JSON or text to the writer.
    pub(crate) fn new(writer: W, json: bool) -> Self {
        Self { writer, json }
    }

    /// Prints the addresses that `serve` listens on.
    pub(crate) fn listening(&mut self, addresses: &Addresses) -> io::Result<()> {
        self.print(addresses, |out| {
            writeln!(out, "listening on {}", addresses.listening)?;
            if let Some(address) = addresses.admin {
                writeln!(out, "admin API on {address}")?;
            }
            if let Some(address) = addresses.metrics {
                writeln!(out, "metrics on {address}")?;
            }
            Ok(())
        })
    }

    /// Prints a new key.
    pub(crate) fn created(&mut self, record: &Record, key: &SecretKey) -> io::Result<()> {
        self.print(&NewKeyView::of(key, record, None), |out| {
            write_key(out, key, record)
        })
    }

    /// Prints a new key and the one that it replaces.
    pub(crate) fn rotated(
        &mut self,
        record: &Record,
        key: &SecretKey,
        old: &Record,
    ) -> io::Result<()> {
        self.print(&NewKeyView::of(key, record, Some(old)), |out| {
            write_key(out, key, record)?;
            let old_id = &old.key_id;
            let end = old
                .expires_at
                .map_or_else(|| "-".to_owned(), |end| end.to_string());
            writeln!(
                out,
                "Deploy the new key, check that it works, then run `revoke {old_id}`. The old key \
                 expires at {end}."
            )
        })
    }

    /// Prints one key's record.
    pub(crate) fn shown(&mut self, record: &Record) -> io::Result<()> {
        self.print(&RecordView::from(record), |out| {
            write_lines(out, record, |label| !IMPLIED.contains(&label))?;
            write_lines(out, record, |label| IMPLIED.contains(&label))
        })
    }

    /// Prints a list of keys.
    pub(crate) fn listed(&mut self, records: &[Record]) -> io::Result<()> {
        let views: Vec<_> = records.iter().map(RecordView::from).collect();
        self.print(&views, |out| write_table(out, records))
    }

    /// Prints that a key is revoked.
    pub(crate) fn revoked(&mut self, key_id: &str) -> io::Result<()> {
        let done = json!({"key_id": key_id, "status": Status::Revoked});
        self.print(&done, |out| writeln!(out, "{key_id} is revoked"))
    }

    /// Prints that a key's record was deleted.
    pub(crate) fn deleted(&mut self, key_id: &str) -> io::Result<()> {
        let done = json!({"key_id": key_id, "deleted": true});
        self.print(&done, |out| writeln!(out, "{key_id} is deleted"))
    }

    fn print(
        &mut self,
        value: &impl Serialize,
        text: impl FnOnce(&mut W) -> io::Result<()>,
    ) -> io::Result<()> {
        if self.json {
            serde_json::to_writer(&mut self.writer, value)?;
            writeln!(self.writer)?;
        } else {
            text(&mut self.writer)?;
        }
        self.writer.flush()
    }
}

/// Labels that are left out for a new key, because its creator knows them. Otherwise they come last.
const IMPLIED: [&str; 4] = ["key", "status", "created at", "revoked at"];

/// Labels whose values can be too long for a table.
const LONG: [&str; 1] = ["endpoints"];

fn write_key(out: &mut impl Write, key: &SecretKey, record: &Record) -> io::Result<()> {
    write_line(out, "key", key.expose())?;
    write_lines(out, record, |label| !IMPLIED.contains(&label))?;
    writeln!(out, "\nStore the key now. It is never shown again.")
}

fn write_lines(
    out: &mut impl Write,
    record: &Record,
    wanted: impl Fn(&str) -> bool,
) -> io::Result<()> {
    let lines = Record::LABELS.iter().zip(record.texts());
    for (label, text) in lines.filter(|(label, _)| wanted(label)) {
        write_line(out, label, &text)?;
    }
    Ok(())
}

fn write_line(out: &mut impl Write, label: &str, text: &str) -> io::Result<()> {
    writeln!(out, "{:13}{text}", format!("{label}:"))
}

fn write_table(out: &mut impl Write, records: &[Record]) -> io::Result<()> {
    let headings = Record::LABELS.iter().map(|label| label.to_uppercase());
    let rows = std::iter::once(headings.collect()).chain(records.iter().map(Record::texts));
    let rows: Vec<Vec<String>> = rows
        .map(|row| {
            let cells = Record::LABELS.iter().zip(row);
            let cells = cells.filter(|(label, _)| !LONG.contains(label));
            cells.map(|(_, text)| text).collect()
        })
        .collect();
    let mut widths = vec![0; Record::LABELS.len()];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    for row in &rows {
        let line: String = row
            .iter()
            .zip(&widths)
            .map(|(cell, &width)| format!("{cell:width$}  "))
            .collect();
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}
