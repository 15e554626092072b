-- name: terminate
SELECT pg_terminate_backend($1, 5000);
