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

-- name: raise
UPDATE view_head SET seq = greatest(seq, $1) RETURNING seq;

-- name: lift
-- As the owner of the view's versions: each row gets one that is higher than any before.
WITH head AS (
    UPDATE view_head SET seq = seq + cardinality($1::bytea[]) RETURNING seq - cardinality($1::bytea[]) AS base
), wanted AS (
    SELECT hash, row_number() OVER (ORDER BY hash) AS number FROM unnest($1::bytea[]) AS w (hash)
), lifted AS (
    UPDATE view v SET seq = head.base + wanted.number FROM wanted, head WHERE v.hash = wanted.hash
    RETURNING v.q, v.seq, v.hash
)
INSERT INTO outbox (q, seq, hash) SELECT q, seq, hash FROM lifted;
