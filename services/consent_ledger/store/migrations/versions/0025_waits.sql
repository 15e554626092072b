-- Who has nothing to do waits on the server, where looking again costs next to nothing.

set local search_path = consent;

-- Each look of a wait sees what is committed by then: in these functions every statement has a snapshot of its own.

-- Until the view has changed since `the_seq`, or the horizon is no longer at `the_instant`.
create function wait_for_view(the_seq bigint, the_instant timestamptz, pause interval, patience interval) returns void
language plpgsql as $$
declare
    ends_at constant timestamptz := clock_timestamp() + patience;
begin
    while (select h.seq = the_seq and z.instant = the_instant from consent.view_head h, consent.horizon z)
          and clock_timestamp() < ends_at loop
        perform pg_sleep_for(pause);
    end loop;
end $$;
