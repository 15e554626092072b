-- Registers that are loaded ahead of the instant at which they come into force.

set local search_path = consent;

-- As it was loaded: what it makes of the register is known only when its instant has come.
create table scheduled_register (
    event_id uuid primary key,
    shard int not null,
    pos bigint not null,
    valid_from timestamptz not null,
    recorded_at timestamptz not null,
    document jsonb not null
);

create trigger append_only before update or delete or truncate on scheduled_register
    for each statement execute function append_only();

-- In the order in which they come into force; of one instant the later load comes later, and so wins.
create view pending_register as
select s.event_id, s.shard, s.pos, s.valid_from, s.recorded_at, s.document
  from scheduled_register s
 where not exists (select from register r where r.event_id = s.event_id)
 order by s.valid_from, s.pos;

-- Opens one shard for an append until the end of the transaction. No row: the epoch is no longer the caller's.
-- The register lock is taken before the register is read, each in a statement and so in a snapshot of its own,
-- so that every entry carries the version that was in force when it was recorded. `next_register`: when the next
-- register comes into force; null if none is scheduled.
drop function open_shard(int, bigint, boolean);
create function open_shard(the_shard int, the_epoch bigint, changes_register boolean)
returns table (register_version bigint, next_register timestamptz, next_offset bigint, next_pos bigint,
               last_recorded_at timestamptz, now timestamptz)
language plpgsql as $$
begin
    if changes_register then
        perform pg_advisory_xact_lock(hashtext('consent.register'));
    else
        perform pg_advisory_xact_lock_shared(hashtext('consent.register'));
    end if;
    select h.next_offset, h.next_pos, h.last_recorded_at
      into open_shard.next_offset, open_shard.next_pos, open_shard.last_recorded_at
      from consent.shard_head h where h.shard = the_shard and h.epoch = the_epoch for update;
    if not found then
        return;
    end if;
    select coalesce(max(r.version), 0) into open_shard.register_version from consent.register r;
    select min(p.valid_from) into open_shard.next_register from consent.pending_register p;
    open_shard.now := clock_timestamp();
    return next;
end $$;

grant select, insert on scheduled_register to consent_recorder;
grant select on scheduled_register to consent_viewer, consent_relay, consent_api, consent_operator;
grant select on pending_register to consent_recorder, consent_viewer, consent_relay, consent_api, consent_operator;
