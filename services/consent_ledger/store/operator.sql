-- name: quarantined
-- The newest first; never the record itself.
SELECT q.shard, h.topic, h.partition, q.k_offset, q.reason, q.detail, q.event_id, q.pos, q.recorded_at
  FROM quarantine q
  LEFT JOIN shard_head h USING (shard)
 WHERE $1::text IS NULL OR q.reason = $1
 ORDER BY q.recorded_at DESC, q.shard, q.k_offset DESC
 LIMIT $2;

-- name: relayed_partitions
SELECT count(*) FROM relay_head WHERE lease_until > clock_timestamp();

-- name: load_outcome
-- What became of a register load: the version it made, whether the view stands on it, or why it is in quarantine.
SELECT r.version, v.register_version >= r.version AS in_force, q.reason, q.detail
  FROM view_head v
  LEFT JOIN register r ON r.event_id = $1
  LEFT JOIN quarantine q ON q.event_id = $1 AND q.shard = 0;

-- name: refusals_without_controller
-- Refusals older than a controller do not reach it; those that named nobody might have been meant for it too.
SELECT count(*) FROM quarantine WHERE reason = 'NO_CONTROLLER' AND pos IS NOT NULL;
