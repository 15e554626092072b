-- name: steps
-- In the order of their snapshots; of two of one date the one recorded later comes later.
SELECT s.register, s.controller, s.id, s.snapshot, n.snapshot_at, n.source, s.known_from
  FROM dnc_step s
  JOIN dnc_snapshot n ON n.id = s.snapshot
 WHERE s.known_from IS NOT NULL AND ($1::text[] IS NULL OR s.controller = ANY($1))
 ORDER BY n.snapshot_at, n.recorded_at, s.id;

-- name: changes
SELECT hash, step, listed, registered_at FROM dnc WHERE hash = ANY($1::bytea[]);

-- name: add_snapshot
INSERT INTO dnc_snapshot (id, register, source, snapshot_at, count, digest, state)
VALUES ($1, $2, $3, $4, $5, $6, 'loading');

-- name: set_loaded
UPDATE dnc_snapshot SET state = 'loaded', count = $2, digest = $3 WHERE id = $1 AND state = 'loading';

-- name: snapshot
SELECT id, register, source, snapshot_at, count, digest, state, problem, recorded_at FROM dnc_snapshot WHERE id = $1;

-- name: count_loaded
SELECT count(DISTINCT hash) FROM dnc_load WHERE snapshot = $1 AND controller = $2;

-- name: add_step
INSERT INTO dnc_step (register, controller, snapshot, brought_by, base)
VALUES ($1, $2, $3, $4, $5)
RETURNING id;

-- name: stand_together
-- Snapshots of one date stand together, in whatever order they come: what one of them lists is listed.
INSERT INTO dnc_load (snapshot, controller, hash, registered_at)
SELECT $1, $2, hash, registered_at
  FROM (SELECT DISTINCT ON (hash) hash, listed, registered_at
          FROM dnc WHERE step = ANY($3::int[]) ORDER BY hash, array_position($3::int[], step) DESC) AS state
 WHERE listed;

-- name: change_to_loaded
-- What has to change from the state at the end of the steps $4 to come to what is loaded. In the order of the hashes,
-- so that the order of a list tells nothing about which hashes of two controllers are one number.
WITH loaded AS (
    SELECT hash, max(registered_at) AS registered_at FROM dnc_load WHERE snapshot = $2 AND controller = $3 GROUP BY hash
), state AS (
    SELECT DISTINCT ON (hash) hash, listed, registered_at
      FROM dnc WHERE step = ANY($4::int[]) ORDER BY hash, array_position($4::int[], step) DESC
), changed AS (
    INSERT INTO dnc (hash, step, listed, registered_at)
    SELECT coalesce(n.hash, b.hash), $1, n.hash IS NOT NULL, n.registered_at
      FROM loaded n FULL JOIN (SELECT * FROM state WHERE listed) b ON b.hash = n.hash
     WHERE n.hash IS NULL OR b.hash IS NULL OR n.registered_at IS DISTINCT FROM b.registered_at
     ORDER BY 1
    RETURNING 1
)
UPDATE dnc_step SET changes = (SELECT count(*) FROM changed) WHERE id = $1;

-- name: change_from_loaded
-- The other way: what has to change from what is loaded to come to the state at the end of the steps $4.
WITH loaded AS (
    SELECT hash, max(registered_at) AS registered_at FROM dnc_load WHERE snapshot = $2 AND controller = $3 GROUP BY hash
), state AS (
    SELECT DISTINCT ON (hash) hash, listed, registered_at
      FROM dnc WHERE step = ANY($4::int[]) ORDER BY hash, array_position($4::int[], step) DESC
), changed AS (
    INSERT INTO dnc (hash, step, listed, registered_at)
    SELECT coalesce(n.hash, b.hash), $1, b.hash IS NOT NULL, b.registered_at
      FROM loaded n FULL JOIN (SELECT * FROM state WHERE listed) b ON b.hash = n.hash
     WHERE n.hash IS NULL OR b.hash IS NULL OR n.registered_at IS DISTINCT FROM b.registered_at
     ORDER BY 1
    RETURNING 1
)
UPDATE dnc_step SET changes = (SELECT count(*) FROM changed) WHERE id = $1;

-- name: unload
DELETE FROM dnc_load WHERE snapshot = $1;

-- name: brought
SELECT id, controller, snapshot, base, changes FROM dnc_step WHERE brought_by = $1 ORDER BY id;

-- name: activate
UPDATE dnc_snapshot
   SET state = 'active', snapshot_at = $2, recorded_at = $3, shard = $4, pos = $5
 WHERE id = $1 AND state = 'loaded';

-- name: know_steps
UPDATE dnc_step SET known_from = $2 WHERE brought_by = $1;

-- name: refuse
UPDATE dnc_snapshot SET state = 'refused', problem = $2 WHERE id = $1;

-- name: mark_dossiers
-- The answers of these dossiers are to be made again before anything else that is due.
UPDATE dossier SET due_at = '-infinity'
 WHERE id IN (SELECT i.dossier FROM dnc d JOIN ident i ON i.hash = d.hash WHERE d.step = ANY($1::int[]));

-- name: newest
-- Of each register, the newest snapshot that counts, and whether one is still to be announced.
SELECT DISTINCT ON (n.register) n.register, n.id, n.snapshot_at, n.recorded_at, n.shard, n.pos, n.count, n.digest,
       EXISTS (SELECT FROM dnc_snapshot u WHERE u.register = n.register AND u.state = 'active' AND NOT u.announced) AS news
  FROM dnc_snapshot n
 WHERE n.state = 'active'
 ORDER BY n.register, n.snapshot_at DESC, n.recorded_at DESC;

-- name: set_announced
UPDATE dnc_snapshot SET announced = true WHERE register = $1 AND state = 'active' AND NOT announced;

-- name: announce_again
UPDATE dnc_snapshot SET announced = false WHERE state = 'active' AND announced;

-- name: lock_register
-- Held by the session: one import of a register at a time.
SELECT pg_try_advisory_lock(hashtext('consent.dnc'), hashtext($1));

-- name: abandon
-- Committed at once, so that an entry that still comes for one of them finds it refused and waits for nothing.
UPDATE dnc_snapshot SET state = 'refused' WHERE register = $1 AND state IN ('loading', 'loaded');

-- name: abandoned
SELECT id FROM dnc_snapshot WHERE register = $1 AND state <> 'active';

-- name: forget
SELECT forget_snapshot($1);

-- name: same
-- The active snapshot of the same list and date, if it holds for all of these controllers.
SELECT n.id
  FROM dnc_snapshot n
 WHERE n.register = $1 AND n.snapshot_at = $2 AND n.digest = $3 AND n.state = 'active'
   AND NOT EXISTS (SELECT FROM unnest($4::text[]) AS c (controller)
                    WHERE NOT EXISTS (SELECT FROM dnc_step s WHERE s.brought_by = n.id AND s.controller = c.controller))
 LIMIT 1;
