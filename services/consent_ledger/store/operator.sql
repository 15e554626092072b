-- name: quarantined
-- The newest first; never the record itself.
SELECT q.shard, h.topic, h.partition, q.k_offset, q.reason, q.detail, q.event_id, q.pos, q.recorded_at, r.resolved
  FROM quarantine q
  LEFT JOIN shard_head h USING (shard)
  LEFT JOIN (SELECT shard, k_offset, string_agg(outcome, ', ' ORDER BY resolved_at) AS resolved
               FROM quarantine_resolution GROUP BY shard, k_offset) r USING (shard, k_offset)
 WHERE ($1::text IS NULL OR q.reason = $1) AND NOT ($3 AND r.resolved IS NOT NULL)
 ORDER BY q.recorded_at DESC, q.shard, q.k_offset DESC
 LIMIT $2;

-- name: relayed_partitions
SELECT count(*) FROM relay_head WHERE lease_until > clock_timestamp();

-- name: has_keys
SELECT EXISTS (SELECT FROM service_key);

-- name: load_outcome
-- What became of a register load: the version it made, whether the view stands on it, when it is to come into force,
-- or why it is in quarantine.
SELECT r.version, v.register_version >= r.version AS in_force, p.valid_from AS scheduled_for, q.reason, q.detail
  FROM view_head v
  LEFT JOIN register r ON r.event_id = $1
  LEFT JOIN pending_register p ON p.event_id = $1
  LEFT JOIN quarantine q ON q.event_id = $1 AND q.shard = 0;

-- name: counts
-- What the ledger made of everything that came on the events topic.
SELECT coalesce(sum(next_pos), 0)::bigint AS entries, coalesce(sum(duplicates), 0)::bigint AS duplicates,
       coalesce(sum(rejected), 0)::bigint AS rejected, coalesce(sum(holes), 0)::bigint AS holes,
       coalesce(sum(next_offset - start_offset), 0)::bigint AS offsets
  FROM shard_head WHERE shard > 0;

-- name: entries_of
-- How many entries each of these events has; one that was never recorded has no row.
SELECT event_id, count(*) FROM ledger WHERE event_id = ANY($1::uuid[]) GROUP BY event_id;
