-- Read with the search path `consent_rebuild, consent`: what is unqualified here is the view that is made anew, and on
-- the live side, with `consent` alone, the live one.

-- name: lock
SELECT pg_try_advisory_lock(hashtext('consent.rebuild'));

-- name: hold_up_destructions
-- Waits for those under way.
SELECT pg_advisory_lock(hashtext('consent.destruction'));

-- name: may_destroy
SELECT pg_try_advisory_xact_lock_shared(hashtext('consent.destruction'));

-- name: unlock
SELECT pg_advisory_unlock(hashtext('consent.rebuild'));

-- name: begin
-- Whoever still works for an earlier run holds this row, and finds another epoch afterwards.
INSERT INTO consent_rebuild.view_head (epoch) VALUES (1)
ON CONFLICT (one) DO UPDATE SET epoch = view_head.epoch + 1
RETURNING epoch;

-- name: empty
TRUNCATE consent_rebuild.ident, consent_rebuild.dossier, consent_rebuild.waiting, consent_rebuild.view,
         consent_rebuild.outbox, consent_rebuild.arrival, consent_rebuild.link, consent_rebuild.root,
         consent_rebuild.differing;

-- name: hold
SELECT epoch FROM consent_rebuild.view_head FOR SHARE;

-- name: live
-- `idle`: nothing is due, no register is waiting to be used, and no sweep is under way.
SELECT v.applied, v.instant, v.register_version,
       v.sweep_controllers = '{}' AND v.register_version = (SELECT coalesce(max(version), 0) FROM consent.register)
       AND NOT EXISTS (SELECT FROM consent.dossier d WHERE d.due_at <= v.instant) AS idle,
       (SELECT array_agg(id ORDER BY id) FROM consent.dnc_snapshot WHERE state = 'active') AS snapshots
  FROM consent.view_head v;

-- name: folded
UPDATE consent_rebuild.view_head
   SET applied = $2, instant = $3, register_version = $4, next_dossier = $5, seq = 0 WHERE epoch = $1;

-- name: next_dossier
SELECT coalesce(max(id), 0) + 1 FROM consent_rebuild.dossier;

-- name: roots
INSERT INTO consent_rebuild.root (hash, root)
SELECT DISTINCT ON (hash) hash, root
  FROM (SELECT one AS hash, least(one, other) AS root FROM consent_rebuild.link
        UNION ALL
        SELECT other, least(one, other) FROM consent_rebuild.link) AS n
 ORDER BY hash, root;

-- name: lower_roots
-- Each address takes the smallest root of those that it is linked with, and of its own root; until none is smaller.
UPDATE consent_rebuild.root r SET root = n.root
  FROM (SELECT DISTINCT ON (hash) hash, root
          FROM (SELECT l.one AS hash, o.root FROM consent_rebuild.link l JOIN consent_rebuild.root o ON o.hash = l.other
                UNION ALL
                SELECT l.other, o.root FROM consent_rebuild.link l JOIN consent_rebuild.root o ON o.hash = l.one
                UNION ALL
                SELECT s.hash, o.root FROM consent_rebuild.root s JOIN consent_rebuild.root o ON o.hash = s.root) AS a
         ORDER BY hash, root) AS n
 WHERE n.hash = r.hash AND n.root < r.root;

-- name: move_home
UPDATE consent_rebuild.arrival a SET home = r.root FROM consent_rebuild.root r WHERE r.hash = a.home AND r.root <> a.home;

-- name: homes
SELECT home, controller, facts FROM consent_rebuild.arrival
 WHERE home >= $1 AND ($2::bytea IS NULL OR home < $2) ORDER BY home;

-- name: linked_idents
INSERT INTO consent_rebuild.ident (hash, dossier)
SELECT r.hash, i.dossier FROM consent_rebuild.root r JOIN consent_rebuild.ident i ON i.hash = r.root
ON CONFLICT DO NOTHING;

-- name: analyze
ANALYZE consent_rebuild.ident, consent_rebuild.dossier, consent_rebuild.view;

-- name: differing
-- An address without a dossier keeps its row for ever: that row then says what holds for everybody. Of two dates, the
-- live one may be earlier: then it is looked at once too often.
INSERT INTO consent_rebuild.differing
SELECT hash, l.live_dossier, l.live_controller, l.live_type, l.live_q, l.live_version, l.live_decisions, l.live_facts,
       l.live_due, r.dossier, r.controller, r.type, r.q, r.decisions, r.facts, r.due_at
  FROM (SELECT hash, i.dossier AS live_dossier, v.controller AS live_controller, v.type AS live_type, v.q AS live_q,
               v.register_version AS live_version, v.decisions AS live_decisions, d.facts AS live_facts,
               d.due_at AS live_due
          FROM (SELECT * FROM consent.view WHERE left(type, 1) <> '!') AS v
          FULL JOIN consent.ident i USING (hash)
          LEFT JOIN consent.dossier d ON d.id = i.dossier) AS l
  FULL JOIN (
        SELECT hash, i.dossier, coalesce(v.controller, d.controller) AS controller, v.type, v.q, v.decisions, d.facts,
               d.due_at
          FROM consent_rebuild.view v
          FULL JOIN consent_rebuild.ident i USING (hash)
          LEFT JOIN consent_rebuild.dossier d ON d.id = i.dossier) AS r USING (hash)
  LEFT JOIN (SELECT controller AS needing, max(version) AS needed FROM consent.needs GROUP BY 1) AS n
         ON n.needing = r.controller
 WHERE (l.live_type, l.live_q, l.live_decisions, l.live_facts) IS DISTINCT FROM (r.type, r.q, r.decisions, r.facts)
   AND NOT (r.dossier IS NULL AND l.live_dossier IS NULL AND l.live_decisions = '{}')
    OR (r.type IS NOT NULL AND l.live_controller IS DISTINCT FROM r.controller)
    OR coalesce(l.live_due, 'infinity') > coalesce(r.due_at, 'infinity')
    OR l.live_version < n.needed;

-- name: joined_before
-- Live dossiers that hold just the facts of several new ones: an entry that joined them is gone. Dossiers are never split.
SELECT DISTINCT live_dossier, live_facts
  FROM consent_rebuild.differing
 WHERE live_dossier IS NOT NULL AND live_facts IS DISTINCT FROM facts;

-- name: parts_of
SELECT DISTINCT n.id, n.facts
  FROM consent.ident l
  JOIN consent_rebuild.ident i USING (hash)
  JOIN consent_rebuild.dossier n ON n.id = i.dossier
 WHERE l.dossier = $1;

-- name: forget_joined
DELETE FROM consent_rebuild.differing
 WHERE live_dossier = $1
   AND (live_type, live_q, live_decisions) IS NOT DISTINCT FROM (type, q, decisions)
   AND live_controller IS NOT DISTINCT FROM controller
   AND NOT coalesce(live_due, 'infinity') > coalesce(due_at, 'infinity')
   AND NOT coalesce(live_version < (SELECT max(version) FROM consent.needs n WHERE n.controller = differing.controller), false);

-- name: count
SELECT (SELECT count(*) FROM consent_rebuild.view) AS addresses, (SELECT count(*) FROM consent_rebuild.dossier) AS dossiers,
       (SELECT count(*) FROM consent_rebuild.differing) AS differing,
       (SELECT sha256(coalesce(string_agg(part, '' ORDER BY first), ''))
          FROM (SELECT get_byte(hash, 0) AS first, string_agg(sha256(hash || decisions), '' ORDER BY hash) AS part
                  FROM consent_rebuild.view GROUP BY 1) AS parts) AS digest;

-- name: some_differing
SELECT hash, live_dossier, live_controller, live_type, live_q, live_version, live_decisions, live_facts, live_due,
       dossier, controller, type, q, decisions, facts, due_at
  FROM consent_rebuild.differing WHERE hash > $1 ORDER BY hash LIMIT $2;

-- name: differing_waits
SELECT ref_id, shard, pos, true AS live FROM (SELECT * FROM consent.waiting EXCEPT SELECT * FROM consent_rebuild.waiting) AS l
UNION ALL
SELECT ref_id, shard, pos, false FROM (SELECT * FROM consent_rebuild.waiting EXCEPT SELECT * FROM consent.waiting) AS r
 ORDER BY shard, pos;

-- name: needed
SELECT controller, max(version) AS version FROM consent.needs GROUP BY controller;

-- name: idents_of_hashes
SELECT hash, dossier FROM ident WHERE hash = ANY($1::bytea[]);

-- name: idents_of_dossiers
SELECT hash, dossier FROM ident WHERE dossier = ANY($1::bigint[]);

-- name: dossiers
SELECT id, controller, facts, due_at FROM dossier WHERE id = ANY($1::bigint[]);

-- name: rows
SELECT hash, controller, type, q, seq, register_version, shard, pos, recorded_at, decisions
  FROM view WHERE hash = ANY($1::bytea[]);

-- name: drop_rows
DELETE FROM view WHERE hash = ANY($1::bytea[]);

-- name: drop_idents
DELETE FROM ident WHERE hash = ANY($1::bytea[]);

-- name: drop_dossiers
DELETE FROM dossier WHERE id = ANY($1::bigint[]);

-- name: take_waits
WITH gone AS (
    DELETE FROM consent.waiting w
     WHERE NOT EXISTS (SELECT FROM consent_rebuild.waiting n WHERE (n.ref_id, n.shard, n.pos) = (w.ref_id, w.shard, w.pos))
)
INSERT INTO consent.waiting SELECT * FROM consent_rebuild.waiting ON CONFLICT DO NOTHING;

-- name: last_run
SELECT recorded_at, body FROM ledger WHERE type = 'rebuild-run' ORDER BY recorded_at DESC LIMIT 1;

-- name: left_over
SELECT EXISTS (SELECT FROM consent_rebuild.dossier) OR EXISTS (SELECT FROM consent_rebuild.arrival)
    OR EXISTS (SELECT FROM consent_rebuild.differing);
