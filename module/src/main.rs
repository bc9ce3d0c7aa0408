//! A step of `scripts/build-wasm.sh`: `keystile-module FROM TO` replaces the SDK's callbacks with the
//! filter's. The library says why.

use std::fs;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("keystile-module: {problem:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let [from, to] = arguments.as_slice() else {
        bail!("usage: keystile-module FROM TO");
    };
    let module = fs::read(from).with_context(|| from.display().to_string())?;
    let swapped = keystile_module::swap(&module).with_context(|| from.display().to_string())?;
    fs::write(to, swapped).with_context(|| to.display().to_string())
}
