-- What an erasure destroys is an entry before it is destroyed, so that nobody can add to it afterwards.

set local search_path = consent;

-- `evidence`: the event by which the ledger says which personal parts go; its digest covers their places, and begins with
-- the `salt`, so that it tells nobody who does not have this row. None of both: carried out before there was evidence.
alter table erasure
    add column evidence uuid,
    add column salt bytea check (octet_length(salt) = 32),
    add check (num_nonnulls(evidence, salt) in (0, 2));

-- An erasure rests on an entry that says so and names the controller, and on one that says what goes by it.
create or replace function rests_on_its_entry() returns trigger language plpgsql as $$
begin
    if new.xact <> pg_current_xact_id() or new.id <> (select coalesce(max(id), 0) + 1 from consent.erasure) or not exists (
        select from consent.ledger l
         where l.shard = new.shard and l.pos = new.pos and l.type = 'erasure-executed'
           and (convert_from(l.body, 'UTF8')::jsonb -> 1 -> 'controllers') ? new.controller
    ) then
        raise exception 'no entry orders this erasure' using errcode = 'insufficient_privilege';
    end if;
    if not exists (
        select from consent.event v
          join consent.ledger l on l.shard = v.shard and l.pos = v.pos
         where v.event_id = new.evidence and l.type = 'erasure-carried-out'
    ) then
        raise exception 'no entry says what goes by this erasure' using errcode = 'insufficient_privilege';
    end if;
    return new;
end $$;

create index on destroyed (erasure);

-- The event that orders what evidence says was carried out. By a pattern, as `request_of` does it.
create function order_of(the_body bytea) returns text
language sql immutable parallel safe
return substring(convert_from(the_body, 'UTF8') from '"erasure":"([0-9a-f-]{36})"');
create index ledger_carried_out on ledger (order_of(body)) where type = 'erasure-carried-out';

-- The doctor tells whether a rebuild has left anything behind.
grant select on consent_rebuild.differing to consent_operator;
