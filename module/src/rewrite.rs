//! Copies a module, with other exports and fewer imports.
//!
//! Functions are numbered: first the imported ones, then the module's own. When an import is left
//! out, each function after it gets another number. The replacement for the import is numbered last.

use std::convert::Infallible;

use anyhow::{Result, anyhow};
use wasm_encoder::reencode::{self, Reencode, utils};
use wasm_encoder::{CodeSection, ExportSection, Function, FunctionSection, ImportSection};
use wasmparser::{
    CodeSectionReader, Export, FunctionSectionReader, ImportSectionReader, Imports, Parser, Payload,
};

use crate::lists::{KEPT, SDK_CALLS};
use crate::{ABI, OURS, imports, payloads};

type Done<T = ()> = Result<T, reencode::Error<Infallible>>;

pub(crate) fn rewritten(module: &[u8]) -> Result<Vec<u8>> {
    let mut rewrite = Rewrite::of(module)?;
    let mut rewritten = wasm_encoder::Module::new();
    rewrite
        .parse_core_module(&mut rewritten, Parser::new(0), module)
        .map_err(|problem| anyhow!("cannot rewrite the module: {problem}"))?;
    Ok(rewritten.finish())
}

struct Rewrite {
    /// The new number of each imported function.
    imported: Vec<u32>,
    /// The types of the imports that are left out.
    left_out: Vec<u32>,
}

impl Rewrite {
    fn of(module: &[u8]) -> Result<Self> {
        let mut own = 0;
        for payload in payloads(module) {
            if let Payload::FunctionSection(section) = payload? {
                own = section.count();
            }
        }
        let imports = imports(module)?;
        let is_kept = |(name, _): &&(&str, u32)| !SDK_CALLS.contains(name);
        let mut next_kept = 0;
        let mut next_left_out = own + count(imports.iter().filter(is_kept));
        let mut rewrite = Self {
            imported: Vec::new(),
            left_out: Vec::new(),
        };
        for import in &imports {
            let next = if is_kept(&import) {
                &mut next_kept
            } else {
                rewrite.left_out.push(import.1);
                &mut next_left_out
            };
            rewrite.imported.push(*next);
            *next += 1;
        }
        Ok(rewrite)
    }
}

fn count<T>(of: impl Iterator<Item = T>) -> u32 {
    of.fold(0, |count, _| count + 1)
}

impl Reencode for Rewrite {
    type Error = Infallible;

    fn function_index(&mut self, function: u32) -> Done<u32> {
        let before = usize::try_from(function).unwrap_or(usize::MAX);
        Ok(match self.imported.get(before) {
            Some(now) => *now,
            None => function - count(self.left_out.iter()),
        })
    }

    fn parse_import_section(
        &mut self,
        section: &mut ImportSection,
        before: ImportSectionReader<'_>,
    ) -> Done {
        for import in before.into_imports() {
            let import = import?;
            if !SDK_CALLS.contains(&import.name) {
                self.parse_imports(section, Imports::Single(0, import))?;
            }
        }
        Ok(())
    }

    fn parse_function_section(
        &mut self,
        section: &mut FunctionSection,
        before: FunctionSectionReader<'_>,
    ) -> Done {
        utils::parse_function_section(self, section, before)?;
        for ty in &self.left_out {
            section.function(*ty);
        }
        Ok(())
    }

    fn parse_code_section(
        &mut self,
        section: &mut CodeSection,
        before: CodeSectionReader<'_>,
    ) -> Done {
        utils::parse_code_section(self, section, before)?;
        for _ in &self.left_out {
            let mut function = Function::new([]);
            function.instructions().unreachable().end();
            section.function(&function);
        }
        Ok(())
    }

    fn parse_export(&mut self, section: &mut ExportSection, export: Export<'_>) -> Done {
        let ours = export.name.strip_prefix(OURS);
        // An export of the SDK that is in no list.
        if ours.is_none() && export.name.starts_with("proxy_") && !KEPT.contains(&export.name) {
            return Ok(());
        }
        let name = ours.map_or_else(|| export.name.to_owned(), |rest| format!("{ABI}{rest}"));
        let name = &name;
        utils::parse_export(self, section, Export { name, ..export })
    }
}
