-- Who folds looks, and locks the view as soon as there is something to fold, in one round trip.

set local search_path = consent;

-- What `view_news` says, and the head where that is something to fold now; else only its `instant` and `now`. The view is
-- then locked to the end of the transaction. The positions are those of the last statement's snapshot: if the lock had to
-- be waited for, they may be older than `applied`, and then there is nothing to fold this time.
create function open_view(pause interval, patience interval)
returns table (entries boolean, sweep boolean, register boolean, due timestamptz, epoch bigint, applied bigint[], seq bigint,
               next_dossier bigint, register_version bigint, sweep_controllers text[], sweep_from bigint,
               instant timestamptz, now timestamptz, next_pos bigint[], shards int[])
language plpgsql as $$
begin
    select n.entries, n.sweep, n.register, n.due, n.instant, n.now
      into entries, sweep, register, due, instant, now
      from consent.view_news(pause, patience) n;
    if entries or sweep or register or due <= instant then
        select h.epoch, h.applied, h.seq, h.next_dossier, h.register_version, h.sweep_controllers, h.sweep_from, h.instant,
               clock_timestamp(),
               (select array_agg(s.next_pos order by s.shard) from consent.shard_head s),
               (select array_agg(s.shard order by s.shard) from consent.shard_head s)
          into epoch, applied, seq, next_dossier, register_version, sweep_controllers, sweep_from, instant,
               now, next_pos, shards
          from consent.view_head h for update;
    end if;
    return next;
end $$;
