-- name: keep
CREATE TEMPORARY TABLE kept AS SELECT * FROM ledger WHERE shard = $1 AND pos = $2;

-- name: date_back
UPDATE ledger SET occurred_at = occurred_at - interval '1 year' WHERE shard = $1 AND pos = $2;

-- name: delete
DELETE FROM ledger WHERE shard = $1 AND pos = $2;

-- name: allow
UPDATE ledger SET type = 'consent-given' WHERE shard = $1 AND pos = $2;

-- name: put_back
INSERT INTO ledger SELECT * FROM kept;

-- name: forget
DROP TABLE kept;

-- name: left
SELECT (SELECT count(*) FROM ledger l WHERE l.shard = $1 AND l.pos = $2) AS entries,
       (SELECT count(*) FROM payload p WHERE p.shard = $1 AND p.pos = $2) AS personal_parts,
       (SELECT count(*) FROM payload p JOIN person_key k USING (person) WHERE p.shard = $1 AND p.pos = $2) AS keys,
       (SELECT count(*) FROM entry_subject s WHERE s.shard = $1 AND s.pos = $2) AS index_rows;
