//! The files of a SQLite database. They hold key hashes and accounts, so other users must not read
//! them. Anyone who can write to them can let any key in.

use std::ffi::OsString;
use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Read and write for the owner only.
const PRIVATE: u32 = 0o600;

/// Read and write for everyone else.
const OTHERS: u32 = 0o066;

/// The most symbolic links that are followed to a file; the same limit as on Linux.
const MOST_LINKS: usize = 40;

/// A file that other users may read or write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Exposed {
    pub(crate) path: PathBuf,
    /// Its permissions, such as `0o644`.
    pub(crate) mode: u32,
}

/// Creates a database's file if it is missing, private to its owner whatever the umask. SQLite
/// creates the files next to it with the same mode. An existing file is not changed. Returns
/// whether the file was missing or empty, because SQLite takes an empty file for a new database.
///
/// # Errors
/// When the file cannot be created, or its directory cannot be read.
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
                // The umask may have removed too many permissions. File systems without modes
                // refuse this call, and `exposed` then reports the mode that they show.
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

/// Returns the database's files that other users may read or write.
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
