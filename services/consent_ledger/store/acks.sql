-- name: take
-- An acknowledgement counts where its consumer is registered. The last one that was read stands, also when it says less:
-- a copy that began anew knows no more than that. `at` is the broker's time: no clock of a consumer makes it punctual.
WITH said AS (
    SELECT s.*
      FROM unnest($1::text[], $2::text[], $3::smallint[], $4::bigint[], $5::bigint[], $6::timestamptz[], $7::timestamptz[],
                  $8::timestamptz[]) AS s (consumer, instance, q, k_offset, seq, instant, applied_at, at)
      JOIN consumer c ON c.name = s.consumer
), late AS (
    INSERT INTO ack_delay AS d (consumer, instance, q, minute, worst)
    SELECT s.consumer, s.instance, s.q, x.minute, x.worst
      FROM said s JOIN ack a USING (consumer, instance, q) CROSS JOIN LATERAL delays(a.instant, s.instant, s.at) x
    ON CONFLICT (consumer, minute, instance, q) DO UPDATE SET worst = greatest(d.worst, excluded.worst)
), put AS (
    INSERT INTO ack AS a (consumer, instance, q, k_offset, seq, instant, applied_at)
    SELECT consumer, instance, q, k_offset, seq, instant, applied_at FROM said
    ON CONFLICT (consumer, instance, q) DO UPDATE
       SET k_offset = excluded.k_offset, seq = excluded.seq, instant = excluded.instant, applied_at = excluded.applied_at
)
SELECT count(*) FROM said;

-- name: retire
DELETE FROM ack WHERE consumer = $1 AND instance = $2 AND q = $3;

-- name: behind
-- How far each registered consumer is behind, by its copy that is furthest behind; one that never reported, or lacks a
-- partition, is behind since it was registered.
SELECT c.name, extract(epoch FROM clock_timestamp() - coalesce(a.instant, c.since))::float8 AS seconds
  FROM consumer c
  LEFT JOIN LATERAL (
       SELECT CASE WHEN min(n) >= (SELECT count(*) FROM relay_head) THEN min(i.instant) END AS instant
         FROM (SELECT count(*) AS n, min(instant) AS instant FROM ack WHERE consumer = c.name GROUP BY instance) i) a ON true
 ORDER BY c.name;

-- name: forget
-- What is kept to say how fast refusals spread is kept for thirty days.
WITH published AS (
    DELETE FROM publish_delay WHERE minute < clock_timestamp() - interval '30 days'
)
DELETE FROM ack_delay d USING consumer c
 WHERE d.consumer = c.name AND d.minute < clock_timestamp() - interval '30 days';
