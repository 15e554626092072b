-- name: versions
SELECT version, digest, valid_from, recorded_at, shard, pos FROM register ORDER BY version;

-- name: version_at
-- A load takes effect when it is recorded, or later if it says so; the newest of an instant wins.
SELECT coalesce(max(version), 0) FROM register WHERE greatest(valid_from, recorded_at) <= $1;

-- name: scheduled
SELECT event_id, valid_from, recorded_at, shard, pos FROM pending_register;

-- name: document
SELECT document FROM register WHERE version = $1;

-- name: progress
-- The age of the horizon by the database's own clock; null while it stands where the migration put it.
SELECT (SELECT coalesce(max(version), 0) FROM register) AS register_version,
       (SELECT register_version FROM view_head) AS view_version,
       (SELECT extract(epoch FROM clock_timestamp() - instant)::float8 FROM horizon WHERE instant > 'epoch') AS horizon_age_s;

-- name: sweep
SELECT v.register_version, v.sweep_controllers, greatest(v.sweep_from - 1, 0) AS swept, v.next_dossier - 1 AS total
  FROM view_head v;
