-- name: add_shard
INSERT INTO shard_head (shard, topic, partition, start_offset, next_offset)
VALUES ($1, $2, $3, $4, $4)
ON CONFLICT DO NOTHING;

-- name: silent_owner
-- The back end of an owner whose lease has passed: it may be stopped inside a transaction and hold the head row.
SELECT a.pid
  FROM shard_head h
  JOIN pg_stat_activity a
    ON a.pid = h.owner_pid AND a.application_name = 'consent_recorder' AND a.datname = current_database()
 WHERE h.shard = $1 AND (h.lease_until < clock_timestamp() OR h.owner = $2) AND a.pid <> pg_backend_pid();

-- name: claim
UPDATE shard_head
   SET epoch = epoch + 1, owner = $2, owner_pid = pg_backend_pid(), lease_until = clock_timestamp() + $3::interval
 WHERE shard = $1 AND (lease_until < clock_timestamp() OR owner = $2)
RETURNING epoch, next_offset, last_offset, last_timestamp, last_digest;

-- name: renew
UPDATE shard_head SET lease_until = clock_timestamp() + $3::interval
 WHERE shard = ANY($1::int[]) AND owner = $2
RETURNING shard, epoch;

-- name: release
UPDATE shard_head SET lease_until = '-infinity' WHERE owner = $1 AND ($2::int[] IS NULL OR shard = ANY($2));

-- name: open
-- Shards come sorted and are locked in that order. One that is missing in the answer is no longer the caller's.
SELECT b.shard, h.register_version, h.next_register, h.erasures, h.next_offset, h.next_pos, h.last_recorded_at, h.now
  FROM unnest($1::int[], $2::bigint[]) AS b (shard, epoch)
 CROSS JOIN LATERAL open_shard(b.shard, b.epoch, $3) AS h;

-- name: add_events
-- Sorted, so that two recorders with ids in common wait for each other and never in a circle.
INSERT INTO event (event_id, shard, pos, digest)
SELECT * FROM unnest($1::uuid[], $2::int[], $3::bigint[], $4::bytea[]) AS e (event_id, shard, pos, digest)
 ORDER BY event_id
ON CONFLICT DO NOTHING;

-- name: add_few
-- Event ids, entries, identifiers and payloads in one round trip; how many of the ids were free.
WITH events AS (
    INSERT INTO event (event_id, shard, pos, digest)
    SELECT * FROM unnest($1::uuid[], $2::int[], $3::bigint[], $4::bytea[]) AS e (event_id, shard, pos, digest)
     ORDER BY event_id
    ON CONFLICT DO NOTHING
    RETURNING 1
), entries AS (
    INSERT INTO ledger (shard, pos, event_id, type, occurred_at, recorded_at, k_offset, register_version, body,
                        payload_commit, tags, leaf_hash)
    SELECT * FROM unnest($5::int[], $6::bigint[], $7::uuid[], $8::text[], $9::timestamptz[], $10::timestamptz[],
                         $11::bigint[], $12::bigint[], $13::bytea[], $14::bytea[], $15::bytea[], $16::bytea[])
), subjects AS (
    INSERT INTO entry_subject (shard, pos, controller, ordinal, role, type, shared, hash)
    SELECT * FROM unnest($17::int[], $18::bigint[], $19::text[], $20::smallint[], $21::text[], $22::text[],
                         $23::boolean[], $24::bytea[])
), payloads AS (
    INSERT INTO payload (shard, pos, controller, person, ciphertext)
    SELECT * FROM unnest($25::int[], $26::bigint[], $27::text[], $28::uuid[], $29::bytea[])
)
SELECT count(*) FROM events;

-- name: taken
-- Without those that this very transaction has just written, from position $3 of shard $2 on.
SELECT event_id, digest FROM event e
 WHERE event_id = ANY($1::uuid[])
   AND NOT EXISTS (SELECT FROM unnest($2::int[], $3::bigint[]) AS m (shard, pos) WHERE m.shard = e.shard AND m.pos <= e.pos);

-- name: add_register
INSERT INTO register (version, shard, pos, event_id, digest, valid_from, recorded_at, document)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8);

-- name: schedule_register
INSERT INTO scheduled_register (event_id, shard, pos, valid_from, recorded_at, document)
VALUES ($1, $2, $3, $4, $5, $6);

-- name: close
UPDATE shard_head h
   SET next_offset = b.next_offset, next_pos = h.next_pos + b.entries, duplicates = h.duplicates + b.duplicates,
       rejected = h.rejected + b.rejected, holes = h.holes + b.holes, last_recorded_at = b.recorded_at,
       lease_until = clock_timestamp() + $1::interval, last_offset = coalesce(b.last_offset, h.last_offset),
       last_timestamp = coalesce(b.last_timestamp, h.last_timestamp), last_digest = coalesce(b.last_digest, h.last_digest)
  FROM unnest($2::int[], $3::bigint[], $4::bigint[], $5::bigint[], $6::int[], $7::int[], $8::int[], $9::bigint[],
              $10::timestamptz[], $11::bigint[], $12::bigint[], $13::bytea[])
       AS b (shard, epoch, first_offset, next_offset, entries, duplicates, rejected, holes,
             recorded_at, last_offset, last_timestamp, last_digest)
 WHERE h.shard = b.shard AND h.epoch = b.epoch AND h.next_offset = b.first_offset;

-- name: register
SELECT version, document FROM register ORDER BY version DESC LIMIT 1;

-- name: register_version
SELECT coalesce(max(version), 0) FROM register;

-- name: heads
SELECT shard, topic, partition, start_offset, next_offset, next_pos, duplicates, rejected, holes, epoch, owner,
       lease_until > clock_timestamp() AS owned, last_recorded_at
  FROM shard_head ORDER BY shard;
