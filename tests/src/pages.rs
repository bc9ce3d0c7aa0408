//! Code blocks on the pages of the documentation.

/// Returns the YAML blocks of a page.
pub fn yaml_blocks(page: &str) -> impl Iterator<Item = &str> {
    blocks(page, "```yaml\n")
}

/// Returns the JSON blocks of a page.
pub fn json_blocks(page: &str) -> impl Iterator<Item = &str> {
    blocks(page, "```json\n")
}

fn blocks<'a>(page: &'a str, begin: &'static str) -> impl Iterator<Item = &'a str> {
    let blocks = page.split(begin).skip(1);
    blocks.filter_map(|block| block.split("```").next())
}
