-- name: begin
INSERT INTO campaign_request (id, campaign, answered_at, api_key, known, horizon)
VALUES ($1, $2, clock_timestamp(), $3, $4, $5) ON CONFLICT DO NOTHING;

-- name: counts
SELECT a.controller, a.purpose, a.channel, a.allow, a.reason, count(*) AS answers
  FROM campaign_request r JOIN campaign_answer a ON a.request = r.id
 WHERE r.campaign = $1
 GROUP BY a.controller, a.purpose, a.channel, a.allow, a.reason
 ORDER BY a.controller, a.purpose, a.channel, answers DESC, a.reason;

-- name: span
SELECT count(*) AS requests, min(answered_at) AS first, max(answered_at) AS last
  FROM campaign_request WHERE campaign = $1;

-- name: about
SELECT r.answered_at, a.controller, a.purpose, a.channel, a.at, a.allow, a.reason, a.shard, a.pos, r.known, r.horizon
  FROM campaign_request r JOIN campaign_answer a ON a.request = r.id
 WHERE r.campaign = $1 AND a.hash = ANY($2::bytea[])
 ORDER BY r.answered_at, r.id, a.ordinal;

-- name: old
SELECT id FROM campaign_request WHERE answered_at < $1 ORDER BY answered_at LIMIT 20;

-- name: count_old
SELECT count(*) FROM campaign_request r JOIN campaign_answer a ON a.request = r.id WHERE r.answered_at < $1;

-- name: delete_answers
DELETE FROM campaign_answer WHERE request = ANY($1::uuid[]);

-- name: delete_requests
DELETE FROM campaign_request WHERE id = ANY($1::uuid[]);

-- name: refused
-- By the index of the same condition. What was answered no about an address, the earliest first.
SELECT r.answered_at, r.campaign, a.purpose, a.channel, a.reason
  FROM campaign_answer a JOIN campaign_request r ON r.id = a.request
 WHERE a.controller = $1 AND a.hash = ANY($2::bytea[]) AND NOT a.allow
 ORDER BY r.answered_at, r.id, a.ordinal
 LIMIT 10000;
