-- Runs once, on an empty volume, as the superuser. Three users, so that none can read or change what is another's:
-- temporal (its two databases), cortexops_owner (the schema; used by `cortexops migrate` alone) and cortexops
-- (the workers; may add audit rows, never change or remove them).
\getenv temporal_password TEMPORAL_DB_PASSWORD
\getenv owner_password CORTEXOPS_OWNER_PASSWORD
\getenv worker_password CORTEXOPS_DB_PASSWORD

CREATE ROLE temporal LOGIN PASSWORD :'temporal_password';
CREATE DATABASE temporal OWNER temporal;
CREATE DATABASE temporal_visibility OWNER temporal;

CREATE ROLE cortexops_app NOLOGIN;
CREATE ROLE cortexops_owner LOGIN PASSWORD :'owner_password';
-- NOINHERIT: a connection has no right at all until it has become cortexops_app.
CREATE ROLE cortexops LOGIN NOINHERIT PASSWORD :'worker_password';
GRANT cortexops_app TO cortexops_owner, cortexops;
CREATE DATABASE cortexops OWNER cortexops_owner;

REVOKE CONNECT ON DATABASE temporal, temporal_visibility, cortexops FROM PUBLIC;
GRANT CONNECT ON DATABASE cortexops TO cortexops;
