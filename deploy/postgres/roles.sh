#!/usr/bin/env bash
# The roles of the database. `riskwatch db upgrade` gives their rights to `riskwatch_writer` (a group),
# `riskwatch_reader` (dashboards), `riskwatch_operator` (people who command) and `riskwatch_auditor`;
# all but the group can log in. `riskwatch` owns the tables and upgrades them, `riskwatch_worker` is
# what the workers are.
# Runs when the database is made, and by hand after passwords were changed in .env:
#   docker compose exec postgres /docker-entrypoint-initdb.d/10-roles.sh
set -euo pipefail
psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --username postgres --dbname riskwatch <<'SQL'
-- From the environment: an argument would be in the list of processes.
\getenv owner RISKWATCH_DB_PASSWORD
\getenv worker RISKWATCH_WORKER_PASSWORD
\getenv reader RISKWATCH_READER_PASSWORD
\getenv operator RISKWATCH_OPERATOR_PASSWORD
\getenv auditor RISKWATCH_AUDITOR_PASSWORD
\getenv super POSTGRES_PASSWORD
SELECT 'CREATE ROLE ' || name || ' NOLOGIN'
FROM (VALUES ('riskwatch_writer')) AS wanted (name)
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) \gexec
SELECT 'CREATE ROLE ' || name || ' LOGIN'
FROM (VALUES ('riskwatch'), ('riskwatch_reader'), ('riskwatch_worker'), ('riskwatch_operator'),
  ('riskwatch_auditor')) AS wanted (name)
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) \gexec
ALTER ROLE postgres PASSWORD :'super';
ALTER ROLE riskwatch PASSWORD :'owner';
ALTER ROLE riskwatch_worker PASSWORD :'worker';
ALTER ROLE riskwatch_reader LOGIN PASSWORD :'reader';
ALTER ROLE riskwatch_operator LOGIN PASSWORD :'operator';
ALTER ROLE riskwatch_auditor LOGIN PASSWORD :'auditor';
ALTER ROLE riskwatch_operator SET default_transaction_read_only = on;
ALTER ROLE riskwatch_auditor SET default_transaction_read_only = on;
ALTER ROLE riskwatch_reader SET default_transaction_read_only = on;
ALTER ROLE riskwatch_reader SET statement_timeout = '15s';
GRANT riskwatch_writer TO riskwatch_worker;
ALTER DATABASE riskwatch OWNER TO riskwatch;
REVOKE TEMPORARY ON DATABASE riskwatch FROM PUBLIC;
-- Rights on tables are the migrations' to give; an older version of this file gave some itself.
ALTER DEFAULT PRIVILEGES FOR ROLE riskwatch IN SCHEMA public REVOKE SELECT ON TABLES FROM riskwatch_reader;
SQL
