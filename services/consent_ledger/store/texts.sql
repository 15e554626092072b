-- name: texts
-- By the index of the same condition, so the ledger's length does not matter.
SELECT event_id, shard, pos, recorded_at, body FROM ledger WHERE type = 'text-registered' ORDER BY recorded_at, shard, pos;
