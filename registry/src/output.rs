//! What the commands print: text for people, or one JSON value.

use std::fmt;
use std::io::{self, Write};
use std::net::SocketAddr;

use serde::Serialize;
use serde_json::json;

use crate::key::SecretKey;
use crate::record::{Record, Status};
use crate::timestamp::Timestamp;

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

    /// The address that `serve` has bound.
    pub(crate) fn listening(&mut self, address: SocketAddr) -> io::Result<()> {
        self.print(&json!({"listening": address}), |out| {
            writeln!(out, "listening on {address}")
        })
    }

    /// A new key: the only place where a key is ever shown.
    pub(crate) fn created(&mut self, record: &Record, key: &SecretKey) -> io::Result<()> {
        #[derive(Serialize)]
        struct Created<'a> {
            key: &'a str,
            #[serde(flatten)]
            record: RecordView<'a>,
        }
        let created = Created {
            key: key.expose(),
            record: RecordView::of(record),
        };
        self.print(&created, |out| {
            let endpoints = record.endpoints.as_ref().map(|paths| paths.join(" "));
            writeln!(out, "key:         {}", key.expose())?;
            writeln!(out, "key id:      {}", record.key_id)?;
            writeln!(out, "account:     {}", record.account_id)?;
            writeln!(out, "name:        {}", or_dash(&record.name))?;
            writeln!(out, "environment: {}", or_dash(&record.environment))?;
            writeln!(out, "expires at:  {}", or_dash(&record.expires_at))?;
            writeln!(
                out,
                "endpoints:   {}",
                endpoints.as_deref().unwrap_or("every path")
            )?;
            writeln!(out, "\nStore the key now. It is never shown again.")
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

/// A record as `create` and `list` show it.
#[derive(Serialize)]
struct RecordView<'a> {
    key_id: &'a str,
    preview: String,
    account_id: &'a str,
    name: Option<&'a str>,
    environment: Option<&'a str>,
    status: Status,
    expires_at: Option<Timestamp>,
    endpoints: Option<&'a [String]>,
    created_at: Timestamp,
    revoked_at: Option<Timestamp>,
}

impl<'a> RecordView<'a> {
    fn of(record: &'a Record) -> Self {
        Self {
            key_id: &record.key_id,
            preview: record.preview.to_string(),
            account_id: &record.account_id,
            name: record.name.as_deref(),
            environment: record.environment.as_deref(),
            status: record.status(),
            expires_at: record.expires_at,
            endpoints: record.endpoints.as_deref(),
            created_at: record.created_at,
            revoked_at: record.revoked_at,
        }
    }
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
