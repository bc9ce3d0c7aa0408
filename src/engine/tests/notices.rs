//! What operators are told once about the auth cluster's answers.

use super::*;
use crate::engine::host::Level;

/// Returns the new lines of the log that contain a text.
fn told(scene: &Scene, text: &str) -> Vec<(Level, String)> {
    let lines = scene.host.log.iter();
    let lines = lines.filter(|(_, line)| line.contains(text));
    lines.cloned().collect()
}

#[test]
fn whether_answers_carry_the_hash_is_told_once() {
    for (named, level, words) in [
        (true, Level::Info, "carry x-keystile-key-hash. Set"),
        (false, Level::Warn, "do not carry x-keystile-key-hash, so"),
    ] {
        let mut scene = Scene::new(EXACT);
        scene.happens(0, "A asks about k1");
        scene.happens(0, "A gets 500");
        assert_eq!(told(&scene, "carry").len(), 0, "a failure says nothing");
        for key in ["k1", "k2"] {
            let name = format!("x-keystile-key-hash: {}", hash(key));
            let name = if named {
                format!(", {name}")
            } else {
                String::new()
            };
            scene.happens(1, &format!("A asks about {key}"));
            scene.happens(1, &format!("A gets not_found{name}"));
        }
        let lines = told(&scene, "carry");
        assert!(
            matches!(&lines[..], [(is, line)] if *is == level && line.contains(words)),
            "{lines:?}"
        );
    }
}

#[test]
fn endpoints_that_can_never_match_are_told_once_for_each_key() {
    let cases = [
        (r#"["/v1/*"]"#, Some(r#""/v1/*""#)),
        (r#"["v1/astro"]"#, Some(r#""v1/astro""#)),
        (r#"["*"]"#, Some(r#""*""#)),
        (r#"[""]"#, Some(r#""""#)),
        (r#"["/v1", "a\r\nb"]"#, Some(r#""a\r\nb""#)),
        (r#"["/v1"]"#, None),
        ("[]", None),
        ("null", None),
    ];
    for (endpoints, named) in cases {
        let mut scene = Scene::new(EXACT);
        for key in ["k1", "k1", "k2"] {
            let stream = scene.request(key, "/v2", at(0));
            let token = scene.host.callouts[0].token;
            let record = format!(
                r#"{{"key_id":"id_{key}","status":"active","environment":"production","endpoints":{endpoints}}}"#
            );
            let headers: [(&str, &[u8]); 2] = [(":status", b"200"), ("cache-control", b"no-store")];
            let host = &mut scene.host;
            host.answers(&mut scene.engine, token, &headers, record.as_bytes(), at(1));
            host.leaves(&mut scene.engine, stream);
        }
        let lines = told(&scene, "can never match");
        let Some(named) = named else {
            assert_eq!(lines, [], "{endpoints}");
            continue;
        };
        let expected = ["k1", "k2"].map(|key| format!("endpoint {named} of key id_{key} can"));
        assert_eq!(lines.len(), 2, "{endpoints}");
        for ((level, line), expected) in lines.iter().zip(expected) {
            assert_eq!(*level, Level::Warn);
            assert!(line.contains(&expected), "{line}");
        }
    }
}
