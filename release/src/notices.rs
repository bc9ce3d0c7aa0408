//! The licence texts: each once, with the components that it belongs to.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::fs;

use anyhow::{Context, Result, ensure};

use crate::contents::Component;

/// The shortest text that counts as a licence, in bytes. A shorter one only refers to a licence.
const SHORTEST: usize = 500;
const LINE: &str = "==============================================================================";

/// All texts, and which component has which.
pub(crate) struct Notices {
    /// A line for each component, and the numbers of its texts.
    components: Vec<(String, Vec<usize>)>,
    texts: Vec<Text>,
}

struct Text {
    text: String,
    of: Vec<String>,
}

impl Notices {
    pub(crate) fn read(components: &[Component]) -> Result<Self> {
        let mut this = Self {
            components: Vec::new(),
            texts: Vec::new(),
        };
        let mut known = BTreeMap::new();
        for component in components {
            let name = format!("{} {}", component.name, component.version);
            let mut numbers = Vec::new();
            let mut longest = 0;
            for path in &component.texts {
                let text =
                    fs::read_to_string(path).with_context(|| format!("{}", path.display()))?;
                let text = tidy(&text);
                longest = longest.max(text.len());
                let number = *known.entry(text.clone()).or_insert_with(|| {
                    this.texts.push(Text {
                        text,
                        of: Vec::new(),
                    });
                    this.texts.len()
                });
                if let Some(text) = this.texts.get_mut(number - 1) {
                    text.of.push(name.clone());
                }
                numbers.push(number);
            }
            ensure!(
                longest >= SHORTEST,
                "{name} ({}) comes without a full licence text",
                component.license
            );
            this.components
                .push((format!("{name} | {}", component.license), numbers));
        }
        Ok(this)
    }
}

impl Display for Notices {
    fn fmt(&self, to: &mut Formatter<'_>) -> fmt::Result {
        writeln!(
            to,
            "Components of keystile.wasm other than Keystile: name and version, licence, and the numbers of\n\
             its texts below. If a licence has OR, you may choose one.\n"
        )?;
        for (component, numbers) in &self.components {
            let numbers: Vec<_> = numbers.iter().map(usize::to_string).collect();
            writeln!(to, "{component} | {}", numbers.join(", "))?;
        }
        for (number, Text { text, of }) in (1..).zip(&self.texts) {
            writeln!(
                to,
                "\n{LINE}\nText {number}, of {}\n{LINE}\n\n{text}",
                of.join(", ")
            )?;
        }
        Ok(())
    }
}

/// Removes what texts may differ in: line endings, spaces before them, and empty lines at either end.
fn tidy(text: &str) -> String {
    let lines: Vec<_> = text.lines().map(str::trim_end).collect();
    lines.join("\n").trim_matches('\n').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn component(name: &str, folder: &std::path::Path, texts: &[(&str, String)]) -> Component {
        let texts = texts.iter().map(|(file, text)| {
            let path = folder.join(format!("{name}-{file}"));
            fs::write(&path, text).unwrap();
            path
        });
        Component {
            name: name.to_owned(),
            version: "1.0.0".to_owned(),
            license: "MIT".to_owned(),
            purl: format!("pkg:cargo/{name}@1.0.0"),
            checksum: None,
            texts: texts.collect(),
        }
    }

    #[test]
    fn each_text_is_written_once() {
        let folder = tempfile::tempdir().unwrap();
        let long = "free of charge\n".repeat(50);
        let windows = long.replace('\n', "\r\n");
        let components = [
            component("a", folder.path(), &[("LICENSE", long)]),
            component(
                "b",
                folder.path(),
                &[("COPYING", "See LICENSE".to_owned()), ("LICENSE", windows)],
            ),
        ];
        let notices = Notices::read(&components).unwrap().to_string();
        for line in [
            "a 1.0.0 | MIT | 1",
            "b 1.0.0 | MIT | 2, 1",
            "Text 1, of a 1.0.0, b 1.0.0",
            "Text 2, of b 1.0.0",
        ] {
            assert!(
                notices.lines().any(|other| other == line),
                "{line}: {notices}"
            );
        }
        assert_eq!(notices.matches("free of charge").count(), 50);
    }

    #[test]
    fn what_has_no_full_text_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let cases: [(&str, Vec<(&str, String)>); 2] = [
            ("none", vec![]),
            ("short", vec![("LICENSE", "MIT OR Apache-2.0".to_owned())]),
        ];
        for (name, texts) in cases {
            let refused = Notices::read(&[component(name, folder.path(), &texts)]).err();
            let problem = refused
                .map(|problem| problem.to_string())
                .unwrap_or_default();
            assert_eq!(
                problem,
                format!("{name} 1.0.0 (MIT) comes without a full licence text")
            );
        }
    }
}
