//! What `serve` does beside answering.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{Registry, field, get};
use crate::test_database::{TestDatabase, on_both};

on_both! {
    old_changes_are_pruned,
}

async fn old_changes_are_pruned(database: TestDatabase) {
    let registry = Registry::on(database);
    let args = ["serve", "--listen=127.0.0.1:0", "--json"];
    let mut command = registry.command(&args);
    command.arg("--keep-changes=0s");
    let server = registry.start(command);
    registry.json(&["create", "--account=a"]);
    let newest = get(server.address, "/v1/changes").1;
    let start = field(&newest, "cursor").replace("-1", "-0");
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let news = get(server.address, &format!("/v1/changes?after={start}")).1;
        if news["reset"] == json!(true) {
            break;
        }
        assert!(Instant::now() < deadline, "{news}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(registry.json(&["list"]).as_array().map(Vec::len), Some(1));
}
