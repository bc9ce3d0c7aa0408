use super::*;

/// Builds a module from text, with each part as given.
fn module(imports: &[&str], functions: &[(Option<&str>, String)], elements: &str) -> Vec<u8> {
    let mut text = String::from("(module\n");
    for name in imports {
        text += &format!("(import \"env\" {name:?} (func))\n");
    }
    text += "(memory (export \"memory\") 1)\n(table 9 funcref)\n";
    for (name, body) in functions {
        let export = name.map_or_else(String::new, |name| format!("(export {name:?})"));
        text += &format!("(func {export} {body})\n");
    }
    text +=
        &format!("(elem (i32.const 1) func {elements})\n(data (i32.const 8) \"proxy_on_tick\"))");
    wat::parse_str(text).unwrap()
}

/// Returns a function that can be told from others.
fn numbered(number: usize) -> String {
    format!("(result i32) (i32.const {number})")
}

/// What rustc exports: the filter's callbacks, and all of the SDK's.
fn built() -> Vec<String> {
    let ours = CALLBACKS.map(|name| name.replace(ABI, OURS));
    let kept = KEPT.into_iter().filter(|name| *name != "memory");
    let others = ["proxy_on_request_body", "proxy_on_log", "proxy_on_vm_start"];
    let all = ours.iter().map(String::as_str).chain(CALLBACKS);
    let all = all.chain(kept).chain(others);
    all.map(ToOwned::to_owned).collect()
}

fn exporting(names: &[&str]) -> Vec<u8> {
    let functions: Vec<_> = names
        .iter()
        .map(|name| (Some(*name), numbered(0)))
        .collect();
    module(&["proxy_log"], &functions, "0")
}

#[test]
fn sdk_callbacks_are_replaced_and_their_calls_removed() {
    let names = built();
    let last = 4 + names.len();
    let mut before = vec![(
        None,
        String::from("(call 0) (call 1) (call 2) (call 3) (call 4)"),
    )];
    let mut after = vec![(
        None,
        format!(
            "(call 0) (call {}) (call 1) (call {last}) (call 2)",
            last - 1
        ),
    )];
    let renamed: Vec<_> = names.iter().map(|name| name.replace(OURS, ABI)).collect();
    for (number, (name, renamed)) in names.iter().zip(&renamed).enumerate() {
        let is_listed = name.starts_with(OURS) || KEPT.contains(&&**name);
        before.push((Some(&**name), numbered(number)));
        after.push((is_listed.then_some(&**renamed), numbered(number)));
    }
    after.extend(vec![(None, String::from("unreachable")); 2]);
    let before = module(
        &[
            "proxy_log",
            "proxy_done",
            "clock_time_get",
            "proxy_grpc_call",
        ],
        &before,
        "0 1 2 3 4 5",
    );
    let elements = format!("0 {} 1 {last} 2 3", last - 1);
    let after = module(&["proxy_log", "clock_time_get"], &after, &elements);
    assert!(swap(&before).unwrap() == after);
}

#[test]
fn what_would_not_keep_to_the_lists_is_refused() {
    struct Case {
        name: &'static str,
        without: &'static str,
        with: &'static str,
        says: &'static str,
    }
    let cases = [
        Case {
            name: "a callback that the SDK alone has",
            without: "keystile_on_tick",
            with: "",
            says: "does not export proxy_on_tick; the filter",
        },
        Case {
            name: "without the SDK's allocator",
            without: "proxy_on_memory_allocate",
            with: "",
            says: "does not export proxy_on_memory_allocate",
        },
        Case {
            name: "without the start of wasi-libc",
            without: "_initialize",
            with: "",
            says: "does not export _initialize",
        },
        Case {
            name: "a callback that is in no list",
            without: "",
            with: "keystile_on_log",
            says: "exports proxy_on_log, which is not listed",
        },
        Case {
            name: "another export",
            without: "",
            with: "malloc",
            says: "exports malloc, which is not listed",
        },
    ];
    for case in cases {
        let mut names = built();
        names.retain(|name| name != case.without);
        let names = names.iter().map(String::as_str).chain([case.with]);
        let names: Vec<_> = names.filter(|name| !name.is_empty()).collect();
        let problem = swap(&exporting(&names)).expect_err(case.name).to_string();
        assert!(problem.contains(case.says), "{}: {problem}", case.name);
    }
}

#[test]
fn an_import_that_is_in_no_list_is_refused() {
    let names = built();
    let functions: Vec<_> = names
        .iter()
        .map(|name| (Some(&**name), numbered(0)))
        .collect();
    for (import, expected) in [
        ("proxy_log", None),
        ("fd_write", None),
        (
            "proxy_close_stream",
            Some(
                "the module imports proxy_close_stream, which is not listed in module/src/lists.rs",
            ),
        ),
    ] {
        let problem = swap(&module(&[import], &functions, "0")).err();
        let problem = problem.map(|problem| problem.to_string());
        assert_eq!(problem.as_deref(), expected, "{import}");
    }
}

#[test]
fn an_export_that_is_there_twice_is_refused() {
    // Such a module is invalid, and its text would be rejected. So the second name is changed in a
    // binary, to another of the same length.
    let mut names = built();
    names.push("keystile_on_tock".to_owned());
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let mut module = exporting(&names);
    let tock = b"keystile_on_tock";
    let at = module.windows(tock.len()).position(|bytes| bytes == tock);
    module[at.unwrap()..][..tock.len()].copy_from_slice(b"keystile_on_tick");
    let problem = swap(&module).expect_err("twice").to_string();
    assert_eq!(problem, "the module exports proxy_on_tick twice");
}

#[test]
fn what_is_no_module_is_refused() {
    for bytes in [&b"text"[..], b"", &exporting(&["_initialize"])[..60]] {
        let problem = swap(bytes).expect_err("no module");
        assert_eq!(problem.to_string(), "not a WebAssembly module");
    }
}
