//! The documents: links have targets, text that is in two places is the same in both, and the
//! README stays short.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use keystile_e2e::root;

const FOLDERS: [&str; 2] = ["", "docs"];

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|problem| panic!("{path}: {problem}"))
}

/// Returns the pages in these folders, by their path from the project's root.
fn pages() -> Vec<PathBuf> {
    let files = FOLDERS.iter().flat_map(|folder| {
        let files = fs::read_dir(root().join(folder)).unwrap();
        let names = files.map(|file| file.unwrap().file_name());
        names.map(|name| Path::new(folder).join(name))
    });
    files
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .collect()
}

/// Returns the targets of a page's links and pictures within the project.
fn links(page: &str) -> impl Iterator<Item = &str> {
    let targets = page
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split_once(')'));
    let targets = targets.map(|(target, _)| target);
    targets.filter(|target| !target.contains("://"))
}

/// Returns the anchors of a page's headings, as GitHub makes them.
fn anchors(page: &str) -> BTreeSet<String> {
    let headings = page.lines().filter_map(|line| {
        let heading = line.trim_start_matches('#');
        (heading.len() < line.len()).then(|| heading.trim())
    });
    let anchor = |heading: &str| {
        let kept = heading.chars().filter_map(|character| match character {
            ' ' => Some('-'),
            '-' | '_' => Some(character),
            _ if character.is_alphanumeric() => Some(character.to_ascii_lowercase()),
            _ => None,
        });
        kept.collect()
    };
    headings.map(anchor).collect()
}

#[test]
fn links_lead_somewhere() {
    let mut count = 0;
    for path in pages() {
        let page = read(path.to_str().unwrap());
        for link in links(&page) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => root().join(&path),
                _ => root().join(path.parent().unwrap()).join(file),
            };
            assert!(target.exists(), "{}: {link}", path.display());
            if !anchor.is_empty() {
                let page = fs::read_to_string(&target).unwrap();
                let has = anchors(&page).contains(anchor);
                assert!(has, "{}: no heading for {link}", path.display());
            }
            count += 1;
        }
    }
    assert!(count > 50, "only {count} links were found");
}

/// Returns the lines of the table that begins with this head.
fn table<'a>(page: &'a str, head: &str) -> Vec<&'a str> {
    let mut lines = page.lines().skip_while(|line| *line != head).peekable();
    assert!(lines.peek().is_some(), "no table {head}");
    lines.take_while(|line| line.starts_with('|')).collect()
}

#[test]
fn the_code_has_the_documented_decision_table() {
    let head = "| # | the request | outcome |";
    let code = read("src/lib.rs");
    let code: Vec<_> = code
        .lines()
        .filter_map(|line| line.strip_prefix("//! "))
        .collect();
    let (code, page) = (code.join("\n"), read("docs/decisions.md"));
    let documented = table(&page, head);
    assert_eq!(documented.len(), 2 + 11);
    assert_eq!(table(&code, head), documented);
}

/// Returns the first two cells, error and status, of each row.
fn errors(page: &str, head: &str) -> Vec<[String; 2]> {
    let rows = table(page, head).into_iter().skip(2).map(|row| {
        let mut cells = row.trim_start_matches("| ").split(" | ");
        [(); 2].map(|()| cells.next().unwrap().to_owned())
    });
    rows.collect()
}

#[test]
fn the_readme_has_all_errors() {
    let page = read("docs/replies.md");
    let head = "| error | status | gRPC | message | `www-authenticate` |";
    let readme = read("README.md");
    assert_eq!(
        errors(&readme, "| error | status | when |"),
        errors(&page, head)
    );
}

#[test]
fn the_readme_is_short_and_leads_to_each_page() {
    let page = read("README.md");
    assert!(page.len() <= 10 * 1024, "{} bytes", page.len());
    let linked: BTreeSet<_> = links(&page)
        .map(|link| link.split('#').next().unwrap_or_default().to_owned())
        .collect();
    let without = ["README.md", "CHANGELOG.md"];
    for path in pages() {
        let path = path.to_str().unwrap().to_owned();
        assert!(
            linked.contains(&path) || without.contains(&&*path),
            "{path} is not linked"
        );
    }
}
