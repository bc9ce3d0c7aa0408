//! A request's entry for the access log.

#![forbid(unsafe_code)]

use crate::auth::answer::Source;
use crate::auth::record::Record;
use crate::decision::denial::Denial;
use crate::decision::outcome::Outcome;
use crate::decision::reply::RequestId;

/// Writes an entry in logfmt: `outcome=allowed source=cache key_id=key_01J…`, and with a reply
/// `request_id=req_…`. `reason=expired` tells an expired key from a revoked one. `record` is that of
/// the request's key, if there is one. The entry is a single string, because each string costs a call
/// to the host.
pub fn write_log_entry(
    entry: &mut String,
    outcome: Outcome,
    source: Option<Source>,
    record: Option<&Record>,
    reply: Option<RequestId>,
) {
    entry.push_str("outcome=");
    entry.push_str(outcome.name());
    if outcome == Outcome::Refused(Denial::Expired) {
        entry.push_str(" reason=expired");
    }
    if let Some(source) = source {
        entry.push_str(" source=");
        entry.push_str(source.name());
    }
    if let Some(record) = record {
        entry.push_str(" key_id=");
        push_value(entry, record.key_id());
    }
    if let Some(id) = reply {
        entry.push_str(" request_id=");
        entry.push_str(&id.to_string());
    }
}

/// Writes a value, in quotes if it would not end at the next space or could be taken for more than
/// one field.
fn push_value(entry: &mut String, value: &str) {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !b"\"=\\".contains(&byte);
    if value.bytes().all(is_plain) {
        entry.push_str(value);
        return;
    }
    entry.push('"');
    for character in value.chars() {
        if matches!(character, '"' | '\\') {
            entry.push('\\');
        }
        entry.push(character);
    }
    entry.push('"');
}

#[cfg(test)]
mod tests;
