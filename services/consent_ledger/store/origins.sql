-- name: origins
SELECT number, origin, ended, ended_note, ended_size, ended_root, reason, begun_at FROM log_origin ORDER BY number;

-- name: set_aside
SELECT consent.set_log_aside($1);

-- name: begin
INSERT INTO consent.log_origin (number, origin, ended, ended_note, ended_size, ended_root, reason)
VALUES ($1, $2, $3, $4, $5, $6, $7);
