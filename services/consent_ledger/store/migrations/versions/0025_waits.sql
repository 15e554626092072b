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

-- What there is to fold, as soon as there is something: without a lock, asked all the time. That time alone has made
-- something due is known at once only up to the instant for which the view has decided; beyond it, after `patience`.
create function view_news(pause interval, patience interval)
returns table (entries boolean, sweep boolean, register boolean, due timestamptz, instant timestamptz, now timestamptz)
language plpgsql as $$
declare
    ends_at constant timestamptz := clock_timestamp() + patience;
begin
    loop
        select exists (select from consent.shard_head h where h.next_pos > coalesce(v.applied[h.shard + 1], 0)),
               v.sweep_controllers <> '{}',
               v.register_version < (select coalesce(max(r.version), 0) from consent.register r),
               (select min(d.due_at) from consent.dossier d where d.due_at is not null), v.instant, clock_timestamp()
          into entries, sweep, register, due, instant, now
          from consent.view_head v;
        exit when entries or sweep or register or due <= instant or now >= ends_at;
        perform pg_sleep_for(pause);
    end loop;
    return next;
end $$;
