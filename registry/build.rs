//! Rebuilds when a migration is added: `sqlx::migrate!` alone notices only changes to the files
//! that it has already read.

fn main() {
    println!("cargo::rerun-if-changed=migrations");
}
