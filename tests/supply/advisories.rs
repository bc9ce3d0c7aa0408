//! The check for advisories fails if there is one. If the database cannot be reached, it passes and
//! says so.

use std::fs;
use std::net::TcpListener;

use anyhow::{Context, Result, ensure};
use keystile_e2e::root;
use tempfile::TempDir;

use crate::{Ran, commit, script};

/// The database's address in the configuration. Git is told to use another one instead.
const DATABASE: &str = "https://advisories.test/db";

struct Case {
    name: &'static str,
    /// The crate that the database has an advisory about.
    about: &'static str,
    reach: Reach,
    /// The value of `ADVISORIES`.
    required: &'static str,
    succeeds: bool,
    says: &'static [&'static str],
    says_not: &'static [&'static str],
}

enum Reach {
    Reached,
    /// There is nothing at the address.
    Nothing,
    /// A server accepts connections and never answers.
    Silence,
    /// The configuration cannot be read.
    Unreadable,
}

#[test]
fn an_advisory_fails_and_an_absent_database_does_not() -> Result<()> {
    let found = &["RUSTSEC-2099-0001", "advisories FAILED"];
    let cases = [
        Case {
            name: "about a crate of the filter",
            about: "sha2",
            reach: Reach::Reached,
            required: "",
            succeeds: false,
            says: found,
            says_not: &["NOT CHECKED"],
        },
        Case {
            name: "about a crate of the registry alone",
            about: "sqlx",
            reach: Reach::Reached,
            required: "",
            succeeds: false,
            says: found,
            says_not: &["NOT CHECKED"],
        },
        Case {
            name: "about a crate that is not used",
            about: "keystile-has-no-such-crate",
            reach: Reach::Reached,
            required: "required",
            succeeds: true,
            says: &["advisories ok"],
            says_not: &["NOT CHECKED"],
        },
        Case {
            name: "no database",
            about: "sha2",
            reach: Reach::Nothing,
            required: "",
            succeeds: true,
            says: &["NOT CHECKED", "cannot be reached"],
            says_not: &["advisories ok"],
        },
        Case {
            name: "no database, but required",
            about: "sha2",
            reach: Reach::Nothing,
            required: "required",
            succeeds: false,
            says: &["NOT CHECKED", "cannot be reached"],
            says_not: &[],
        },
        Case {
            name: "a database that does not answer",
            about: "sha2",
            reach: Reach::Silence,
            required: "",
            succeeds: true,
            says: &["NOT CHECKED", "no answer in 2 s"],
            says_not: &[],
        },
        Case {
            name: "a configuration that cannot be read",
            about: "sha2",
            reach: Reach::Unreadable,
            required: "",
            succeeds: false,
            says: &["the advisory database cannot be used"],
            says_not: &["NOT CHECKED"],
        },
        Case {
            name: "an unknown value",
            about: "sha2",
            reach: Reach::Nothing,
            required: "requierd",
            succeeds: false,
            says: &["ADVISORIES=requierd is neither empty nor required"],
            says_not: &[],
        },
    ];
    ensure!(
        root().join(".tools/cargo/bin/cargo-deny").is_file(),
        "cargo-deny is missing; run scripts/setup.sh lint"
    );
    for case in cases {
        check(&case).context(case.name)?;
    }
    Ok(())
}

fn check(case: &Case) -> Result<()> {
    let folder = TempDir::new()?;
    let database = folder.path().join("db");
    let advisories = database.join("crates").join(case.about);
    fs::create_dir_all(&advisories)?;
    fs::write(
        advisories.join("RUSTSEC-2099-0001.md"),
        advisory(case.about),
    )?;
    commit(&database)?;

    let section = "[advisories]\n";
    let shipped = fs::read_to_string(root().join("deny.toml"))?;
    ensure!(shipped.contains(section), "deny.toml has no {section:?}");
    let ours = format!(
        "{section}db-path = {:?}\ndb-urls = [\"{DATABASE}\"]\n{}",
        folder.path().join("fetched"),
        match case.reach {
            Reach::Unreadable => "yanked = \"sometimes\"\n",
            _ => "",
        }
    );
    let configuration = folder.path().join("deny.toml");
    fs::write(&configuration, shipped.replace(section, &ours))?;

    let listener = TcpListener::bind("127.0.0.1:0")?;
    let instead = match case.reach {
        Reach::Reached | Reach::Unreadable => format!("file://{}", database.display()),
        Reach::Nothing => format!("file://{}/nothing", folder.path().display()),
        Reach::Silence => format!("git://{}/db", listener.local_addr()?),
    };
    let timeout = match case.reach {
        Reach::Silence => "2",
        _ => "60",
    };
    let mut command = script("check-advisories.sh");
    command
        .arg(&configuration)
        .env("ADVISORIES", case.required)
        .env("ADVISORIES_TIMEOUT", timeout)
        .env("GIT_CONFIG_COUNT", "1")
        .env("GIT_CONFIG_KEY_0", format!("url.{instead}.insteadOf"))
        .env("GIT_CONFIG_VALUE_0", DATABASE);
    let ran = Ran::of(&mut command)?;
    ran.check(case.succeeds, case.says)?;
    for unexpected in case.says_not {
        ensure!(
            !ran.said.contains(unexpected),
            "{unexpected:?}: {}",
            ran.said
        );
    }
    Ok(())
}

fn advisory(about: &str) -> String {
    format!(
        "```toml\n[advisory]\nid = \"RUSTSEC-2099-0001\"\npackage = \"{about}\"\ndate = \"2099-01-01\"\n\n\
         [versions]\npatched = []\n```\n\n# A made-up flaw\n\nFor a test.\n"
    )
}
