//! See the function of the same name in `keystile_fuzz_oracles`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| keystile_fuzz_oracles::lookup_answer(input));
