#!/usr/bin/env bash
# The roles of the database: `riskwatch` owns it, `riskwatch_reader` reads it (dashboards, people).
# Runs when the database is made, and by hand after passwords were changed in .env:
#   docker compose exec postgres /docker-entrypoint-initdb.d/10-roles.sh
set -euo pipefail
psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --username postgres --dbname riskwatch <<'SQL'
-- From the environment: an argument would be in the list of processes.
\getenv owner RISKWATCH_DB_PASSWORD
\getenv reader RISKWATCH_READER_PASSWORD
\getenv super POSTGRES_PASSWORD
SELECT 'CREATE ROLE ' || name || ' LOGIN' FROM (VALUES ('riskwatch'), ('riskwatch_reader')) AS wanted (name)
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) \gexec
ALTER ROLE postgres PASSWORD :'super';
ALTER ROLE riskwatch PASSWORD :'owner';
ALTER ROLE riskwatch_reader PASSWORD :'reader';
ALTER ROLE riskwatch_reader SET default_transaction_read_only = on;
ALTER ROLE riskwatch_reader SET statement_timeout = '15s';
ALTER DATABASE riskwatch OWNER TO riskwatch;
REVOKE TEMPORARY ON DATABASE riskwatch FROM PUBLIC;
GRANT SELECT ON ALL TABLES IN SCHEMA public TO riskwatch_reader;
ALTER DEFAULT PRIVILEGES FOR ROLE riskwatch IN SCHEMA public GRANT SELECT ON TABLES TO riskwatch_reader;
SQL
