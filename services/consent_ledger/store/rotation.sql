-- name: lock
-- One rotation at a time, until the connection ends.
SELECT pg_try_advisory_lock(hashtext('consent.rotate'));

-- name: begin
INSERT INTO key_epoch (kek) SELECT * FROM unnest($1::text[]) ON CONFLICT DO NOTHING;

-- name: epochs
SELECT kek, epoch, began_at, retired_at FROM key_epoch ORDER BY epoch;

-- name: left
SELECT (SELECT count(*) FROM service_key WHERE kek <> $1) + (SELECT count(*) FROM controller_key WHERE kek <> $1)
     + (SELECT count(*) FROM person_key WHERE kek <> $1) + (SELECT count(*) FROM unsubscribe_key WHERE kek <> $1);

-- name: next_service_key
SELECT name AS id, kek, wrapped FROM service_key WHERE kek <> $1 ORDER BY name LIMIT $2 FOR UPDATE;

-- name: put_service_key
UPDATE service_key k SET kek = $1, wrapped = n.wrapped FROM unnest($2::text[], $3::bytea[]) AS n (id, wrapped) WHERE k.name = n.id;

-- name: next_controller_key
SELECT controller AS id, kek, wrapped FROM controller_key WHERE kek <> $1 ORDER BY controller LIMIT $2 FOR UPDATE;

-- name: put_controller_key
UPDATE controller_key k SET kek = $1, wrapped = n.wrapped
  FROM unnest($2::text[], $3::bytea[]) AS n (id, wrapped) WHERE k.controller = n.id;

-- name: next_person_key
SELECT anchor AS id, kek, wrapped FROM person_key WHERE kek <> $1 ORDER BY kek, anchor LIMIT $2 FOR UPDATE;

-- name: put_person_key
UPDATE person_key k SET kek = $1, wrapped = n.wrapped FROM unnest($2::bytea[], $3::bytea[]) AS n (id, wrapped) WHERE k.anchor = n.id;

-- name: next_unsubscribe_key
SELECT version AS id, kek, wrapped FROM unsubscribe_key WHERE kek <> $1 ORDER BY version LIMIT $2 FOR UPDATE;

-- name: put_unsubscribe_key
UPDATE unsubscribe_key k SET kek = $1, wrapped = n.wrapped
  FROM unnest($2::bigint[], $3::bytea[]) AS n (id, wrapped) WHERE k.version = n.id;

-- name: retire
SELECT retire_kek($1);
