-- name: add
INSERT INTO api_key (id, digest, scopes, sources, controllers) VALUES ($1, $2, $3, $4, $5);

-- name: find
SELECT id, digest, scopes, sources, controllers FROM api_key WHERE id = $1 AND revoked_at IS NULL;

-- name: revoke
UPDATE api_key SET revoked_at = clock_timestamp() WHERE id = $1 AND revoked_at IS NULL;

-- name: list
SELECT id, scopes, sources, controllers, created_at, revoked_at FROM api_key ORDER BY created_at, id;
