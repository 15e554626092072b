-- name: unfinished
SELECT id, began_at, next_dossier, counts FROM retention_run WHERE ended_at IS NULL;

-- name: begin
INSERT INTO retention_run (id, began_at) VALUES ($1, $2) ON CONFLICT DO NOTHING;

-- name: advance
UPDATE retention_run SET next_dossier = $2, counts = $3 WHERE id = $1 AND ended_at IS NULL;

-- name: end
UPDATE retention_run SET ended_at = $2 WHERE id = $1 AND ended_at IS NULL;

-- name: epoch
SELECT epoch FROM view_head;

-- name: register_version
SELECT register_version FROM view_head;

-- name: register_since
SELECT recorded_at FROM register WHERE version = $1;

-- name: last_dossier
SELECT coalesce(max(id), 0) FROM dossier;

-- name: dossiers_from
SELECT id, controller, facts FROM dossier WHERE id >= $1 ORDER BY id LIMIT $2;

-- name: dossiers_at
SELECT id, controller, facts FROM dossier WHERE id = ANY($1::bigint[]) ORDER BY id;

-- name: present_payloads
SELECT p.controller, p.shard, p.pos
  FROM unnest($1::text[], $2::int[], $3::bigint[]) AS d (controller, shard, pos)
  JOIN payload p USING (shard, pos, controller);

-- name: delete_payloads
DELETE FROM payload p
 USING unnest($1::text[], $2::int[], $3::bigint[]) AS d (controller, shard, pos)
 WHERE p.shard = d.shard AND p.pos = d.pos AND p.controller = d.controller;

-- name: delete_index_rows
-- The trigger raises for a row of a refusal.
DELETE FROM entry_subject s
 USING unnest($1::text[], $2::int[], $3::bigint[]) AS d (controller, shard, pos)
 WHERE s.shard = d.shard AND s.pos = d.pos AND s.controller = d.controller;

-- name: delete_idents
DELETE FROM ident WHERE hash = ANY($1::bytea[]);

-- name: delete_dossiers
DELETE FROM dossier WHERE id = ANY($1::bigint[]);

-- name: forget
INSERT INTO forgotten (controller, hash, until)
SELECT *, $3::timestamptz FROM unnest($1::text[], $2::bytea[])
ON CONFLICT (hash) DO UPDATE SET until = greatest(forgotten.until, excluded.until);

-- name: present_request_payloads
SELECT p.controller, p.shard, p.pos
  FROM unnest($1::text[], $2::uuid[]) AS d (controller, event_id)
  JOIN event e USING (event_id)
  JOIN payload p ON p.shard = e.shard AND p.pos = e.pos AND p.controller = d.controller;

-- name: request_rows
-- Of what opens requests, the index rows that are still there.
SELECT d.controller, d.event_id, count(*) AS rows
  FROM unnest($1::text[], $2::uuid[]) AS d (controller, event_id)
  JOIN event e USING (event_id)
  JOIN ledger l ON l.shard = e.shard AND l.pos = e.pos AND l.type = 'request-received'
  JOIN entry_subject s ON s.shard = e.shard AND s.pos = e.pos AND s.controller = d.controller
 GROUP BY 1, 2;

-- name: held
SELECT d.id, d.controller, d.facts FROM dossier d
 WHERE d.id IN (SELECT i.dossier FROM ledger l
                  JOIN entry_subject s ON s.shard = l.shard AND s.pos = l.pos
                  JOIN ident i ON i.hash = s.hash
                 WHERE l.type = 'hold-placed');

-- name: old_quarantine
-- Only what the relay has published: after that the topic has it, under the same limit.
SELECT q.shard, q.k_offset
  FROM quarantine q JOIN rejected_cursor c ON c.shard = q.shard AND q.k_offset < c.next_offset
 WHERE q.recorded_at < $1 LIMIT $2;

-- name: count_old_quarantine
SELECT count(*)
  FROM quarantine q JOIN rejected_cursor c ON c.shard = q.shard AND q.k_offset < c.next_offset
 WHERE q.recorded_at < $1;

-- name: delete_quarantine
DELETE FROM quarantine q
 USING unnest($1::int[], $2::bigint[]) AS d (shard, k_offset)
 WHERE q.shard = d.shard AND q.k_offset = d.k_offset;

-- name: review
-- By whole years of the calendar in UTC, as the law counts them: a year after 29 February is 28 February.
WITH refusal AS (
    SELECT s.controller, l.type, s.hash, l.shard, l.pos,
           least(l.occurred_at, l.recorded_at) AT TIME ZONE 'UTC' AS since, $1::timestamptz AT TIME ZONE 'UTC' AS now
      FROM ledger l JOIN entry_subject s USING (shard, pos)
     WHERE l.type = ANY($2::text[])
), aged AS (
    SELECT *, extract(year FROM now)::int - extract(year FROM since)::int AS turns FROM refusal
), counted AS (
    SELECT *, turns - (since + make_interval(years => turns) > now)::int AS years FROM aged
)
SELECT controller, type, years, count(DISTINCT (shard, pos)) AS entries, count(DISTINCT hash) AS addresses,
       (min(since) AT TIME ZONE 'UTC') AS oldest
  FROM counted WHERE years >= 1 GROUP BY controller, type, years ORDER BY controller, years DESC, type;

-- name: now
SELECT clock_timestamp();
