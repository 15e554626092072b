-- name: place
SELECT i.id AS installation, v.seq FROM view_head v CROSS JOIN installation i;

-- name: since
-- The viewer numbers rows under its lock, so whatever is committed later has a higher number. The date of a do-not-call
-- register stands under the register's name, once for each partition, all from one commit.
SELECT n.controller, r.type, r.hash, r.seq, r.shard, r.pos, r.recorded_at
  FROM (SELECT c AS controller, c AS name, false AS is_register FROM unnest($1::text[]) AS c
         UNION SELECT NULL, s.register, true FROM dnc_step s WHERE s.controller = ANY($1::text[])) n
 CROSS JOIN LATERAL (
       SELECT v.type, v.hash, v.seq, v.shard, v.pos, v.recorded_at
         FROM view v
        WHERE v.controller = n.name AND v.seq > $2
          AND CASE WHEN n.is_register THEN v.type = '!dnc' AND v.q = 0 ELSE v.type <> '!dnc' END
        ORDER BY v.seq LIMIT $3) r
 ORDER BY r.seq LIMIT $3;
