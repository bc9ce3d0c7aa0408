-- The registry's role and database. The image runs this as the superuser, once, when the volume is new.
-- The password comes from the environment so that no command line shows it.
\getenv password KEYSTILE_POSTGRES_PASSWORD
CREATE ROLE keystile LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS PASSWORD :'password';
CREATE DATABASE keystile OWNER keystile;
-- By default, every role may connect to every database and create temporary tables in it.
REVOKE ALL ON DATABASE keystile, postgres, template1 FROM PUBLIC;
