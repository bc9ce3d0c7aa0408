mod accepted;
#[allow(
    clippy::arithmetic_side_effects,
    clippy::string_slice,
    reason = "of the tests' own texts"
)]
mod broken;
mod documented;
