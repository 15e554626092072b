-- name: add_partitions
INSERT INTO relay_head (q) SELECT generate_series(0, $1::int - 1) ON CONFLICT DO NOTHING;

-- name: claim
-- All of them or none, locked in order. Their next epoch is one that none of them has had.
WITH free AS (
    SELECT q, epoch FROM relay_head
     WHERE q = ANY($1::smallint[]) AND (lease_until < clock_timestamp() OR owner = $2)
     ORDER BY q FOR UPDATE
)
UPDATE relay_head h
   SET epoch = (SELECT max(epoch) + 1 FROM free), owner = $2, lease_until = clock_timestamp() + $3::interval
  FROM free
 WHERE h.q = free.q AND (SELECT count(*) FROM free) = cardinality($1::smallint[])
RETURNING h.epoch;

-- name: release
UPDATE relay_head SET lease_until = '-infinity' WHERE q = ANY($1::smallint[]) AND epoch = $2;

-- name: cursors
SELECT q, cursor FROM relay_head WHERE q = ANY($1::smallint[]) AND epoch = $2;

-- name: wait
SELECT wait_for_view($1, $2, $3, $4);

-- name: snapshots
-- One statement and so one snapshot: of each partition whether the epoch stands (else no row at all), the horizon, what is
-- unsent, and each of those rows as it is now. The number of rows is written out, so that the planner knows how few they
-- are.
SELECT h.q, w.seq AS view_seq, z.instant, z.seq AS horizon_seq, n.seq AS outbox_seq, n.resend_id,
       v.hash, v.controller, v.type, v.seq, v.register_version, v.shard, v.pos, v.recorded_at, v.decisions,
       CASE WHEN v.type = '!purposes'
            THEN (SELECT jsonb_object_agg(d.purpose, d.version) FROM needs d WHERE d.controller = v.controller) END AS needs
  FROM unnest($1::smallint[], $3::bigint[]) AS x (q, sent)
  JOIN relay_head h ON h.q = x.q AND h.epoch = $2
 CROSS JOIN horizon z
 CROSS JOIN view_head w
  LEFT JOIN LATERAL (
       (SELECT o.seq, NULL::bigint AS resend_id, o.hash
          FROM outbox o WHERE o.q = x.q AND o.seq > x.sent ORDER BY o.seq LIMIT 1000)
       UNION ALL
       (SELECT NULL, r.id, r.hash FROM resend r WHERE r.q = x.q ORDER BY r.id LIMIT 1000)) AS n ON true
  LEFT JOIN view v ON v.hash = n.hash
 WHERE z.one AND w.one;

-- name: settle
-- One statement, so that a relay which is stopped at any moment leaves no lock behind. `$7`: the instant of the last
-- watermark that is committed, if there is one yet; how late it is is kept for each minute that it brought.
WITH before AS (
    SELECT q, instant FROM relay_head WHERE q = ANY($1::smallint[]) AND epoch = $2
), mine AS (
    UPDATE relay_head h
       SET cursor = p.sent, lease_until = clock_timestamp() + $6::interval, instant = coalesce($7, h.instant)
      FROM unnest($1::smallint[], $3::bigint[], $4::bigint[]) AS p (q, settled, sent)
     WHERE h.q = p.q AND h.epoch = $2
    RETURNING h.q, p.settled, p.sent
), sent AS (
    DELETE FROM outbox o USING mine WHERE o.q = mine.q AND o.seq > mine.settled AND o.seq <= mine.sent
), resent AS (
    DELETE FROM resend r USING mine WHERE r.q = mine.q AND r.id = ANY($5::bigint[])
), late AS (
    INSERT INTO publish_delay AS p (q, minute, worst)
    SELECT mine.q, d.minute, d.worst
      FROM mine JOIN before USING (q) CROSS JOIN LATERAL delays(before.instant, $7, clock_timestamp()) d
    ON CONFLICT (minute, q) DO UPDATE SET worst = greatest(p.worst, excluded.worst)
)
SELECT count(*) AS settled, clock_timestamp() AS now FROM mine;

-- name: told
-- What is to be told of persons, the oldest first; nothing when the epoch is gone.
SELECT t.q, t.id, t.controller, t.dossier, t.merged_from, l.event_id, l.shard, l.pos, l.type, l.occurred_at,
       l.recorded_at, l.body, t.hashes
  FROM (SELECT * FROM told
         WHERE id > $3 AND EXISTS (SELECT FROM relay_head WHERE q = $1 AND epoch = $2) ORDER BY id LIMIT 400) t
  LEFT JOIN ledger l ON l.shard = t.shard AND l.pos = t.pos
 ORDER BY t.id;

-- name: forget_told
DELETE FROM told WHERE id <= $3 AND EXISTS (SELECT FROM relay_head WHERE q = $1 AND epoch = $2);

-- name: rows
SELECT hash, controller, type, seq, register_version, shard, pos, recorded_at, decisions
  FROM view WHERE hash = ANY($1::bytea[]);

-- name: unpublished
-- Commits of one shard follow each other, so no offset behind its cursor can appear later.
SELECT h.topic, h.partition, x.shard, x.k_offset, x.reason, x.detail, x.pos, x.record
  FROM shard_head h
  LEFT JOIN rejected_cursor c USING (shard)
 CROSS JOIN LATERAL (
       SELECT * FROM quarantine t
        WHERE t.shard = h.shard AND t.k_offset >= coalesce(c.next_offset, 0) ORDER BY t.k_offset LIMIT 64) AS x
 ORDER BY x.shard, x.k_offset
 LIMIT 64;

-- name: published
INSERT INTO rejected_cursor AS c (shard, next_offset)
SELECT * FROM unnest($1::int[], $2::bigint[])
ON CONFLICT (shard) DO UPDATE SET next_offset = greatest(c.next_offset, excluded.next_offset);
