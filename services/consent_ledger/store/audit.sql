-- name: checkpoints
SELECT tree_size, heads, root, leaves, note FROM checkpoint WHERE tree_size > $1 ORDER BY tree_size LIMIT $2;

-- name: rows
-- Times in microseconds, exact for every year: what is checked is the stored value itself.
SELECT shard, pos, uuid_send(event_id), type, (extract(epoch FROM occurred_at) * 1000000)::bigint,
       (extract(epoch FROM recorded_at) * 1000000)::bigint, k_offset, register_version, body, payload_commit, tags, leaf_hash
  FROM ledger WHERE shard = $1 AND pos >= $2 ORDER BY shard, pos LIMIT $3;

-- name: tile
SELECT hashes, root FROM tile WHERE level = $1 AND idx = $2;

-- name: next_positions
SELECT shard, next_pos FROM shard_head;

-- name: strays
-- The shards of the ledger one by one, of each its first and its last entry.
WITH RECURSIVE shards AS (
    (SELECT shard FROM ledger ORDER BY shard LIMIT 1)
    UNION ALL
    SELECT (SELECT l.shard FROM ledger l WHERE l.shard > s.shard ORDER BY l.shard LIMIT 1) FROM shards s WHERE s.shard IS NOT NULL
)
SELECT s.shard, e.pos
  FROM shards s
  LEFT JOIN shard_head h USING (shard)
 CROSS JOIN LATERAL ((SELECT pos FROM ledger l WHERE l.shard = s.shard AND l.pos < 0 ORDER BY pos LIMIT 1)
                     UNION ALL
                     (SELECT pos FROM ledger l WHERE l.shard = s.shard AND l.pos >= coalesce(h.next_pos, 0) ORDER BY pos LIMIT 1)) e
 WHERE s.shard IS NOT NULL
 ORDER BY s.shard, e.pos;

-- name: sealed_leaves
-- The sealed hashes of positions $2 up to $3 of a shard are in the checkpoints whose heads pass them.
SELECT tree_size, heads, leaves FROM checkpoint
 WHERE tree_size >= coalesce(sealed_by($1, $2), 0) ORDER BY tree_size LIMIT $3;

-- name: sealed_by
SELECT sealed_by($1, $2);

-- name: destroyed
SELECT min(l.pos) FROM ledger l
 WHERE l.shard = $1 AND l.pos >= $2 AND l.pos < $3 AND l.tags <> ''
   AND octet_length(l.tags) / 32 > (SELECT count(*) FROM payload p WHERE p.shard = l.shard AND p.pos = l.pos) + (
       SELECT count(*) FROM destroyed d
        WHERE d.shard = l.shard AND d.pos = l.pos
          AND NOT EXISTS (SELECT FROM payload p WHERE (p.shard, p.pos, p.controller) = (d.shard, d.pos, d.controller))
          AND (EXISTS (
               SELECT FROM erasure e JOIN ledger o ON o.shard = e.shard AND o.pos = e.pos
                WHERE e.id = d.erasure AND e.controller = d.controller AND o.type = 'erasure-executed'
                  AND (convert_from(o.body, 'UTF8')::jsonb -> 1 -> 'controllers') ? d.controller
                  AND least(l.occurred_at, l.recorded_at) <= least(o.occurred_at, o.recorded_at)
                  -- Of what was forgotten whole, and of what names nobody, no address is left to compare.
                  AND (NOT EXISTS (SELECT FROM entry_subject s
                                    WHERE (s.shard, s.pos, s.controller) = (d.shard, d.pos, d.controller))
                       OR EXISTS (SELECT FROM entry_subject s JOIN entry_subject b USING (controller, hash)
                                   WHERE (s.shard, s.pos, s.controller) = (d.shard, d.pos, d.controller)
                                     AND (b.shard, b.pos) = (e.shard, e.pos))))
            OR EXISTS (
               SELECT FROM retention_run r
                WHERE r.id = d.run AND (r.ended_at IS NULL OR EXISTS (
                      SELECT FROM event v JOIN ledger o ON o.shard = v.shard AND o.pos = v.pos AND o.event_id = v.event_id
                       WHERE v.event_id = r.id AND o.type = 'retention-run')))));

-- name: unproved
-- The first erasure whose evidence is no entry that says of it, by its digest, just what is noted as destroyed by it. One
-- without evidence was ordered before there was any, and of what it did there is none.
SELECT e.id, e.shard, e.pos
  FROM erasure e
  LEFT JOIN ledger c ON c.shard = e.shard AND c.pos = e.pos
 WHERE e.id > $1 AND e.id <= $2
   AND CASE WHEN e.evidence IS NULL
            THEN c.recorded_at < (SELECT coalesce(min(recorded_at), 'infinity') FROM ledger WHERE type = 'erasure-carried-out')
                 AND NOT EXISTS (SELECT FROM ledger o
                                  WHERE o.type = 'erasure-carried-out' AND order_of(o.body) = c.event_id::text)
            ELSE EXISTS (
                 SELECT FROM event v
                   JOIN ledger o ON o.shard = v.shard AND o.pos = v.pos AND o.event_id = v.event_id
                  CROSS JOIN LATERAL (SELECT convert_from(o.body, 'UTF8')::jsonb -> 1 AS said) AS b
                  WHERE v.event_id = e.evidence AND o.type = 'erasure-carried-out'
                    AND b.said -> 'controllers' = jsonb_build_array(e.controller)
                    AND b.said ->> 'erasure' = c.event_id::text
                    AND b.said ->> 'digest' = 'sha256:' || encode(sha256(e.salt || (
                        SELECT coalesce(string_agg(int4send(d.shard) || int8send(d.pos), '' ORDER BY d.shard, d.pos), '')
                          FROM destroyed d WHERE d.erasure = e.id)), 'hex'))
        END IS NOT TRUE
 ORDER BY e.id LIMIT 1;

-- name: next_erasures
SELECT max(id) FROM (SELECT id FROM erasure WHERE id > $1 ORDER BY id LIMIT $2) AS e;
