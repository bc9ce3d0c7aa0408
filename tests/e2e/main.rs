//! End to end: real Envoy, the real module, the real registry on a real database.
//!
//! Each row of a table is a separate test, which `cargo test` can select by name.

mod broken_feed;
mod by_address;
mod cache;
mod capabilities;
mod coalescing;
mod decisions;
mod discovered;
mod docker_files;
mod feed;
mod files;
mod identities;
mod introspection;
mod leaks;
mod leaving;
mod log_formats;
mod mesh;
mod observed;
mod paused;
mod reconfigured;
mod registry_behind_gateway;
mod registry_in_mesh;
mod remote_registry;
mod rules;
mod stage;
mod table;
#[allow(
    dead_code,
    unused_macros,
    unused_imports,
    reason = "shared with the registry's tests"
)]
#[path = "../../registry/tests/support/database.rs"]
mod test_database;
mod verdicts;
mod wire;
mod world;

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Result;
use libtest_mimic::{Arguments, Failed, Trial};

use crate::world::World;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    if arguments.list {
        // The names of some rows are known only once everything runs, so none are listed.
        println!("run the tests for their names");
        return ExitCode::SUCCESS;
    }
    match run(&arguments) {
        Ok(code) => code,
        Err(problem) => {
            eprintln!("e2e: {problem:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<ExitCode> {
    let world = Arc::new(World::new()?);
    let trials = vec![
        trial(&world, "wire: gRPC", wire::grpc),
        trial(&world, "wire: HTTP/2", wire::over_http2),
        trial(
            &world,
            "wire: everything configured otherwise",
            wire::custom,
        ),
        trial(&world, "wire: credential forwarded", wire::forwarded),
        trial(&world, "wire: trace headers", wire::trace_headers),
        trial(
            &world,
            "wire: keys in trace headers",
            wire::keys_in_trace_headers,
        ),
        trial(&world, "wire: non-disclosure", wire::non_disclosure),
        trial(&world, "paused: body is held", paused::body_is_held),
        trial(
            &world,
            "paused: large body is whole",
            paused::large_body_is_whole,
        ),
        trial(
            &world,
            "paused: continue is no answer",
            paused::continue_is_no_answer,
        ),
        trial(&world, "paused: client leaves", paused::client_leaves),
        trial(&world, "paused: many at once", paused::many_at_once),
        trial(&world, "capabilities: the table is complete", |_| {
            capabilities::the_table_is_complete()
        }),
        trial(&world, "files: shipped configurations are valid", |_| {
            files::shipped_configurations_are_valid()
        }),
        trial(&world, "files: as without containers", |_| {
            docker_files::as_without_containers()
        }),
        trial(&world, "files: the documented .env is private", |_| {
            docker_files::env_is_private()
        }),
        trial(&world, "files: valid in containers", |world| {
            docker_files::valid(world.folder.path())
        }),
        trial(
            &world,
            "files: broken configurations are refused",
            |world| files::broken_configurations_are_refused(world.folder.path()),
        ),
        trial(&world, "logs: fields are bounded", |_| {
            log_formats::fields_are_bounded()
        }),
        trial(&world, "rules: promtool is content", |_| {
            rules::promtool_is_content()
        }),
        trial(&world, "rules: each alert has a test and a runbook", |_| {
            rules::each_alert_has_a_test_and_a_runbook()
        }),
        trial(&world, "rules: the PodMonitor relabels alike", |_| {
            rules::podmonitor_relabels_alike()
        }),
    ];
    // Cases count their lookups, and two at the same time with one key would share one.
    let cases = [decisions::cases(), verdicts::cases(&world)?].concat();
    let mut alone: Vec<_> = cases
        .into_iter()
        .map(|case| {
            let name = case.name.clone();
            trial(&world, &name, move |world| case.run(world))
        })
        .collect();
    // The shipped timeouts are short, so these tests run one at a time.
    alone.extend([
        trial(&world, "cache: few lookups", cache::few_lookups),
        trial(&world, "cache: outage", cache::outage),
        trial(&world, "cache: recovery", cache::recovery),
        trial(
            &world,
            "cache: a full breaker is no outage",
            cache::a_full_breaker_is_no_outage,
        ),
        trial(
            &world,
            "cache: changes are seen in time",
            cache::changes_are_seen_in_time,
        ),
        trial(&world, "cache: refresh ahead", cache::refresh_ahead),
        trial(&world, "cache: cache-control", cache::cache_control),
        trial(&world, "cache: flood", cache::flood),
        trial(&world, "cache: memory", cache::memory),
        trial(
            &world,
            "coalescing: one lookup for all",
            coalescing::one_lookup_for_all,
        ),
        trial(
            &world,
            "coalescing: the first client leaves",
            coalescing::the_first_client_leaves,
        ),
        trial(
            &world,
            "coalescing: the first stream is reset",
            coalescing::the_first_stream_is_reset,
        ),
        trial(
            &world,
            "coalescing: as many as may",
            coalescing::as_many_as_may,
        ),
        trial(
            &world,
            "leaving: impatient clients in grace",
            leaving::impatient_clients_in_grace,
        ),
        trial(&world, "leaving: ask and leave", leaving::ask_and_leave),
        trial(
            &world,
            "leaving: while others are answered",
            leaving::while_others_are_answered,
        ),
        trial(
            &world,
            "leaving: long requests wait",
            leaving::long_requests_wait,
        ),
        trial(&world, "leaving: too late", leaving::too_late),
        trial(
            &world,
            "coalescing: nobody waits for ever",
            coalescing::nobody_waits_for_ever,
        ),
        trial(&world, "feed: revoked", feed::revoked),
        trial(&world, "feed: deleted", feed::deleted),
        trial(&world, "feed: created", feed::created),
        trial(
            &world,
            "feed: polls get through a flood",
            feed::polls_get_through_a_flood,
        ),
        trial(
            &world,
            "feed: the registry restarts",
            feed::the_registry_restarts,
        ),
        trial(&world, "feed: PostgreSQL restarts", feed::postgres_restarts),
        trial(&world, "feed: a long backlog", feed::a_long_backlog),
        trial(&world, "feed: another database", feed::another_database),
        trial(
            &world,
            "feed: an older copy of the database",
            feed::restored::an_older_copy,
        ),
        trial(
            &world,
            "feed: a promoted replica",
            feed::restored::a_promoted_replica,
        ),
        trial(
            &world,
            "feed: one that cannot be read",
            feed::a_feed_that_cannot_be_read,
        ),
        trial(
            &world,
            "feed: a change during a lookup",
            feed::a_change_during_a_lookup,
        ),
        trial(
            &world,
            "broken feed: whatever it answers",
            broken_feed::whatever_it_answers,
        ),
        trial(
            &world,
            "broken feed: a poll that hangs",
            broken_feed::a_poll_that_hangs,
        ),
        trial(
            &world,
            "broken feed: the same page for ever",
            broken_feed::the_same_page_for_ever,
        ),
        trial(
            &world,
            "introspection: its client leaves",
            broken_feed::introspection_left,
        ),
        trial(
            &world,
            "reconfigured: nothing stays behind",
            reconfigured::nothing_stays_behind,
        ),
        trial(&world, "mesh: as meshes load it", mesh::as_meshes_load_it),
        trial(
            &world,
            "mesh: as Istio patches it",
            mesh::as_istio_patches_it,
        ),
        trial(
            &world,
            "mesh: only the filter is answered",
            registry_in_mesh::only_the_filter_is_answered,
        ),
        trial(&world, "mesh: ports are for those named", |_| {
            registry_in_mesh::ports::are_for_those_named()
        }),
        trial(
            &world,
            "gateway: only the registry is asked",
            registry_behind_gateway::only_the_registry_is_asked,
        ),
        trial(
            &world,
            "gateway: the route leads nowhere",
            registry_behind_gateway::the_route_leads_nowhere,
        ),
        trial(
            &world,
            "logs: lines are short",
            log_formats::lines_are_short,
        ),
        trial(
            &world,
            "introspection: each kind of key",
            introspection::each_kind_of_key,
        ),
        trial(
            &world,
            "introspection: only there",
            introspection::only_there,
        ),
        trial(
            &world,
            "introspection: never from the cache",
            introspection::never_from_the_cache,
        ),
        trial(
            &world,
            "introspection: without an answer",
            introspection::without_an_answer,
        ),
        trial(
            &world,
            "introspection: a body is held",
            introspection::a_body_is_held,
        ),
        trial(
            &world,
            "discovered: swapped under load",
            discovered::swapped_under_load,
        ),
        trial(
            &world,
            "discovered: nothing passes before the first",
            discovered::nothing_passes_before_the_first,
        ),
        trial(&world, "files: shipped stack", files::shipped_stack),
        trial(
            &world,
            "remote registry: only itself is asked",
            remote_registry::only_itself_is_asked,
        ),
        trial(
            &world,
            "limits by address: each has its own",
            by_address::each_has_its_own,
        ),
        trial(
            &world,
            "capabilities: without an entry nothing gets in",
            capabilities::without_an_entry_nothing_gets_in,
        ),
        trial(
            &world,
            "observed: real Prometheus",
            observed::real_prometheus,
        ),
        trial(&world, "files: a taken port is named", |_| {
            files::a_taken_port_is_named()
        }),
    ]);
    // What must hold after all other tests, when nothing is written any more.
    let after = vec![
        trial(&world, "after: every VM lives", leaks::every_vm_lives),
        trial(&world, "after: no key leaked", leaks::no_key_leaked),
        trial(
            &world,
            "after: the log has the reasons",
            leaks::the_log_has_the_reasons,
        ),
    ];
    let serially = Arguments {
        test_threads: Some(1),
        ..arguments.clone()
    };
    // A selection of tests may leave nothing to check.
    let after = if arguments.filter.is_none() && arguments.skip.is_empty() {
        after
    } else {
        Vec::new()
    };
    let failed = libtest_mimic::run(arguments, trials).has_failed()
        | libtest_mimic::run(&serially, alone).has_failed()
        | libtest_mimic::run(&serially, after).has_failed();
    Ok(if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

fn trial(
    world: &Arc<World>,
    name: &str,
    run: impl FnOnce(&World) -> Result<()> + Send + 'static,
) -> Trial {
    let world = Arc::clone(world);
    Trial::test(name, move || {
        run(&world).map_err(|problem| Failed::from(format!("{problem:#}")))
    })
}
