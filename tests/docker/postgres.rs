//! The registry's role in PostgreSQL, and what the container reports about missing passwords.

use anyhow::{Context, Result, ensure};

use crate::compose::{Project, REGISTRY_PASSWORD};

/// Runs a query as the superuser, inside PostgreSQL's container.
fn ask(project: &Project, query: &str) -> Result<String> {
    let psql = [
        "psql",
        "--username",
        "postgres",
        "--no-align",
        "--tuples-only",
    ];
    project
        .exec("postgres", &[&psql[..], &["--command", query]].concat())
        .with_context(|| query.to_owned())
}

/// Runs a query over the network with the registry's password, as a role and on a database.
fn as_registry(project: &Project, role: &str, database: &str, query: &str) -> Result<String> {
    let password = format!("PGPASSWORD={REGISTRY_PASSWORD}");
    let url = format!("postgres://{role}@postgres/{database}");
    let psql = [
        "env",
        &password,
        "psql",
        "--no-align",
        "--tuples-only",
        &url,
    ];
    project.exec("postgres", &[&psql[..], &["--command", query]].concat())
}

/// The registry connects as a role that may do nothing except own its database, and its tables are
/// there.
pub(crate) fn the_registry_is_not_a_superuser(project: &Project) -> Result<()> {
    const RIGHTS: &str = "rolsuper, rolcreatedb, rolcreaterole, rolreplication, rolbypassrls";
    const NONE: &str = "f|f|f|f|f";
    let connections = ask(
        project,
        &format!(
            "SELECT DISTINCT rolname, {RIGHTS} FROM pg_stat_activity JOIN pg_roles ON usesysid = pg_roles.oid \
             WHERE datname = 'keystile' AND client_addr IS NOT NULL"
        ),
    )?;
    ensure!(
        connections == format!("keystile|{NONE}"),
        "connections to the database keystile: {connections:?}"
    );
    let itself = as_registry(
        project,
        "keystile",
        "keystile",
        &format!("SELECT current_user, {RIGHTS} FROM pg_roles WHERE rolname = current_user"),
    )?;
    ensure!(itself == format!("keystile|{NONE}"), "it is {itself:?}");
    let tables = as_registry(
        project,
        "keystile",
        "keystile",
        "SELECT count(*) > 0, bool_and(tableowner = 'keystile') FROM pg_tables WHERE schemaname = 'public'",
    )?;
    ensure!(tables == "t|t", "the tables are not its own: {tables:?}");
    // With what the registry knows, it can neither become another role nor reach anything else.
    for (role, database, query) in [
        ("postgres", "keystile", "SELECT 1"),
        ("keystile", "postgres", "SELECT 1"),
        ("keystile", "keystile", "SET ROLE postgres"),
        ("keystile", "keystile", "CREATE ROLE another SUPERUSER"),
        ("keystile", "keystile", "ALTER ROLE keystile SUPERUSER"),
        ("keystile", "keystile", "CREATE DATABASE another"),
        ("keystile", "keystile", "COPY (SELECT 1) TO PROGRAM 'cat'"),
        ("keystile", "keystile", "SELECT pg_read_file('/etc/passwd')"),
    ] {
        let answer = as_registry(project, role, database, query);
        ensure!(answer.is_err(), "{role}@{database}: {query}: {answer:?}");
    }
    let known = project.exec("registry", &["env"])?;
    ensure!(
        !known
            .lines()
            .any(|line| line.starts_with("POSTGRES_PASSWORD=")),
        "the registry's container has the superuser's password"
    );
    Ok(())
}

/// Without a password, or with the same one twice, no database is created, and the reason is printed.
pub(crate) fn missing_passwords_are_named(project: &Project) -> Result<()> {
    let cases = [
        (["", "b"], "POSTGRES_PASSWORD is not set"),
        (["a", ""], "KEYSTILE_POSTGRES_PASSWORD is not set"),
        (["a", "a"], "are the same"),
    ];
    for ([superuser, registry], says) in cases {
        let variables = [
            format!("POSTGRES_PASSWORD={superuser}"),
            format!("KEYSTILE_POSTGRES_PASSWORD={registry}"),
            // Not in the folder of the existing database.
            "PGDATA=/tmp/another".to_owned(),
        ];
        let mut run = vec!["run", "--rm", "-T", "--no-deps"];
        for variable in &variables {
            run.extend(["-e", variable.as_str()]);
        }
        run.extend(["postgres", "postgres"]);
        let problem = project.compose(&run).err().map(|p| format!("{p:#}"));
        let problem = problem.with_context(|| format!("{variables:?}: it started"))?;
        ensure!(
            problem.contains(says),
            "{variables:?}: no {says:?} in {problem}"
        );
        ensure!(
            !problem.contains("initdb") && !problem.contains("initialized"),
            "{variables:?}: a database was created: {problem}"
        );
    }
    Ok(())
}
