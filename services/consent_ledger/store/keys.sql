-- name: service_keys
SELECT name, kek, wrapped FROM service_key;

-- name: add_service_key
INSERT INTO service_key (name, kek, wrapped) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING;

-- name: controller_keys
SELECT controller, kid, kek, wrapped FROM controller_key;

-- name: add_controller_key
INSERT INTO controller_key (controller, kid, kek, wrapped) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING;

-- name: person_keys
SELECT anchor, person, kek, wrapped FROM person_key WHERE anchor = ANY($1::bytea[]);

-- name: person_keys_by_person
SELECT person, kek, wrapped FROM person_key WHERE person = ANY($1::uuid[]);

-- name: add_person_keys
-- Two recorders may meet the same person at once; the first key stands, and the other reads it. Returns which stand.
INSERT INTO person_key (anchor, person, controller, kek, wrapped)
SELECT * FROM unnest($1::bytea[], $2::uuid[], $3::text[], $4::text[], $5::bytea[])
ON CONFLICT DO NOTHING
RETURNING anchor;

-- name: erasures
SELECT coalesce(max(id), 0) FROM erasure;

-- name: newest_erasure
SELECT max(at) FROM erased;

-- name: erased
SELECT hash, at FROM erased WHERE hash = ANY($1::bytea[]);

-- name: known_controllers
SELECT controller FROM controller_key;
