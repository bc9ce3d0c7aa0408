//! Runs all seeds of the fuzz targets without libFuzzer.

use std::fs;
use std::panic;
use std::path::Path;

use keystile_fuzz_oracles::TARGETS;

#[test]
fn every_seed_passes() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../seeds");
    let mut failed = Vec::new();
    for (name, target) in TARGETS {
        let folder = fs::read_dir(seeds.join(name)).expect(name);
        let mut paths: Vec<_> = folder.map(|entry| entry.expect(name).path()).collect();
        paths.sort();
        assert!(paths.len() > 10, "{name} has {} seeds", paths.len());
        for path in paths {
            let seed = fs::read(&path).expect(name);
            if panic::catch_unwind(|| target(&seed)).is_err() {
                failed.push(path);
            }
        }
    }
    assert!(
        failed.is_empty(),
        "these seeds failed; the panics are above: {failed:#?}"
    );
}
