//! A signed release verifies with the releaser's public key and with no other, and a changed one
//! does not verify. The keys are made for the test and thrown away.

use std::fs::{self, File};
use std::io::{Seek, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

use anyhow::{Context, Result, ensure};
use keystile_e2e::root;
use tempfile::TempDir;

use crate::{Ran, commit, run, script};

/// The files of a release.
pub(crate) const FILES: [&str; 5] = [
    "keystile.wasm",
    "keystile.wasm.sha256",
    "keystile.cdx.json",
    "keystile.provenance.json",
    "THIRD-PARTY-LICENSES",
];

/// A key pair.
pub(crate) struct Keys {
    _folder: TempDir,
    pub(crate) secret: PathBuf,
    pub(crate) public: PathBuf,
}

impl Keys {
    pub(crate) fn generate() -> Result<Self> {
        Ran::of(script("setup.sh").args(["programs", "minisign"]))?.check(true, &[])?;
        let folder = TempDir::new()?;
        let (secret, public) = (
            folder.path().join("test.key"),
            folder.path().join("test.pub"),
        );
        let mut generate = Command::new("minisign");
        generate
            .args(["-G", "-W", "-s"])
            .arg(&secret)
            .arg("-p")
            .arg(&public);
        Ran::of(&mut generate)?.check(true, &[])?;
        Ok(Self {
            _folder: folder,
            secret,
            public,
        })
    }

    /// Creates a key pair with an encrypted secret key.
    fn with_password(password: &str) -> Result<Self> {
        let folder = TempDir::new()?;
        let (secret, public) = (
            folder.path().join("test.key"),
            folder.path().join("test.pub"),
        );
        let mut generate = minisign()?;
        generate
            .arg("-G")
            .arg("-s")
            .arg(&secret)
            .arg("-p")
            .arg(&public);
        // minisign asks twice.
        generate.stdin(line(&format!("{password}\n{password}"))?);
        Ran::of(&mut generate)?.check(true, &[])?;
        Ok(Self {
            _folder: folder,
            secret,
            public,
        })
    }

    /// Checks a file's signature as a user does.
    pub(crate) fn verify(&self, file: &Path) -> Result<Ran> {
        let mut verify = Command::new("minisign");
        verify
            .arg("-V")
            .arg("-p")
            .arg(&self.public)
            .arg("-m")
            .arg(file);
        Ran::of(&mut verify)
    }
}

/// Returns a command for minisign, which is installed if it is missing.
fn minisign() -> Result<Command> {
    // One test at a time, because the package manager runs only once at a time.
    static INSTALLING: Mutex<()> = Mutex::new(());
    let _alone = INSTALLING.lock();
    Ran::of(script("setup.sh").args(["programs", "minisign"]))?.check(true, &[])?;
    Ok(Command::new("minisign"))
}

/// Returns a standard input that has one line.
fn line(text: &str) -> Result<File> {
    let mut file = tempfile::tempfile()?;
    writeln!(file, "{text}")?;
    file.rewind()?;
    Ok(file)
}

/// Returns a folder with the files of a pretended release.
fn release() -> Result<TempDir> {
    let folder = TempDir::new()?;
    for file in FILES {
        fs::write(folder.path().join(file), format!("this is {file}\n"))?;
    }
    Ok(folder)
}

fn sign(folder: &Path, keys: &Keys) -> Command {
    let mut sign = script("sign-release.sh");
    sign.arg(folder)
        .env("MINISIGN_KEY", &keys.secret)
        .env_remove("MINISIGN_PUBLIC_KEY")
        .stdin(Stdio::null());
    sign
}

fn signatures(folder: &Path) -> Result<usize> {
    let mut found = 0;
    for entry in fs::read_dir(folder)? {
        let is_signature = |path: PathBuf| path.extension().is_some_and(|e| e == "minisig");
        found += usize::from(is_signature(entry?.path()));
    }
    Ok(found)
}

#[test]
fn a_signed_release_verifies_and_a_changed_one_does_not() -> Result<()> {
    let (keys, others) = (Keys::generate()?, Keys::generate()?);
    let release = release()?;
    let at = |file: &str| release.path().join(file);
    Ran::of(&mut sign(release.path(), &keys))?.check(true, &["signed 5 files"])?;
    for file in FILES {
        let verified = keys.verify(&at(file))?;
        // The comment is verified too. It shows that the file is this one.
        let comment = format!(": {file}\n");
        verified
            .check(true, &["verified", &comment])
            .context(file)?;
        others
            .verify(&at(file))?
            .check(false, &[])
            .with_context(|| format!("{file}, another's key"))?;
        let text = fs::read_to_string(at(file))?;
        for (name, changed) in [
            ("changed", text.replacen("this", "That", 1)),
            ("longer", format!("{text}\n")),
            ("empty", String::new()),
        ] {
            fs::write(at(file), changed)?;
            keys.verify(&at(file))?
                .check(false, &["verification failed"])
                .with_context(|| format!("{file}, {name}"))?;
        }
        fs::write(at(file), text)?;
        keys.verify(&at(file))?.check(true, &[]).context(file)?;
    }
    // A file's signature is not valid for another file.
    let signature = |file: &str| at(&format!("{file}.minisig"));
    fs::copy(signature(FILES[1]), signature(FILES[0]))?;
    keys.verify(&at(FILES[0]))?.check(false, &[])?;

    // Signing again gives the same bytes, whatever the clock says.
    let before = fs::read(signature(FILES[1]))?;
    Ran::of(&mut sign(release.path(), &keys))?.check(true, &[])?;
    ensure!(fs::read(signature(FILES[1]))? == before, "other signatures");
    Ok(())
}

#[test]
fn a_key_with_a_password_signs() -> Result<()> {
    // With spaces, because passwords may have some.
    let password = " right password ";
    let keys = Keys::with_password(password)?;
    let release = release()?;
    let mut sign = sign(release.path(), &keys);
    Ran::of(sign.stdin(line(password)?))?.check(true, &["signed 5 files"])?;
    for file in FILES {
        keys.verify(&release.path().join(file))?
            .check(true, &[])
            .context(file)?;
    }
    Ok(())
}

struct Case {
    name: &'static str,
    change: fn(&mut Command, &Path, &Keys) -> Result<()>,
    says: &'static str,
}

#[test]
fn a_failed_signing_leaves_no_signature() -> Result<()> {
    let cases = [
        Case {
            name: "no key",
            change: |sign, _, _| {
                sign.env_remove("MINISIGN_KEY");
                Ok(())
            },
            says: "MINISIGN_KEY is not set",
        },
        Case {
            name: "a key file that does not exist",
            change: |sign, folder, _| {
                sign.env("MINISIGN_KEY", folder.join("none.key"));
                Ok(())
            },
            says: "none.key is not a file",
        },
        Case {
            name: "no public key",
            change: |sign, folder, _| {
                sign.env("MINISIGN_PUBLIC_KEY", folder.join("none.pub"));
                Ok(())
            },
            says: "set MINISIGN_PUBLIC_KEY to the one that users have",
        },
        Case {
            name: "another's public key",
            change: |sign, _, others| {
                sign.env("MINISIGN_PUBLIC_KEY", &others.public);
                Ok(())
            },
            says: "does not verify with",
        },
        Case {
            name: "a file is missing",
            change: |_, folder, _| Ok(fs::remove_file(folder.join("THIRD-PARTY-LICENSES"))?),
            says: "THIRD-PARTY-LICENSES is missing",
        },
        Case {
            name: "a file that is not a key",
            change: |sign, folder, others| {
                fs::write(folder.join("bad.key"), "not a key\n")?;
                sign.env("MINISIGN_KEY", folder.join("bad.key"))
                    .env("MINISIGN_PUBLIC_KEY", &others.public);
                Ok(())
            },
            says: "keystile.wasm was not signed",
        },
        Case {
            name: "a wrong password",
            change: |sign, folder, _| {
                let keys = Keys::with_password("right")?;
                // The copies outlive this function.
                let (secret, public) = (folder.join("own.key"), folder.join("own.pub"));
                fs::copy(&keys.secret, &secret)?;
                fs::copy(&keys.public, &public)?;
                sign.env("MINISIGN_KEY", secret).stdin(line("wrong")?);
                Ok(())
            },
            says: "keystile.wasm was not signed",
        },
    ];
    let (keys, others) = (Keys::generate()?, Keys::generate()?);
    for case in cases {
        let release = release()?;
        let mut sign = sign(release.path(), &keys);
        (case.change)(&mut sign, release.path(), &others)?;
        Ran::of(&mut sign)?
            .check(false, &[case.says])
            .context(case.name)?;
        let left = signatures(release.path())?;
        ensure!(left == 0, "{}: {left} signatures are left", case.name);
    }
    Ok(())
}

/// Problems are reported before anything is built.
#[test]
fn a_release_that_cannot_be_made_is_refused_at_once() -> Result<()> {
    type Prepare = fn(&mut Command, &Path) -> Result<()>;
    let cases: [(&str, Prepare, &str); 4] = [
        (
            "no commit",
            |_, _| Ok(()),
            "this is not a Git repository with a commit",
        ),
        (
            "a file that is not committed",
            |_, folder| {
                commit(folder)?;
                Ok(fs::write(folder.join("another"), "")?)
            },
            "the sources differ from commit",
        ),
        (
            "another way of signing",
            |release, folder| {
                commit(folder)?;
                release.env("SIGN", "cosign");
                Ok(())
            },
            "SIGN=cosign is neither empty nor minisign",
        ),
        (
            "no key to sign with",
            |release, folder| {
                commit(folder)?;
                release.env("SIGN", "minisign").env_remove("MINISIGN_KEY");
                Ok(())
            },
            "MINISIGN_KEY is not set",
        ),
    ];
    for (name, prepare, says) in cases {
        let folder = TempDir::new()?;
        let folder = folder.path();
        run(folder, "mkdir", &["scripts"])?;
        for script in ["release.sh", "sign-release.sh", "setup.sh"] {
            fs::copy(
                root().join("scripts").join(script),
                folder.join("scripts").join(script),
            )?;
        }
        let mut release = Command::new(folder.join("scripts/release.sh"));
        release
            .env_remove("SIGN")
            .env_remove("ALLOW_DIRTY")
            .env("GIT_CEILING_DIRECTORIES", folder);
        prepare(&mut release, folder)?;
        Ran::of(&mut release)?.check(false, &[says]).context(name)?;
        ensure!(!folder.join("dist").exists(), "{name}: something was built");
    }
    Ok(())
}
