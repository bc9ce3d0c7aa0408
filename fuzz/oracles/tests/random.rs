//! Random scripts for the target `verdicts`, in which events are about as frequent as in practice.

use std::panic;

use keystile_fuzz_oracles::verdicts;

/// xorshift64*, which is good enough here.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33;
        usize::try_from(number).expect("31 bits") % end
    }

    fn of(&mut self, bytes: &[u8]) -> char {
        char::from(bytes[self.below(bytes.len())])
    }
}

fn script(seed: u64) -> String {
    let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let mut script = random.of(b"011234556667").to_string();
    // Some scripts have a feed that answers, and some a single key.
    script.push_str(["", " q", " q"][random.below(3)]);
    let keys: &[u8] = [&b"012"[..], b"0"][random.below(2)];
    // Many requests at a time are slow.
    let many = [
        String::new(),
        String::new(),
        format!("m{}", random.of(keys)),
    ];
    let many = &many[random.below(many.len())];
    for _ in 0..400 {
        let key = random.of(keys);
        let any = random.of(b"0123");
        let kind = random.of(b"AAAAAASEMmBRRTNNn55UXO0");
        let event = match random.below(200) {
            0..48 => format!("a{key}"),
            48..96 => format!("l{any}{kind}"),
            96..144 => format!("t{}", random.of(b"001122233456789abcd")),
            144..152 => format!("v{any}"),
            152..165 => format!("p{}", random.of(b"1234567cccrlfo")),
            165..170 => format!("x{key}"),
            170..177 => format!("y{key}"),
            177..181 => format!("i{key}{kind}"),
            181..183 => format!("j{key}"),
            183..187 => format!("o{any}"),
            187..191 => random.of(b"qr").to_string(),
            191..193 => format!("b{any}"),
            193..195 => format!("g{any}"),
            195 => many.clone(),
            _ => format!("w{any}"),
        };
        script.push(' ');
        script.push_str(&event);
    }
    // Some scripts end before every request has its verdict.
    script.push_str(["", " z"][random.below(2)]);
    script
}

#[test]
fn random_scripts() {
    for seed in 1..=2_000 {
        let script = script(seed);
        let passed = panic::catch_unwind(|| verdicts(script.as_bytes()));
        assert!(
            passed.is_ok(),
            "seed {seed} failed; the panic is above: {script}"
        );
    }
}
