//! The process's limit of open files, and the connections that it leaves room for.

use anyhow::bail;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// The most connections of a listener that is not for lookups.
pub(crate) const SECONDARY: usize = 64;

/// Open files that are not connections: the database, the runtime, certificates, the listeners.
const RESERVE: usize = 128;

/// The fewest connections to allow by default.
const FEWEST: usize = 16;

/// Raises the limit of open files as far as possible, and returns it.
pub(crate) fn raise_limit() -> anyhow::Result<usize> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let limit = match setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
        Ok(()) => hard,
        Err(_) => soft,
    };
    Ok(usize::try_from(limit).unwrap_or(usize::MAX))
}

/// Returns how many connections the listener for lookups may have if there are `secondary` other
/// listeners: `asked`, or otherwise `default` or as many as there is room for.
///
/// # Errors
/// When there is no room for `asked` connections, or, without `asked`, for at least a few. The
/// error says what to do.
pub(crate) fn connections(
    asked: Option<usize>,
    default: usize,
    files: usize,
    secondary: usize,
) -> anyhow::Result<usize> {
    let room = files.saturating_sub(RESERVE + secondary * SECONDARY);
    let raise = "raise that limit (`ulimit -n`, LimitNOFILE= of systemd, --ulimit of Docker)";
    match asked {
        Some(asked) if asked > room => bail!(
            "--max-connections {asked} is too many: the limit of {files} open files leaves room \
             for {room}; {raise}, or ask for fewer"
        ),
        Some(asked) => Ok(asked),
        None if room < FEWEST => bail!(
            "the limit of {files} open files leaves room for {room} connections, which is too few; \
             {raise}"
        ),
        None => Ok(default.min(room)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_fit_into_the_limit_of_files() {
        let cases = [
            (None, 1_000_000, 0, Ok(10_000)),
            (None, usize::MAX, 2, Ok(10_000)),
            (None, 1024, 0, Ok(896)),
            (None, 1024, 2, Ok(768)),
            (None, 144, 0, Ok(16)),
            (None, 143, 0, Err("leaves room for 15 connections")),
            (None, 0, 2, Err("--ulimit")),
            (Some(10), 1024, 0, Ok(10)),
            (Some(896), 1024, 0, Ok(896)),
            (Some(897), 1024, 0, Err("--max-connections 897 is too many")),
            (Some(769), 1024, 2, Err("leaves room for 768")),
            (Some(50_000), 1_000_000, 0, Ok(50_000)),
        ];
        for (asked, files, secondary, expected) in cases {
            let case = format!("{asked:?} of {files} files, {secondary} secondary listeners");
            match (connections(asked, 10_000, files, secondary), expected) {
                (Ok(got), Ok(expected)) => assert_eq!(got, expected, "{case}"),
                (Err(error), Err(part)) => {
                    let error = error.to_string();
                    assert!(error.contains(part), "{case}: {error}");
                }
                (got, _) => panic!("{case}: {got:?}"),
            }
        }
    }
}
