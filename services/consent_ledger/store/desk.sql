-- name: record
-- One record in quarantine, by its place in Kafka.
SELECT q.shard, q.k_offset, q.reason, q.detail, q.event_id, q.pos, q.recorded_at, q.record
  FROM quarantine q JOIN shard_head h USING (shard)
 WHERE h.topic = $1 AND h.partition = $2 AND q.k_offset = $3;

-- name: add_look
INSERT INTO quarantine_look (shard, k_offset, said, event_id) VALUES ($1, $2, $3, $4);

-- name: looks
SELECT event_id, said FROM quarantine_look WHERE event_id = ANY($1::uuid[]);

-- name: add_resolution
INSERT INTO quarantine_resolution (shard, k_offset, outcome, event_id, said) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT DO NOTHING;

-- name: resolve_entry
-- Whatever stands in quarantine beside this entry is resolved with it.
INSERT INTO quarantine_resolution (shard, k_offset, outcome, event_id, said)
SELECT shard, k_offset, 'voided', $3, $4 FROM quarantine WHERE shard = $1 AND pos = $2 AND event_id = $5
ON CONFLICT DO NOTHING;

-- name: add_proposal
INSERT INTO void_proposal (voids, event_id, source, said) VALUES ($1, $2, $3, $4);

-- name: proposal
SELECT event_id, source, proposed_at, said FROM void_proposal WHERE voids = $1 ORDER BY id DESC LIMIT 1;

-- name: service_key
SELECT kek, wrapped FROM service_key WHERE name = 'quarantine';
