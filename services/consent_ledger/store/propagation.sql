-- name: refusals
-- `$2`: the types; a hard bounce besides. A malformed refusal is an entry of such a type too.
SELECT l.event_id, l.type, l.occurred_at, l.recorded_at, l.body,
       array(SELECT DISTINCT s.controller FROM entry_subject s WHERE s.shard = l.shard AND s.pos = l.pos) AS controllers
  FROM shard_head h
 CROSS JOIN LATERAL (
       SELECT * FROM ledger l
        WHERE l.shard = h.shard AND l.pos >= first_position(h.shard, $1)
          AND (l.type = ANY($2::text[])
               OR (l.type = 'delivery-failed' AND convert_from(l.body, 'UTF8')::jsonb -> 1 ->> 'bounce' = 'hard'))) AS l
 ORDER BY l.recorded_at, l.shard, l.pos;

-- name: published
-- The topic has what every partition has.
SELECT CASE WHEN count(*) = count(instant) THEN min(instant) END FROM relay_head;

-- name: publish_delays
SELECT minute, max(worst) AS worst FROM publish_delay WHERE minute >= date_bin('1 minute', $1::timestamptz, 'epoch') GROUP BY minute;

-- name: ack_delays
SELECT consumer, minute, max(worst) AS worst
  FROM ack_delay WHERE minute >= date_bin('1 minute', $1::timestamptz, 'epoch') GROUP BY consumer, minute;

-- name: now
SELECT clock_timestamp();
