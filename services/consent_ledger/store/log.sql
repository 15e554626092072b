-- name: silent_owner
SELECT a.pid
  FROM seal_head h
  JOIN pg_stat_activity a
    ON a.pid = h.owner_pid AND a.application_name = 'consent_sealer' AND a.datname = current_database()
 WHERE (h.lease_until < clock_timestamp() OR h.owner = $1) AND a.pid <> pg_backend_pid();

-- name: claim
UPDATE seal_head
   SET epoch = epoch + 1, owner = $1, owner_pid = pg_backend_pid(), lease_until = clock_timestamp() + $2::interval
 WHERE lease_until < clock_timestamp() OR owner = $1
RETURNING epoch;

-- name: renew
UPDATE seal_head SET lease_until = clock_timestamp() + $2::interval WHERE epoch = $1;

-- name: release
UPDATE seal_head SET lease_until = '-infinity' WHERE owner = $1;

-- name: heads
SELECT shard, next_pos FROM shard_head ORDER BY shard;

-- name: leaf_hashes
SELECT count(*) AS number, coalesce(string_agg(leaf_hash, ''::bytea ORDER BY pos), '') AS hashes
  FROM (SELECT pos, leaf_hash FROM ledger WHERE shard = $1 AND pos >= $2 AND pos < $3 ORDER BY shard, pos) AS taken;

-- name: add_tiles
INSERT INTO tile (level, idx, hashes, root)
SELECT * FROM unnest($1::smallint[], $2::bigint[], $3::bytea[], $4::bytea[]);

-- name: add_checkpoint
INSERT INTO checkpoint (tree_size, heads, root, leaves, note) VALUES ($1, $2, $3, $4, $5);

-- name: last
SELECT tree_size, heads, root, note, sealed_at FROM checkpoint ORDER BY tree_size DESC LIMIT 1;

-- name: shown
SELECT c.tree_size, c.heads, c.root, coalesce(s.note, c.note) AS note, c.sealed_at
  FROM checkpoint c LEFT JOIN cosigned s USING (tree_size) ORDER BY c.tree_size DESC LIMIT 1;

-- name: shown_cosigned
SELECT c.tree_size, c.heads, c.root, s.note, c.sealed_at
  FROM cosigned s JOIN checkpoint c USING (tree_size) ORDER BY s.tree_size DESC LIMIT 1;

-- name: add_cosigned
INSERT INTO cosigned (tree_size, note) VALUES ($1, $2) ON CONFLICT DO NOTHING;

-- name: heard
INSERT INTO witness AS w (name, size, signed_at, problem)
VALUES ($1, coalesce($2, 0), CASE WHEN $2::bigint IS NOT NULL THEN clock_timestamp() END, $3)
ON CONFLICT (name) DO UPDATE
   SET size = greatest(w.size, excluded.size), signed_at = coalesce(excluded.signed_at, w.signed_at),
       problem = excluded.problem, asked_at = clock_timestamp();

-- name: witnesses
SELECT name, size, signed_at, problem, asked_at FROM witness ORDER BY name;

-- name: at
SELECT tree_size, heads, root, note, sealed_at FROM checkpoint WHERE tree_size = $1;

-- name: before
SELECT tree_size, heads, root, note, sealed_at FROM checkpoint WHERE tree_size <= $1 ORDER BY tree_size DESC LIMIT 1;

-- name: after
SELECT tree_size, heads, root, note, sealed_at FROM checkpoint WHERE tree_size > $1 ORDER BY tree_size LIMIT 1;

-- name: adding
-- The checkpoints that added the leaves from $1 up to $2.
SELECT tree_size, heads, root, note, sealed_at FROM checkpoint
 WHERE tree_size > $1 AND tree_size <= (SELECT min(tree_size) FROM checkpoint WHERE tree_size >= $2)
 ORDER BY tree_size;

-- name: leaves
-- The sealed hashes of the leaves from $1 up to $2, in order, by the checkpoints that added them.
SELECT substring(leaves FROM (greatest($1 - first, 0) * 32 + 1)::int
                         FOR ((least($2, tree_size) - greatest($1, first)) * 32)::int) AS part
  FROM (SELECT tree_size, tree_size - octet_length(leaves) / 32 AS first, leaves FROM checkpoint
         WHERE tree_size > $1 AND tree_size <= (SELECT min(tree_size) FROM checkpoint WHERE tree_size >= $2)
         ORDER BY tree_size) AS added
 ORDER BY tree_size;

-- name: tile
SELECT hashes FROM tile WHERE level = $1 AND idx = $2;

-- name: tile_roots
SELECT coalesce(string_agg(root, ''::bytea ORDER BY idx), '')
  FROM (SELECT idx, root FROM tile WHERE level = $1 AND idx >= $2 AND idx < $3 ORDER BY level, idx) AS taken;

-- name: sealed_by
SELECT sealed_by($1, $2);

-- name: place
SELECT shard, pos FROM event WHERE event_id = $1;

-- name: entries
SELECT shard, pos, event_id, type, occurred_at, recorded_at, k_offset, register_version, body, payload_commit, tags, leaf_hash
  FROM ledger WHERE shard = $1 AND pos >= $2 AND pos < $3 ORDER BY shard, pos;
