//! Who runs a command.

use std::env;

use nix::unistd::{User as Account, geteuid};

/// The longest name that is logged, in characters.
const LONGEST: usize = 64;

/// The user on whose behalf a command runs.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct User {
    /// `cli:NAME` with the name of the effective user, or its number where it has no name.
    pub(crate) actor: String,
    /// Who ran sudo, as `SUDO_USER` says. The user can set that variable to anything.
    pub(crate) sudo_user: Option<String>,
}

impl User {
    /// The user of this process.
    pub(crate) fn current() -> Self {
        let user = geteuid();
        // Where the system's users cannot be read, there is still the number.
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

/// A name such as systems have, for one line of the log: other characters are `?`, and it is cut
/// where it is too long.
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
