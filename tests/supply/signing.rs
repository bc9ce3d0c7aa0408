//! A release that is signed verifies with the releaser's public key, and with nothing else; one that
//! was changed does not. The keys are made for the test and thrown away.

use std::fs::{self, File};
use std::io::{Seek, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

use anyhow::{Context, Result, ensure};
use keystile_e2e::root;
use tempfile::TempDir;

use crate::{Ran, commit, run, script};

/// What a release consists of.
pub(crate) const FILES: [&str; 5] = [
    "keystile.wasm",
    "keystile.wasm.sha256",
    "keystile.cdx.json",
    "keystile.provenance.json",
    "THIRD-PARTY-LICENSES",
];

/// A pair of keys without a password.
pub(crate) struct Keys {
    _folder: TempDir,
    pub(crate) secret: PathBuf,
    pub(crate) public: PathBuf,
}

impl Keys {
    pub(crate) fn throw_away() -> Result<Self> {
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

    /// A pair of keys whose secret one is encrypted.
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
        // It asks twice.
        generate.stdin(line(&format!("{password}\n{password}"))?);
        Ran::of(&mut generate)?.check(true, &[])?;
        Ok(Self {
            _folder: folder,
            secret,
            public,
        })
    }

    /// What a user does: whether a file's signature is this key's, and of these bytes.
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

/// The program, installed where it is missing.
fn minisign() -> Result<Command> {
    // One test at a time, as the package manager takes nobody beside itself.
    static INSTALLING: Mutex<()> = Mutex::new(());
    let _alone = INSTALLING.lock();
    Ran::of(script("setup.sh").args(["programs", "minisign"]))?.check(true, &[])?;
    Ok(Command::new("minisign"))
}

/// A standard input with a line in it.
fn line(text: &str) -> Result<File> {
    let mut file = tempfile::tempfile()?;
    writeln!(file, "{text}")?;
    file.rewind()?;
    Ok(file)
}

/// A folder with the files of a release that is none.
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
    let (keys, others) = (Keys::throw_away()?, Keys::throw_away()?);
    let release = release()?;
    let at = |file: &str| release.path().join(file);
    Ran::of(&mut sign(release.path(), &keys))?.check(true, &["signed, 5 files"])?;
    for file in FILES {
        let verified = keys.verify(&at(file))?;
        // The comment is verified too, so that the file is known to be this one.
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
    // One file's signature is not another's.
    let signature = |file: &str| at(&format!("{file}.minisig"));
    fs::copy(signature(FILES[1]), signature(FILES[0]))?;
    keys.verify(&at(FILES[0]))?.check(false, &[])?;

    // The same again, whatever the clock says.
    let before = fs::read(signature(FILES[1]))?;
    Ran::of(&mut sign(release.path(), &keys))?.check(true, &[])?;
    ensure!(fs::read(signature(FILES[1]))? == before, "other signatures");
    Ok(())
}

#[test]
fn a_key_with_a_password_signs() -> Result<()> {
    // With blanks, as passwords may have.
    let password = " right password ";
    let keys = Keys::with_password(password)?;
    let release = release()?;
    let mut sign = sign(release.path(), &keys);
    Ran::of(sign.stdin(line(password)?))?.check(true, &["signed, 5 files"])?;
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
fn what_cannot_be_signed_leaves_no_signature() -> Result<()> {
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
            name: "a key that is not there",
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
            says: "MINISIGN_PUBLIC_KEY names the one that users have",
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
            name: "a file that is no key",
            change: |sign, folder, others| {
                fs::write(folder.join("bad.key"), "no key\n")?;
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
                // They outlive this function.
                let (secret, public) = (folder.join("own.key"), folder.join("own.pub"));
                fs::copy(&keys.secret, &secret)?;
                fs::copy(&keys.public, &public)?;
                sign.env("MINISIGN_KEY", secret).stdin(line("wrong")?);
                Ok(())
            },
            says: "keystile.wasm was not signed",
        },
    ];
    let (keys, others) = (Keys::throw_away()?, Keys::throw_away()?);
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

/// What is wrong with a release is said before it is built.
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
