-- name: server
SELECT current_setting('server_version') AS version, to_regclass('consent.shard_head') IS NOT NULL AS migrated;

-- name: shards
-- What the head of each shard says beside what is really in the tables.
SELECT h.shard, h.topic, h.partition, h.start_offset, h.next_offset, h.next_pos, h.duplicates, h.rejected, h.holes,
       h.owner, h.epoch, extract(epoch FROM h.lease_until - clock_timestamp())::float8 AS lease_seconds,
       (SELECT count(*) FROM ledger l WHERE l.shard = h.shard) AS found_entries,
       (SELECT count(*) FROM duplicate d WHERE d.shard = h.shard) AS found_duplicates,
       (SELECT count(*) FROM quarantine q WHERE q.shard = h.shard AND q.pos IS NULL) AS found_rejected,
       (SELECT coalesce(sum(o.to_offset - o.from_offset), 0)::bigint FROM hole o WHERE o.shard = h.shard) AS found_holes,
       h.next_pos - coalesce(v.applied[h.shard + 1], 0) AS unfolded
  FROM shard_head h, view_head v
 ORDER BY h.shard;

-- name: view
SELECT v.owner, v.epoch, extract(epoch FROM v.lease_until - clock_timestamp())::float8 AS lease_seconds,
       v.seq, v.register_version, v.sweep_controllers <> '{}' AS sweeping,
       (SELECT count(*) FROM view) AS addresses, (SELECT count(*) FROM dossier) AS dossiers,
       (SELECT count(*) FROM waiting) AS waiting,
       (SELECT extract(epoch FROM clock_timestamp() - instant)::float8 FROM horizon WHERE instant > 'epoch') AS horizon_age,
       w.long, w.oldest, w.first
  FROM view_head v
 CROSS JOIN (SELECT count(*) AS long, extract(epoch FROM clock_timestamp() - min(l.recorded_at))::float8 AS oldest,
                    (array_agg(l.event_id ORDER BY l.recorded_at))[1] AS first
               FROM waiting JOIN ledger l USING (shard, pos)
              WHERE l.recorded_at < clock_timestamp() - interval '1 day') AS w;

-- name: relay
SELECT q, owner, epoch, extract(epoch FROM lease_until - clock_timestamp())::float8 AS lease_seconds,
       (SELECT count(*) FROM outbox o WHERE o.q = h.q AND o.seq > h.cursor) AS unsent
  FROM relay_head h ORDER BY q;

-- name: quarantine
-- `oldest`: the age of the oldest that nobody has resolved, in seconds.
SELECT q.reason, count(*) AS records, count(q.pos) AS suppressing, max(q.recorded_at) AS newest,
       count(*) FILTER (WHERE r.shard IS NULL) AS unresolved,
       extract(epoch FROM clock_timestamp() - min(q.recorded_at) FILTER (WHERE r.shard IS NULL))::float8 AS oldest
  FROM quarantine q
  LEFT JOIN (SELECT DISTINCT shard, k_offset FROM quarantine_resolution) r USING (shard, k_offset)
 GROUP BY q.reason ORDER BY records DESC, q.reason;

-- name: places
SELECT shard, next_offset, last_offset, last_timestamp, last_digest FROM shard_head ORDER BY shard;

-- name: log
SELECT h.owner, h.epoch, extract(epoch FROM h.lease_until - clock_timestamp())::float8 AS lease_seconds,
       (SELECT coalesce(max(tree_size), 0) FROM checkpoint) AS size,
       (SELECT extract(epoch FROM clock_timestamp() - sealed_at)::float8
          FROM checkpoint ORDER BY tree_size DESC LIMIT 1) AS sealed_seconds_ago,
       (SELECT coalesce(sum(next_pos), 0)::bigint FROM shard_head) AS entries
  FROM seal_head h;
