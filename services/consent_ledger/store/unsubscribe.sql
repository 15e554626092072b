-- name: token_keys
SELECT kid, controller, kek, wrapped FROM unsubscribe_key ORDER BY version;

-- name: add_token_key
INSERT INTO unsubscribe_key (kid, controller, kek, wrapped) VALUES ($1, $2, $3, $4);

-- name: purpose
SELECT document #>> ARRAY['controllers', $1, 'name'] AS name,
       (SELECT one ->> 'basis' FROM jsonb_array_elements(document -> 'purposes') AS one
         WHERE one ->> 'controller' = $1 AND one ->> 'id' = $2) AS basis
  FROM register ORDER BY version DESC LIMIT 1;

-- name: bases
SELECT one ->> 'controller' AS controller, one ->> 'id' AS id, one ->> 'basis' AS basis
  FROM (SELECT document FROM register ORDER BY version DESC LIMIT 1) AS newest,
       jsonb_array_elements(document -> 'purposes') AS one;
