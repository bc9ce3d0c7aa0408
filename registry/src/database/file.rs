//! The files of a SQLite database. They hold key hashes and accounts, so other users must not read
//! them, and whoever can write to them can let any key in.

use std::ffi::OsString;
use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Read and write, for the owner alone.
const PRIVATE: u32 = 0o600;

/// Read and write, for everyone else.
const OTHERS: u32 = 0o066;

/// The most symbolic links on the way to a file, as Linux has it.
const MOST_LINKS: usize = 40;

/// A file that other users may read or write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Exposed {
    pub(crate) path: PathBuf,
    /// Its permissions, such as `0o644`.
    pub(crate) mode: u32,
}

/// Creates the file of a database if it is missing, for its owner alone, whatever the umask. SQLite
/// gives the files beside it the same mode. An existing file is left as it is. Returns whether the
/// file was missing, or empty, which SQLite takes for a new database.
///
/// # Errors
/// The file cannot be created, or its directory cannot be read.
pub(super) fn create(path: &Path) -> io::Result<bool> {
    let mut path = path.to_owned();
    for _ in 0..MOST_LINKS {
        // Deliberately never opens an existing file: closing it would release the locks that other
        // connections of this process hold on it.
        let created = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(PRIVATE)
            .open(&path);
        match created {
            Ok(file) => {
                // The umask may have taken too much. File systems without modes refuse this, and
                // `exposed` then reports what they show.
                let _ = file.set_permissions(Permissions::from_mode(PRIVATE));
                return Ok(true);
            }
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
            Err(_) => {}
        }
        match fs::metadata(&path) {
            Ok(metadata) => return Ok(metadata.len() == 0),
            // A link to a file that does not exist yet.
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let to = fs::read_link(&path)?;
                path = path.parent().unwrap_or(Path::new("")).join(to);
            }
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other("too many symbolic links"))
}

/// Those of a database's files that other users may read or write.
pub(super) fn exposed(path: &Path) -> Vec<Exposed> {
    let of_end = |end: &str| {
        let mut path = OsString::from(path);
        path.push(end);
        let path = PathBuf::from(path);
        let mode = fs::metadata(&path).ok()?.permissions().mode() & 0o777;
        (mode & OTHERS != 0).then_some(Exposed { path, mode })
    };
    let ends = ["", "-wal", "-shm"].into_iter();
    ends.filter_map(of_end).collect()
}
