//! What the commands print: text for people, or one JSON value.

use std::fmt;
use std::io::{self, Write};

use serde::Serialize;
use serde_json::json;

use crate::commands::listen::Addresses;
use crate::keys::secret::SecretKey;
use crate::keys::view::{NewKeyView, RecordView};
use crate::record::{Record, Status};

/// Where the commands print to, and in which form.
#[derive(Debug)]
pub(crate) struct Output<W> {
    writer: W,
    json: bool,
}

impl<W: Write> Output<W> {
    /// Prints JSON to the writer, or else text.
    pub(crate) fn new(writer: W, json: bool) -> Self {
        Self { writer, json }
    }

    /// The addresses that `serve` has bound.
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

    /// A new key.
    pub(crate) fn created(&mut self, record: &Record, key: &SecretKey) -> io::Result<()> {
        self.print(&NewKeyView::of(key, record, None), |out| {
            write_key(out, key, record)
        })
    }

    /// A new key, and the one that it replaces.
    pub(crate) fn rotated(
        &mut self,
        record: &Record,
        key: &SecretKey,
        old: &Record,
    ) -> io::Result<()> {
        self.print(&NewKeyView::of(key, record, Some(old)), |out| {
            write_key(out, key, record)?;
            let (old_id, end) = (&old.key_id, or_dash(&old.expires_at));
            writeln!(
                out,
                "Deploy it, see it work, then `revoke {old_id}`; that key ends at {end}."
            )
        })
    }

    /// One key.
    pub(crate) fn shown(&mut self, record: &Record) -> io::Result<()> {
        self.print(&RecordView::of(record), |out| {
            write_record(out, record)?;
            writeln!(out, "key:         {}", record.preview)?;
            writeln!(out, "status:      {}", record.status())?;
            writeln!(out, "created at:  {}", record.created_at)?;
            writeln!(out, "revoked at:  {}", or_dash(&record.revoked_at))
        })
    }

    /// All keys.
    pub(crate) fn listed(&mut self, records: &[Record]) -> io::Result<()> {
        let views: Vec<_> = records.iter().map(RecordView::of).collect();
        self.print(&views, |out| write_table(out, records))
    }

    /// A key was revoked, now or before.
    pub(crate) fn revoked(&mut self, key_id: &str) -> io::Result<()> {
        let done = json!({"key_id": key_id, "status": Status::Revoked});
        self.print(&done, |out| writeln!(out, "{key_id} is revoked"))
    }

    /// A key's record was removed.
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

fn write_key(out: &mut impl Write, key: &SecretKey, record: &Record) -> io::Result<()> {
    writeln!(out, "key:         {}", key.expose())?;
    write_record(out, record)?;
    writeln!(out, "\nStore the key now. It is never shown again.")
}

fn write_record(out: &mut impl Write, record: &Record) -> io::Result<()> {
    let endpoints = record.endpoints.as_ref().map(|paths| paths.join(" "));
    writeln!(out, "key id:      {}", record.key_id)?;
    writeln!(out, "account:     {}", record.account_id)?;
    writeln!(out, "name:        {}", or_dash(&record.name))?;
    writeln!(out, "environment: {}", or_dash(&record.environment))?;
    writeln!(out, "expires at:  {}", or_dash(&record.expires_at))?;
    writeln!(
        out,
        "endpoints:   {}",
        endpoints.as_deref().unwrap_or("every path")
    )
}

const HEADINGS: [&str; 9] = [
    "KEY ID",
    "KEY",
    "ACCOUNT",
    "NAME",
    "ENVIRONMENT",
    "STATUS",
    "EXPIRES AT",
    "CREATED AT",
    "REVOKED AT",
];

fn write_table(out: &mut impl Write, records: &[Record]) -> io::Result<()> {
    let rows: Vec<[String; 9]> = std::iter::once(HEADINGS.map(str::to_owned))
        .chain(records.iter().map(|record| {
            [
                record.key_id.clone(),
                record.preview.to_string(),
                record.account_id.clone(),
                or_dash(&record.name),
                or_dash(&record.environment),
                record.status().to_string(),
                or_dash(&record.expires_at),
                record.created_at.to_string(),
                or_dash(&record.revoked_at),
            ]
        }))
        .collect();
    let mut widths = [0; HEADINGS.len()];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    for row in &rows {
        let line: String = row
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell:width$}  "))
            .collect();
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

fn or_dash(value: &Option<impl fmt::Display>) -> String {
    value
        .as_ref()
        .map_or_else(|| "-".to_owned(), ToString::to_string)
}
