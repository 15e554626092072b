-- Questions to an export of the ledger, for DuckDB. Run it where the export lies:
--
--     cd EXPORT && duckdb < ledger.sql
--
-- In a bucket: INSTALL httpfs; LOAD httpfs; and 's3://bucket/path/segments/*.parquet' instead.

CREATE OR REPLACE VIEW entry AS
SELECT *, json_extract(body, '$[1]') AS said
  FROM read_parquet('segments/*.parquet');

-- What was recorded, month by month.
SELECT date_trunc('month', recorded_at) AS month, type, count(*) AS entries
  FROM entry
 GROUP BY ALL
 ORDER BY ALL;

-- Which controllers are named, and by which sources.
SELECT controller, said ->> '$.source' AS source, count(*) AS entries
  FROM (SELECT unnest(from_json(said -> '$.controllers', '["VARCHAR"]')) AS controller, said
          FROM entry WHERE json_type(said, '$.controllers') = 'ARRAY')
 GROUP BY ALL
 ORDER BY entries DESC, controller, source;

-- How long entries took from what happened to the record of it.
SELECT type, quantile_cont(epoch(recorded_at - occurred_at), [0.5, 0.99]) AS seconds
  FROM entry
 GROUP BY type
 ORDER BY type;

-- Whether a position is missing: no row, if all is there.
SELECT shard, position + 1 AS missing
  FROM (SELECT shard, position, lead(position) OVER (PARTITION BY shard ORDER BY position) AS next FROM entry)
 WHERE next <> position + 1
 ORDER BY ALL;
