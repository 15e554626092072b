-- name: heads
SELECT shard, next_pos FROM shard_head ORDER BY shard;

-- name: bounds
-- `recorded_at` never falls within a shard, so a span of it is a range of positions.
SELECT CASE WHEN $2::timestamptz IS NULL THEN 0 ELSE first_position($1, $2) END,
       CASE WHEN $3::timestamptz IS NULL THEN NULL ELSE first_position($1, $3) END;

-- name: page
-- `reached`: one of the controllers is reached by its subjects; null where nobody asked for controllers.
SELECT l.shard, l.pos, l.event_id, l.type, l.occurred_at, l.recorded_at, l.k_offset, l.register_version, l.body,
       l.payload_commit, l.tags, l.leaf_hash,
       CASE WHEN $8::text[] IS NOT NULL
            THEN EXISTS (SELECT FROM entry_subject s WHERE s.shard = l.shard AND s.pos = l.pos AND s.controller = ANY($8)) END AS reached
  FROM ledger l
 WHERE l.shard = $1 AND l.pos >= $2 AND l.pos < $3
   AND ($4::text[] IS NULL OR l.type = ANY($4))
   AND ($5::bigint[] IS NULL OR l.register_version = ANY($5))
   AND ($6::timestamptz IS NULL OR l.occurred_at >= $6)
   AND ($7::timestamptz IS NULL OR l.occurred_at < $7)
 ORDER BY l.shard, l.pos;

-- name: targets
-- What events lead to: `reached` as above, or further events by their bodies.
SELECT e.event_id, l.type, l.body,
       EXISTS (SELECT FROM entry_subject s WHERE s.shard = e.shard AND s.pos = e.pos AND s.controller = ANY($2::text[])) AS reached,
       EXISTS (SELECT FROM entry_subject s WHERE s.shard = e.shard AND s.pos = e.pos) AS has_subjects
  FROM event e JOIN ledger l ON l.shard = e.shard AND l.pos = e.pos
 WHERE e.event_id = ANY($1::uuid[]);
