-- name: add
INSERT INTO consumer (name, controllers, purposes, channels) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING RETURNING since;

-- name: remove
DELETE FROM consumer WHERE name = $1 RETURNING name;

-- name: all
SELECT name, controllers, purposes, channels, since FROM consumer ORDER BY name;

-- name: instances
-- A copy knows no more than its partition that knows least; one that has not reported of every partition knows nothing.
SELECT consumer, instance, array_agg(q ORDER BY q) AS partitions,
       CASE WHEN count(*) >= $1 THEN min(instant) END AS instant, max(applied_at) AS reported_at
  FROM ack GROUP BY consumer, instance ORDER BY consumer, instance;
