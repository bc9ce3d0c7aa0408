//! How much memory a process has in RAM, according to `/proc`.
//!
//! WebAssembly's linear memories are recognised by their layout. V8 reserves 8 GiB of address space
//! for each, so that accesses need no bounds checks. It begins with the module's current memory,
//! readable and writable. Accesses to the rest trap. Nothing else in Envoy looks like that.

use anyhow::{Context, Result, ensure};

/// A linear memory has at most 4 GiB, so at least as much traps after it. The exact size is unknown,
/// because the kernel may join it with the next area.
const TRAPS: u64 = 4 << 30;

/// A part of the address space with the same permissions throughout.
struct Area {
    start: u64,
    end: u64,
    rights: String,
    resident: u64,
}

/// Returns the memory in RAM, in bytes, from `/proc/PID/status`.
pub(crate) fn resident(status: &str) -> Result<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    kib(line.context("no VmRSS: the process has ended")?)
}

/// Returns the private memory in RAM, in bytes, from `/proc/PID/smaps_rollup`. Deliberately without
/// `Private_Clean`: those are pages of the program's file, which are shared as soon as a second
/// process runs it, and which the kernel can drop.
pub(crate) fn private(rollup: &str) -> Result<u64> {
    let mut lines = rollup.lines();
    let line = lines.find_map(|line| line.strip_prefix("Private_Dirty:"));
    kib(line.context("no Private_Dirty: the process has ended")?)
}

/// Returns how much of all linear memories is in RAM, in bytes, from `/proc/PID/smaps`.
pub(crate) fn linear(smaps: &str) -> Result<u64> {
    let areas = areas(smaps)?;
    let memories = areas
        .iter()
        .zip(areas.iter().skip(1))
        .filter(|(memory, traps)| {
            memory.rights == "rw-p"
                && memory.end == traps.start
                && traps.rights == "---p"
                && traps.end - traps.start >= TRAPS
        });
    let resident: Vec<_> = memories.map(|(memory, _)| memory.resident).collect();
    ensure!(!resident.is_empty(), "no linear memory");
    Ok(resident.iter().sum())
}

fn kib(value: &str) -> Result<u64> {
    let value = value.trim().strip_suffix(" kB");
    Ok(value.context("the size is not in kB")?.parse::<u64>()? * 1024)
}

fn areas(smaps: &str) -> Result<Vec<Area>> {
    let mut areas: Vec<Area> = Vec::new();
    for line in smaps.lines() {
        let words: Vec<_> = line.split_whitespace().collect();
        match words[..] {
            ["Rss:", resident, "kB"] => {
                let area = areas
                    .last_mut()
                    .context("an Rss line before the first area")?;
                area.resident = resident.parse::<u64>()? * 1024;
            }
            [range, rights, _, _, _, ..] if !range.ends_with(':') => {
                let (start, end) = range.split_once('-').with_context(|| line.to_owned())?;
                areas.push(Area {
                    start: u64::from_str_radix(start, 16)?,
                    end: u64::from_str_radix(end, 16)?,
                    rights: rights.to_owned(),
                    resident: 0,
                });
            }
            _ => {}
        }
    }
    Ok(areas)
}
