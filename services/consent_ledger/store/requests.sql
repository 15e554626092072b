-- name: steps
-- By the index of the same condition, so the ledger's length does not matter.
SELECT event_id, type, occurred_at, recorded_at, register_version, body
  FROM ledger WHERE is_step_of_request(type, body) ORDER BY shard, pos;

-- name: events
SELECT l.event_id, l.type, l.occurred_at, l.recorded_at, l.register_version, l.body
  FROM unnest($1::uuid[]) AS wanted (event_id) JOIN event e USING (event_id)
  JOIN ledger l ON l.shard = e.shard AND l.pos = e.pos
 WHERE l.type = ANY($2::text[]);

-- name: registers
SELECT version, document FROM register WHERE version = ANY($1::bigint[]) ORDER BY version;

-- name: newest
SELECT coalesce(max(version), 0) FROM register;
