-- name: now
SELECT transaction_timestamp();

-- name: count
SELECT count(*) FROM dossier WHERE controller = ANY($1::text[]);

-- name: dossiers
SELECT controller, facts FROM dossier WHERE controller = ANY($1::text[]);

-- name: sample
SELECT controller, facts FROM dossier WHERE controller = ANY($1::text[]) ORDER BY random() LIMIT $2;

-- name: without_controller
-- Refusals that name no controller, and those that name one of $2 though it was not registered. Within the text of a body
-- every quote is escaped, so this finds the field and nothing else.
SELECT count(*) FILTER (WHERE named IS NULL OR named = '[]') AS naming_none,
       count(*) FILTER (WHERE EXISTS (SELECT FROM unnest($2::text[]) AS c (name)
                                       WHERE position(to_json(c.name)::text IN named) > 0)) AS naming_these
  FROM (SELECT substring(convert_from(body, 'UTF8') FROM '"controllers":(\[[^]]*\])') AS named
          FROM ledger WHERE type = ANY($1::text[])) AS refusal;
