-- name: heads
SELECT coalesce(array_agg(shard ORDER BY shard), '{}') AS shards, coalesce(array_agg(next_pos ORDER BY shard), '{}') AS next_pos,
       (SELECT coalesce(max(version), 0) FROM register) AS register_version,
       (SELECT min(valid_from) FROM pending_register) AS next_register, clock_timestamp() AS now
  FROM shard_head;

-- name: caught_up
SELECT NOT EXISTS (SELECT FROM unnest($1::int[], $2::bigint[]) AS h (shard, next_pos)
                    WHERE coalesce(v.applied[h.shard + 1], 0) < h.next_pos)
   AND v.register_version >= $3
  FROM view_head v;

-- name: state
SELECT v.applied, v.register_version, h.instant AS horizon, h.seq AS horizon_seq, clock_timestamp() AS now
  FROM view_head v CROSS JOIN horizon h;

-- name: needs
SELECT controller, purpose, version FROM needs WHERE controller = ANY($1::text[]);

-- name: register_version_at
SELECT coalesce(max(version), 0) FROM register WHERE greatest(recorded_at, valid_from) <= $1;

-- name: rows
SELECT hash, register_version, shard, pos, recorded_at, decisions FROM view WHERE hash = ANY($1::bytea[]);

-- name: dossiers
SELECT i.hash, d.id, d.facts FROM ident i JOIN dossier d ON d.id = i.dossier WHERE i.hash = ANY($1::bytea[]);

-- name: forgotten
SELECT hash, until FROM forgotten WHERE hash = ANY($1::bytea[]);
