-- name: head
SELECT seq FROM view_head;

-- name: unsent
SELECT EXISTS (SELECT FROM outbox WHERE q = $1 AND seq <= $2);

-- name: rows
SELECT v.hash, v.controller, v.type, v.seq, v.register_version, v.shard, v.pos, v.recorded_at, v.decisions,
       CASE WHEN v.type = '!purposes'
            THEN (SELECT jsonb_object_agg(d.purpose, d.version) FROM needs d WHERE d.controller = v.controller) END AS needs
  FROM view v
 WHERE v.q = $1;

-- name: request
INSERT INTO resend (q, hash)
SELECT $1, hash FROM unnest($2::bytea[]) AS wanted (hash)
 WHERE NOT EXISTS (SELECT FROM resend r WHERE r.q = $1 AND r.hash = wanted.hash);
