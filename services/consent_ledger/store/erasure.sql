-- name: next
-- Those that nothing holds up, the longest waiting first.
SELECT hash FROM erasing WHERE NOT held ORDER BY since, hash LIMIT $1;

-- name: waiting
SELECT count(*) FILTER (WHERE NOT held) AS open, count(*) FILTER (WHERE held) AS held,
       coalesce(extract(epoch FROM clock_timestamp() - min(since) FILTER (WHERE NOT held)), 0)::float AS seconds
  FROM erasing;

-- name: dossier_of
SELECT d.id, d.controller, d.facts FROM ident i JOIN dossier d ON d.id = i.dossier WHERE i.hash = $1;

-- name: done
DELETE FROM erasing WHERE hash = $1;

-- name: held
UPDATE erasing SET held = true WHERE hash = $1;

-- name: is_done
SELECT EXISTS (SELECT FROM erasure WHERE (shard, pos, controller) = ($1, $2, $3));

-- name: lock_out_appends
-- As a load of a register does: whoever appends has committed, and goes on when this transaction has.
SELECT pg_advisory_xact_lock(hashtext('consent.register'));

-- name: payloads_at
SELECT p.shard, p.pos, p.person, p.ciphertext, l.event_id
  FROM unnest($2::int[], $3::bigint[]) AS r (shard, pos)
  JOIN payload p ON p.shard = r.shard AND p.pos = r.pos AND p.controller = $1
  JOIN ledger l ON l.shard = r.shard AND l.pos = r.pos;

-- name: payloads_unfolded
-- Under keys that go, in entries that the view does not know yet: from the first that is not folded, of every shard.
SELECT p.shard, p.pos, p.person, p.ciphertext, l.event_id
  FROM unnest($2::int[], $3::bigint[]) AS r (shard, pos)
 CROSS JOIN LATERAL (SELECT * FROM payload e WHERE e.shard = r.shard AND e.pos >= r.pos ORDER BY e.shard, e.pos) AS p
  JOIN ledger l ON l.shard = p.shard AND l.pos = p.pos
 WHERE p.controller = $1 AND p.person = ANY($4::uuid[]);

-- name: looks
-- Looks at these addresses that happened up to the erasure ($2, $3), and later ones.
SELECT l.shard, l.pos, least(l.occurred_at, l.recorded_at) <= (
           SELECT least(e.occurred_at, e.recorded_at) FROM ledger e WHERE e.shard = $2 AND e.pos = $3) AS before
  FROM entry_subject s JOIN ledger l ON l.shard = s.shard AND l.pos = s.pos
 WHERE s.hash = ANY($1::bytea[]) AND s.role = 'viewed';

-- name: anchored
SELECT anchor, person, kek, wrapped FROM person_key WHERE controller = $1 AND (anchor = ANY($2::bytea[]) OR person = ANY($3::uuid[]));

-- name: begin
INSERT INTO erasure (id, shard, pos, controller, done_at, whole, keys, payloads, index_rows, rekeyed, keks, evidence, salt)
SELECT coalesce(max(id), 0) + 1, $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12 FROM erasure
RETURNING id;

-- name: is_recorded
SELECT EXISTS (SELECT FROM event WHERE event_id = $1);

-- name: count_index_rows
SELECT count(*) FROM unnest($2::int[], $3::bigint[]) AS d (shard, pos)
  JOIN entry_subject s ON s.shard = d.shard AND s.pos = d.pos AND s.controller = $1;

-- name: bind
INSERT INTO entry_subject (shard, pos, controller, ordinal, role, type, shared, hash)
SELECT $1, $2, $3, b.number + (SELECT coalesce(max(ordinal), -1) FROM entry_subject
                                WHERE shard = $1 AND pos = $2 AND controller = $3), 'subject', b.type, false, b.hash
  FROM unnest($4::text[], $5::bytea[]) WITH ORDINALITY AS b (type, hash, number);

-- name: destroy_keys
SELECT destroy_keys($1, $2::uuid[], $3::int[], $4::bigint[]);

-- name: delete_payloads
DELETE FROM payload p
 USING unnest($2::int[], $3::bigint[]) AS d (shard, pos)
 WHERE p.shard = d.shard AND p.pos = d.pos AND p.controller = $1;

-- name: delete_index_rows
DELETE FROM entry_subject s
 USING unnest($2::int[], $3::bigint[]) AS d (shard, pos)
 WHERE s.shard = d.shard AND s.pos = d.pos AND s.controller = $1;

-- name: add_key
INSERT INTO person_key (anchor, person, controller, kek, wrapped) VALUES ($1, $2, $3, $4, $5);

-- name: rekey
UPDATE payload SET person = $4, ciphertext = $5 WHERE shard = $1 AND pos = $2 AND controller = $3;

-- name: mark
INSERT INTO erased (hash, controller, at) SELECT hash, $2, $3 FROM unnest($1::bytea[]) AS h (hash)
ON CONFLICT (hash) DO UPDATE SET at = greatest(erased.at, excluded.at);

-- name: forget
INSERT INTO forgotten (hash, controller, until) SELECT hash, $2, $3 FROM unnest($1::bytea[]) AS h (hash)
ON CONFLICT (hash) DO UPDATE SET until = greatest(forgotten.until, excluded.until);

-- name: carried_out
SELECT e.done_at, e.whole, e.keys, e.payloads, e.index_rows, e.rekeyed, e.keks, l.recorded_at, l.event_id, l.body
  FROM erasure e JOIN ledger l ON l.shard = e.shard AND l.pos = e.pos
 WHERE e.shard = $1 AND e.pos = $2 AND e.controller = $3 ORDER BY e.id LIMIT 1;
