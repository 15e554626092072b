-- name: lines
SELECT l.shard, l.pos, l.event_id, l.type, l.occurred_at, l.recorded_at, l.register_version, l.body,
       l.payload_commit <> decode(repeat('00', 32), 'hex') AS kept, p.person, p.ciphertext
  FROM unnest($1::int[], $2::bigint[]) AS r (shard, pos)
  JOIN ledger l USING (shard, pos)
  LEFT JOIN payload p ON p.shard = l.shard AND p.pos = l.pos AND p.controller = $3
 ORDER BY l.recorded_at, l.shard, l.pos;

-- name: subjects
SELECT s.shard, s.pos, s.role, s.type, s.shared, s.hash
  FROM unnest($1::int[], $2::bigint[]) AS r (shard, pos)
  JOIN entry_subject s USING (shard, pos)
 WHERE s.controller = $3
 ORDER BY s.shard, s.pos, s.ordinal;

-- name: looks
-- At whose identifiers somebody has looked.
SELECT shard, pos FROM entry_subject WHERE hash = ANY($1::bytea[]) AND role = 'viewed';

-- name: place
SELECT e.shard, e.pos, l.recorded_at
  FROM event e JOIN ledger l ON l.shard = e.shard AND l.pos = e.pos
 WHERE e.event_id = $1;

-- name: request_names
SELECT l.shard, l.pos, request_of(l.body)
  FROM unnest($1::int[], $2::bigint[]) AS r (shard, pos)
  JOIN ledger l USING (shard, pos)
 WHERE request_of(l.body) IS NOT NULL;

-- name: waiting
SELECT w.shard, w.pos, w.ref_id
  FROM unnest($1::uuid[], $2::int[], $3::bigint[]) AS r (ref_id, shard, pos)
  JOIN waiting w USING (ref_id, shard, pos);

-- name: quarantined
-- Records in quarantine under the ids of these events.
SELECT event_id, shard, k_offset, reason FROM quarantine WHERE event_id = ANY($1::uuid[]) ORDER BY shard, k_offset;

-- name: reads
-- By the index of looks alone, whose condition it repeats.
SELECT shard, pos FROM ledger
 WHERE type = 'subject-viewed'
   AND ($1::timestamptz IS NULL OR recorded_at >= $1) AND ($2::timestamptz IS NULL OR recorded_at < $2)
 ORDER BY recorded_at, shard, pos;
