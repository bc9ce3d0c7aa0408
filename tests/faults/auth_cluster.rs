//! What an auth cluster may do instead of answering, or in addition to it.

mod comebacks;
mod eager;
mod expect;
mod fault;
mod fields;
mod http2;
mod http2_rows;
mod kept;
mod outages;
mod records;
mod rows;
mod statuses;
mod wire;

use libtest_mimic::Trial;

pub(crate) fn trials() -> Vec<Trial> {
    [
        rows::trials(),
        outages::trials(),
        comebacks::trials(),
        kept::trials(),
        eager::trials(),
        http2::trials(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
