-- Run once, when the volume is new. The bridge and n8n have a database and a role each and cannot look into the other's.
\set bridge_password `cat /run/secrets/bridge_db_password`
\set n8n_password `cat /run/secrets/n8n_db_password`
CREATE ROLE bridge LOGIN PASSWORD :'bridge_password';
CREATE ROLE n8n LOGIN PASSWORD :'n8n_password';
CREATE DATABASE bridge OWNER bridge;
CREATE DATABASE n8n OWNER n8n;
REVOKE ALL ON DATABASE bridge, n8n FROM PUBLIC;
