-- name: silent_owner
SELECT a.pid
  FROM view_head h
  JOIN pg_stat_activity a
    ON a.pid = h.owner_pid AND a.application_name = 'consent_viewer' AND a.datname = current_database()
 WHERE (h.lease_until < clock_timestamp() OR h.owner = $1) AND a.pid <> pg_backend_pid();

-- name: claim
UPDATE view_head
   SET epoch = epoch + 1, owner = $1, owner_pid = pg_backend_pid(), lease_until = clock_timestamp() + $2::interval
 WHERE lease_until < clock_timestamp() OR owner = $1
RETURNING epoch;

-- name: renew
UPDATE view_head SET lease_until = clock_timestamp() + $2::interval WHERE epoch = $1;

-- name: release
UPDATE view_head SET lease_until = '-infinity' WHERE owner = $1;

-- name: look
SELECT * FROM open_view($1, $2);

-- name: open
-- The positions are those of the statement's snapshot: if the lock had to be waited for, they may be older than `applied`,
-- and then there is nothing to fold this time.
SELECT epoch, applied, seq, next_dossier, register_version, sweep_controllers, sweep_from, instant,
       clock_timestamp() AS now,
       (SELECT array_agg(next_pos ORDER BY shard) FROM shard_head) AS next_pos,
       (SELECT array_agg(shard ORDER BY shard) FROM shard_head) AS shards
  FROM view_head FOR UPDATE;

-- name: entries
-- Each entry once for each of its identifiers, once if it has none. Range by range, by index; whoever waits for an event is
-- seldom there.
SELECT l.shard, l.pos, l.event_id, l.type, l.occurred_at, l.recorded_at, l.register_version, l.body,
       EXISTS (SELECT FROM waiting w WHERE w.ref_id = l.event_id) AS awaited,
       s.controller, s.role, s.type, s.shared, s.hash
  FROM unnest($1::int[], $2::bigint[], $3::bigint[]) AS r (shard, first, past)
 CROSS JOIN LATERAL (
       SELECT * FROM ledger e WHERE e.shard = r.shard AND e.pos >= r.first AND e.pos < r.past ORDER BY e.shard, e.pos) AS l
  LEFT JOIN LATERAL (
       SELECT * FROM entry_subject e WHERE e.shard = l.shard AND e.pos = l.pos
        ORDER BY e.shard, e.pos, e.controller, e.ordinal) AS s ON true;

-- name: entries_at
SELECT l.shard, l.pos, l.event_id, l.type, l.occurred_at, l.recorded_at, l.register_version, l.body, false AS awaited,
       s.controller, s.role, s.type, s.shared, s.hash
  FROM unnest($1::int[], $2::bigint[]) AS r (shard, pos)
  JOIN ledger l USING (shard, pos)
  LEFT JOIN entry_subject s USING (shard, pos)
 ORDER BY l.shard, l.pos, s.controller, s.ordinal;

-- name: payloads
SELECT p.shard, p.pos, p.controller, p.person, p.ciphertext
  FROM unnest($1::int[], $2::bigint[]) AS r (shard, pos)
  JOIN payload p USING (shard, pos);

-- name: places
SELECT event_id, shard, pos FROM event WHERE event_id = ANY($1::uuid[]);

-- name: requests
-- The first request received under each of these names.
SELECT DISTINCT ON (request_of(body)) request_of(body) AS name, shard, pos
  FROM ledger WHERE type = 'request-received' AND request_of(body) = ANY($1::text[])
 ORDER BY request_of(body), recorded_at, shard, pos;

-- name: waiting
DELETE FROM waiting WHERE ref_id = ANY($1::uuid[]) RETURNING ref_id, shard, pos;

-- name: known
-- An address that has a dossier, the dossier, and the row of the address.
SELECT i.hash, i.dossier, d.controller, d.facts,
       v.register_version, v.shard, v.pos, v.recorded_at, v.decisions, v.q
  FROM unnest($1::bytea[]) AS h (hash)
  JOIN ident i USING (hash)
  JOIN dossier d ON d.id = i.dossier
  LEFT JOIN view v ON v.hash = i.hash;

-- name: dossiers
SELECT id, controller, facts FROM dossier WHERE id = ANY($1::bigint[]);

-- name: due
SELECT id FROM dossier WHERE due_at <= $1 ORDER BY due_at LIMIT $2;

-- name: sweep
SELECT id FROM dossier WHERE id >= $1 AND controller = ANY($2::text[]) ORDER BY id LIMIT $3;

-- name: rows
SELECT hash, register_version, shard, pos, recorded_at, decisions, q FROM view WHERE hash = ANY($1::bytea[]);

-- name: merge_idents
UPDATE ident i SET dossier = m.survivor
  FROM unnest($1::bigint[], $2::bigint[]) AS m (absorbed, survivor)
 WHERE i.dossier = m.absorbed;

-- name: drop_dossiers
DELETE FROM dossier WHERE id = ANY($1::bigint[]);

-- name: put_needs
INSERT INTO needs (controller, purpose, version)
SELECT c, p, $3 FROM unnest($1::text[], $2::text[]) AS n (c, p)
ON CONFLICT (controller, purpose) DO UPDATE SET version = excluded.version;

-- name: needs
SELECT controller, purpose, version FROM needs;

-- name: register
SELECT document FROM register WHERE version = $1;

-- name: newest_load
SELECT version, shard, pos, recorded_at FROM register ORDER BY version DESC LIMIT 1;

-- name: put
-- All of a fold in one statement; rows of each table come sorted by its key, because neighbours share pages.
WITH idents AS (
    INSERT INTO ident (hash, dossier)
    SELECT * FROM unnest($10::bytea[], $11::bigint[])
    ON CONFLICT (hash) DO UPDATE SET dossier = excluded.dossier
), dossiers AS (
    INSERT INTO dossier (id, controller, facts, due_at)
    SELECT * FROM unnest($12::bigint[], $13::text[], $14::bytea[], $15::timestamptz[])
    ON CONFLICT (id) DO UPDATE SET facts = excluded.facts, due_at = excluded.due_at
), rows AS (
    INSERT INTO view (hash, controller, type, q, seq, register_version, shard, pos, recorded_at, decisions)
    SELECT * FROM unnest($16::bytea[], $17::text[], $18::text[], $19::smallint[], $20::bigint[], $21::bigint[],
                         $22::int[], $23::bigint[], $24::timestamptz[], $25::bytea[])
    ON CONFLICT (hash) DO UPDATE
       SET seq = excluded.seq, register_version = excluded.register_version, shard = excluded.shard, pos = excluded.pos,
           recorded_at = excluded.recorded_at, decisions = excluded.decisions
), changed AS (
    INSERT INTO outbox (q, seq, hash)
    SELECT q, seq, hash FROM unnest($19::smallint[], $20::bigint[], $16::bytea[]) AS o (q, seq, hash)
), waiting AS (
    INSERT INTO waiting (ref_id, shard, pos)
    SELECT * FROM unnest($26::uuid[], $27::int[], $28::bigint[]) ON CONFLICT DO NOTHING
), erasing AS (
    INSERT INTO erasing (hash) SELECT * FROM unnest($29::bytea[])
    ON CONFLICT (hash) DO UPDATE SET held = false
), told AS (
    INSERT INTO told (q, controller, dossier, shard, pos, merged_from, hashes)
    SELECT q, controller, dossier, shard, pos, merged_from::bigint[], hashes
      FROM unnest($30::smallint[], $31::text[], $32::bigint[], $33::int[], $34::bigint[], $35::text[], $36::bytea[])
           WITH ORDINALITY AS t (q, controller, dossier, shard, pos, merged_from, hashes, n)
     ORDER BY n
)
UPDATE view_head
   SET applied = $2, seq = $3, next_dossier = $4, register_version = $5, sweep_controllers = $6, sweep_from = $7,
       instant = $8, lease_until = clock_timestamp() + $9::interval
 WHERE epoch = $1;

-- name: recorded
SELECT shard, next_offset, next_pos FROM shard_head;

-- name: move_horizon
-- Only from a snapshot that has folded at least `$3` of every shard and stands on the register of that instant, and never
-- backwards, unless the clock was set back by more than clocks may differ ($4) and the view follows it. True once the
-- horizon is there.
WITH moved AS (
    UPDATE horizon h
       SET instant = $1, seq = v.seq
      FROM view_head v
     WHERE (h.instant < $1 OR (h.instant > $1 + $4::interval AND v.instant <= $1 + $4::interval))
       AND NOT EXISTS (SELECT FROM unnest($2::int[], $3::bigint[]) AS p (shard, pos)
                        WHERE coalesce(v.applied[p.shard + 1], 0) < p.pos)
       AND v.register_version = (SELECT coalesce(max(version), 0) FROM register)
       AND NOT EXISTS (SELECT FROM pending_register WHERE valid_from <= $1)
    RETURNING h.instant
)
SELECT EXISTS (SELECT FROM moved) OR (SELECT instant >= $1 FROM horizon);

-- name: clock
SELECT clock_timestamp();
