-- name: steps
-- By the index of the same condition, so the ledger's length does not matter.
SELECT event_id, type, occurred_at, recorded_at, register_version, body
  FROM ledger WHERE is_step_of_request(type, body) ORDER BY shard, pos;

-- name: events
SELECT l.event_id, l.type, l.occurred_at, l.recorded_at, l.register_version, l.body
  FROM unnest($1::uuid[]) AS wanted (event_id) JOIN event e USING (event_id)
  JOIN ledger l ON l.shard = e.shard AND l.pos = e.pos
 WHERE l.type = ANY($2::text[]);

-- name: passed_on
-- Of those nobody has been told of yet, a page in the order of the ledger. Only where a controller has recipients.
SELECT l.shard, l.pos, l.event_id, l.type, l.occurred_at, l.recorded_at, l.register_version, l.body
  FROM ledger l
 WHERE l.type IN ('consent-withdrawn', 'identifier-changed') AND (l.shard, l.pos) > ($1, $2)
   AND EXISTS (SELECT FROM entry_subject s
                WHERE s.shard = l.shard AND s.pos = l.pos AND s.controller = ANY($3::text[]))
   AND NOT EXISTS (SELECT FROM ledger n WHERE n.type = 'recipient-notified' AND request_of(n.body) = l.event_id::text)
 ORDER BY l.shard, l.pos LIMIT $4;

-- name: registers
SELECT version, document FROM register WHERE version = ANY($1::bigint[]) ORDER BY version;

-- name: newest
SELECT coalesce(max(version), 0) FROM register;
