-- name: places
SELECT partition, shard, next_offset, next_pos FROM shard_head WHERE topic = $1;

-- name: outcomes
-- What became of records, by their place in Kafka. `from_pos` is the shard's next position before they were sent: only
-- an entry under an id that is not the event's own (a refusal that repeats an id with other content) is looked for from there.
SELECT r.event_id, r.shard,
       CASE WHEN q.k_offset IS NOT NULL AND q.pos IS NULL THEN 'rejected'
            WHEN d.k_offset IS NOT NULL THEN 'duplicate'
            ELSE 'entry' END AS status,
       q.reason,
       CASE WHEN d.k_offset IS NOT NULL THEN l.shard ELSE r.shard END AS entry_shard,
       CASE WHEN d.k_offset IS NOT NULL OR own.yes THEN l.pos ELSE coalesce(q.pos, renamed.pos) END AS entry_pos,
       CASE WHEN d.k_offset IS NOT NULL OR own.yes THEN l.recorded_at
            ELSE coalesce(q.recorded_at, renamed.recorded_at) END AS recorded_at
  FROM unnest($1::uuid[], $2::int[], $3::bigint[], $4::bigint[])
       WITH ORDINALITY AS r (event_id, shard, k_offset, from_pos, n)
  LEFT JOIN quarantine q ON q.shard = r.shard AND q.k_offset = r.k_offset
  LEFT JOIN duplicate d ON d.shard = r.shard AND d.k_offset = r.k_offset
  LEFT JOIN event e ON e.event_id = r.event_id
  LEFT JOIN ledger l ON l.shard = e.shard AND l.pos = e.pos
 CROSS JOIN LATERAL (SELECT l.shard = r.shard AND l.k_offset = r.k_offset) AS own (yes)
  LEFT JOIN LATERAL (
       SELECT o.pos, o.recorded_at FROM ledger o
        WHERE own.yes IS NOT TRUE AND d.k_offset IS NULL AND q.k_offset IS NULL
          AND o.shard = r.shard AND o.pos >= r.from_pos AND o.k_offset = r.k_offset
       ) AS renamed ON true
 ORDER BY r.n;
