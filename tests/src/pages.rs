//! Code blocks on the pages of the documentation.

/// Returns the YAML blocks of a page.
pub fn yaml_blocks(page: &str) -> impl Iterator<Item = &str> {
    let blocks = page.split("```yaml\n").skip(1);
    blocks.filter_map(|block| block.split("```").next())
}
