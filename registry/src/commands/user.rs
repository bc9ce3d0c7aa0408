//! The user who runs a command.

use std::env;

use nix::unistd::{User as Account, geteuid};

/// The longest name that is logged, in characters.
const LONGEST: usize = 64;

/// The user on whose behalf a command runs.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct User {
    /// `cli:NAME`, with the name of the effective user, or its ID if it has no name.
    pub(crate) actor: String,
    /// The user who ran sudo, according to `SUDO_USER`. Users can set that variable to anything.
    pub(crate) sudo_user: Option<String>,
}

impl User {
    /// Returns the user of this process.
    pub(crate) fn current() -> Self {
        let user = geteuid();
        // If the system's users cannot be read, the user ID is still known.
        let account = Account::from_uid(user).ok().flatten();
        let name = account.map_or_else(|| user.to_string(), |account| account.name);
        let sudo_user = env::var_os("SUDO_USER");
        Self {
            actor: format!("cli:{}", plain(&name)),
            sudo_user: sudo_user
                .filter(|name| !name.is_empty())
                .map(|name| plain(&name.to_string_lossy())),
        }
    }
}

/// Returns a name that is safe in a log line: unusual characters become `?`, and long names are cut.
fn plain(name: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || "._-@$+\\".contains(c);
    let characters = name.chars().take(LONGEST);
    characters.map(|c| if fits(c) { c } else { '?' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_one_plain_word() {
        let cases = [
            ("alice", "alice"),
            ("DOMAIN\\alice.b-c_d@host$", "DOMAIN\\alice.b-c_d@host$"),
            ("1000", "1000"),
            ("a b", "a?b"),
            ("a\n2026-01-01 INFO forged", "a?2026-01-01?INFO?forged"),
            ("\u{1b}[31mred", "??31mred"),
            ("a\" level=\"error", "a??level??error"),
            ("größer", "gr??er"),
        ];
        for (name, expected) in cases {
            assert_eq!(plain(name), expected, "{name:?}");
        }
        assert_eq!(plain(&"x".repeat(10_000)).len(), LONGEST);
    }
}
