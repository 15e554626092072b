-- name: pending
SELECT event_id, shard, pos, valid_from, recorded_at, document FROM pending_register;

-- name: next
SELECT (SELECT min(valid_from) FROM pending_register) AS valid_from, clock_timestamp() AS now;

-- name: lock
SELECT pg_advisory_xact_lock(hashtext('consent.register'));

-- name: in_force
SELECT version, document FROM register ORDER BY version DESC LIMIT 1;

-- name: bring_into_force
INSERT INTO register (version, shard, pos, event_id, digest, valid_from, recorded_at, document)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8);
