-- The view remembers for which instant it has decided.

set local search_path = consent;

-- A viewer with another clock goes on from here; before anything was decided it is long ago.
alter table view_head add column instant timestamptz not null default '1970-01-01 00:00:00+00';
