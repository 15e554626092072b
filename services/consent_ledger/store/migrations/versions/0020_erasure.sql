-- Erasure: what is personal of one person at one controller is destroyed, by one role that can destroy nothing else.

do $$
declare
    name text;
begin
    perform pg_advisory_xact_lock(hashtext('consent.roles'));
    foreach name in array array['consent_eraser', 'consent_keeper'] loop
        if not exists (select from pg_roles where rolname = name) then
            execute format('create role %I nologin', name);
        end if;
    end loop;
end $$;

set local search_path = consent;

-- 1. What there is to do, and what was done.

-- Erasures that are folded and perhaps not carried out, by an address that each names; `held`: a legal hold stops it.
create table erasing (
    hash bytea primary key,
    held boolean not null default false,
    since timestamptz not null default clock_timestamp()
);

-- What was destroyed because of one entry at one controller, each time something was. Ids follow the commits: they are
-- given under the lock that keeps every append out, so the highest tells a recorder whether its keys are still those there
-- are. `xact`: the transaction that destroys.
create table erasure (
    id bigint primary key,
    shard int not null,
    pos bigint not null,
    controller text not null,
    done_at timestamptz not null,
    whole boolean not null,
    keys int not null,
    payloads int not null,
    index_rows int not null,
    rekeyed int not null,
    -- The key-encryption keys under which the destroyed keys lay: backups can be read until the last of them is retired.
    keks text[] not null,
    xact xid8 not null default pg_current_xact_id()
);
create index on erasure (shard, pos, controller);

-- Personal parts that were destroyed in accordance with the law: by an erasure, or by a run of retention. A personal part
-- that is missing without a row here was destroyed by nobody who may.
create table destroyed (
    shard int not null,
    pos bigint not null,
    controller text not null,
    erasure bigint references erasure,
    run uuid,
    primary key (shard, pos, controller),
    check (num_nonnulls(erasure, run) = 1)
);

-- Addresses whose person was erased: nothing personal is kept any more of what happened up to this instant.
create table erased (
    hash bytea primary key,
    controller text not null,
    at timestamptz not null
);
create index on erased (at);

do $$
declare
    name text;
begin
    foreach name in array array['erasure', 'destroyed'] loop
        execute format('create trigger append_only before update or delete or truncate on consent.%I '
                       'for each statement execute function consent.append_only()', name);
    end loop;
    execute 'create trigger append_only before delete or truncate on consent.erased '
            'for each statement execute function consent.append_only()';
end $$;

-- 2. Only what an erasure is about.

-- The erasure that the transaction carries out at a controller; none: there is none.
create function erasure_of(the_controller text) returns setof erasure language sql stable as $$
    select * from consent.erasure e
     where e.xact = pg_current_xact_id_if_assigned() and e.controller = the_controller
       and e.id = (select max(id) from consent.erasure)
$$;

-- The request that a step names. By a pattern and not as JSON, which Postgres refuses to read where a text holds an
-- escaped zero: an index must never keep an entry out. A quotation mark within a text is escaped, so nothing else looks
-- like this.
create function request_of(the_body bytea) returns text
language sql immutable parallel safe
return substring(convert_from(the_body, 'UTF8') from '"request_id":"([0-9a-f-]{36})"');

-- Whether an entry happened up to an erasure and names one of its identifiers, or refers to an entry that does. The body is
-- JSON without blanks, and a quotation mark within its texts is escaped, so nothing else looks like a reference.
create function is_erased_by(the_erasure erasure, the_shard int, the_pos bigint) returns boolean language sql stable as $$
    with recursive chain (shard, pos, depth) as (
        select the_shard, the_pos, 0
        union
        select v.shard, v.pos, c.depth + 1
          from chain c
          join consent.ledger l on l.shard = c.shard and l.pos = c.pos
         cross join lateral regexp_matches(
               convert_from(l.body, 'UTF8'),
               '"(?:consent|objection|restriction|request|hold)_id":"([0-9a-f-]{36})"|"(?:voids|viewed)":"([0-9a-f-]{36})"',
               'g') as said
          join consent.event v on v.event_id = coalesce(said[1], said[2])::uuid
         where c.depth < 8
    ), every (shard, pos) as (
        select shard, pos from chain
        union all
        -- A request may have a name that no event has; its steps are known by it.
        select r.shard, r.pos
          from chain c
          join consent.ledger l on l.shard = c.shard and l.pos = c.pos
          join consent.ledger r on r.type = 'request-received' and consent.request_of(r.body) = consent.request_of(l.body)
         where consent.is_step_of_request(l.type, l.body)
    )
    select exists (
        select from every c
          join consent.entry_subject a on a.shard = c.shard and a.pos = c.pos and a.controller = the_erasure.controller
          join consent.entry_subject b on b.shard = the_erasure.shard and b.pos = the_erasure.pos
           and b.controller = the_erasure.controller and b.hash = a.hash
    ) and (
        select least(l.occurred_at, l.recorded_at) <= least(e.occurred_at, e.recorded_at)
          from consent.ledger l, consent.ledger e
         where (l.shard, l.pos) = (the_shard, the_pos) and (e.shard, e.pos) = (the_erasure.shard, the_erasure.pos)
    )
$$;

-- An erasure rests on an entry that says so and names the controller.
create function rests_on_its_entry() returns trigger language plpgsql as $$
begin
    if new.xact <> pg_current_xact_id() or new.id <> (select coalesce(max(id), 0) + 1 from consent.erasure) or not exists (
        select from consent.ledger l
         where l.shard = new.shard and l.pos = new.pos and l.type = 'erasure-executed'
           and (convert_from(l.body, 'UTF8')::jsonb -> 1 -> 'controllers') ? new.controller
    ) then
        raise exception 'no entry orders this erasure' using errcode = 'insufficient_privilege';
    end if;
    return new;
end $$;
create trigger rests_on_its_entry before insert on erasure for each row execute function rests_on_its_entry();

-- Stable, so that it sees what was there before the statement: rows of one entry go one after the other. The arguments are
-- the types of entries whose rows may go; without any, all.
create function only_the_erased() returns trigger language plpgsql stable as $$
begin
    if not exists (
        select from consent.erasure_of(old.controller) e where consent.is_erased_by(e, old.shard, old.pos)
    ) or (tg_nargs > 0 and not exists (
        select from consent.ledger l where l.shard = old.shard and l.pos = old.pos and l.type = any (tg_argv)
    )) then
        raise exception 'this row of % is kept', tg_table_name using errcode = 'insufficient_privilege';
    end if;
    return old;
end $$;

-- What is kept, but lay under a key that goes, is put under a new one.
create function only_another_key() returns trigger language plpgsql stable as $$
begin
    if (new.shard, new.pos, new.controller) <> (old.shard, old.pos, old.controller)
        or not exists (select from consent.erasure_of(old.controller))
        or exists (select from consent.person_key where person = old.person)
        or not exists (select from consent.person_key where person = new.person and controller = old.controller)
    then
        raise exception 'this row of % is kept', tg_table_name using errcode = 'insufficient_privilege';
    end if;
    return new;
end $$;

-- What an erasure binds besides what it names: the other identifiers of the person.
create function only_to_the_erasure() returns trigger language plpgsql stable as $$
begin
    if new.role <> 'subject' or new.shared or not exists (
        select from consent.erasure_of(new.controller) e where (e.shard, e.pos) = (new.shard, new.pos)
    ) then
        raise exception 'this row of % is nobody''s to add', tg_table_name using errcode = 'insufficient_privilege';
    end if;
    return new;
end $$;

create function note_erased() returns trigger language plpgsql security definer set search_path = consent as $$
begin
    insert into destroyed (shard, pos, controller, erasure)
    select old.shard, old.pos, old.controller, e.id from erasure_of(old.controller) e;
    return null;
end $$;

create function note_retained() returns trigger language plpgsql security definer set search_path = consent as $$
begin
    insert into destroyed (shard, pos, controller, run)
    select old.shard, old.pos, old.controller, r.id from retention_run r where r.ended_at is null
        on conflict do nothing;
    return null;
end $$;

drop trigger append_only on payload;
create trigger append_only before truncate on payload for each statement execute function append_only();
create trigger append_only_update before update on payload
    for each statement when (current_user <> 'consent_eraser') execute function append_only();
create trigger only_another_key before update on payload for each row execute function only_another_key();
create trigger only_the_erased before delete on payload
    for each row when (current_user = 'consent_eraser') execute function only_the_erased();
create trigger note_erased after delete on payload
    for each row when (current_user = 'consent_eraser') execute function note_erased();
create trigger note_retained after delete on payload
    for each row when (current_user = 'consent_retention') execute function note_retained();

create or replace function only_by_retention() returns trigger language plpgsql as $$
begin
    if current_user not in ('consent_retention', 'consent_eraser') then
        raise exception '% is append-only', tg_table_name using errcode = 'insufficient_privilege';
    end if;
    return null;
end $$;
drop trigger keep_refusals on entry_subject;
create trigger keep_refusals before delete on entry_subject
    for each row when (current_user <> 'consent_eraser') execute function keep_refusals('consent-given');
create trigger only_the_erased before delete on entry_subject
    for each row when (current_user = 'consent_eraser')
    execute function only_the_erased(
        'relationship-started', 'relationship-ended', 'contact-recorded', 'repermission-sent', 'objection-withdrawn',
        'identifier-verified', 'identifiers-linked', 'identifier-changed'
    );
create trigger only_to_the_erasure before insert on entry_subject
    for each row when (current_user = 'consent_eraser') execute function only_to_the_erasure();

-- Destroys keys of persons: those found by an address that the erasure binds, and those under which a personal part lies
-- that it is about; `the_shards` and `the_positions` say where such parts are. Returns how many.
create function destroy_keys(the_controller text, the_persons uuid[], the_shards int[], the_positions bigint[])
returns bigint language sql security definer set search_path = consent as $$
    with gone as (
        delete from person_key k
         using erasure_of(the_controller) e
         where e.whole and k.controller = e.controller and k.person = any (the_persons)
           and (exists (select from entry_subject s
                         where (s.shard, s.pos, s.controller, s.hash) = (e.shard, e.pos, e.controller, k.anchor))
                or exists (select from unnest(the_shards, the_positions) as place (shard, pos)
                             join payload p on (p.shard, p.pos, p.controller) = (place.shard, place.pos, e.controller)
                            where p.person = k.person and is_erased_by(e, p.shard, p.pos)))
        returning 1
    )
    select count(*) from gone
$$;
revoke execute on function destroy_keys(text, uuid[], int[], bigint[]) from public;
grant execute on function destroy_keys(text, uuid[], int[], bigint[]) to consent_eraser;

-- 3. A recorder never writes under a key that is gone.

-- Opens one shard for an append until the end of the transaction. No row: the epoch is no longer the caller's.
-- The register lock is taken before the register is read, each in a statement and so in a snapshot of its own,
-- so that every entry carries the version that was in force when it was recorded. `next_register`: when the next
-- register comes into force; null if none is scheduled. Keys are destroyed under the same lock: `erasures` tells whether
-- some were since the keys were fetched.
drop function open_shard(int, bigint, boolean);
create function open_shard(the_shard int, the_epoch bigint, changes_register boolean)
returns table (register_version bigint, next_register timestamptz, erasures bigint, next_offset bigint, next_pos bigint,
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
    select coalesce(max(e.id), 0) into open_shard.erasures from consent.erasure e;
    open_shard.now := clock_timestamp();
    return next;
end $$;

-- Legal holds are few, and a run of retention asks for all of them.
create index ledger_holds on ledger (shard, pos) where type = 'hold-placed';

-- 4. Epochs of key-encryption keys. One that is retired wraps nothing any more, and nothing new is wrapped by it.

create table key_epoch (
    kek text primary key,
    epoch bigint generated always as identity,
    began_at timestamptz not null default clock_timestamp(),
    retired_at timestamptz
);
create trigger append_only before delete or truncate on key_epoch
    for each statement execute function append_only();

create function refuse_retired() returns trigger language plpgsql security definer set search_path = consent as $$
begin
    if exists (select from fresh f join key_epoch k using (kek) where k.retired_at is not null) then
        raise exception 'the key-encryption key is retired' using errcode = 'object_not_in_prerequisite_state';
    end if;
    return null;
end $$;

do $$
declare
    name text;
begin
    foreach name in array array['service_key', 'controller_key', 'person_key', 'unsubscribe_key'] loop
        execute format('create trigger refuse_retired_insert after insert on consent.%I '
                       'referencing new table as fresh for each statement execute function consent.refuse_retired()', name);
        execute format('create trigger refuse_retired_update after update on consent.%I '
                       'referencing new table as fresh for each statement execute function consent.refuse_retired()', name);
        execute format('create index on consent.%I (kek)', name);
        execute format('grant select, update (kek, wrapped) on consent.%I to consent_keeper', name);
    end loop;
end $$;

-- Waits for whoever is just writing a key, and keeps all others out until it is decided. False: some are still wrapped by it.
create function retire_kek(the_kek text) returns boolean language plpgsql security definer set search_path = consent as $$
begin
    lock table service_key, controller_key, person_key, unsubscribe_key in share row exclusive mode;
    if exists (select from service_key where kek = the_kek) or exists (select from controller_key where kek = the_kek)
        or exists (select from person_key where kek = the_kek) or exists (select from unsubscribe_key where kek = the_kek)
    then
        return false;
    end if;
    update key_epoch set retired_at = clock_timestamp() where kek = the_kek and retired_at is null;
    return true;
end $$;
revoke execute on function retire_kek(text) from public;
grant execute on function retire_kek(text) to consent_keeper;

-- 5. Rights.

grant usage on schema consent to consent_eraser, consent_keeper;
grant select, insert on key_epoch to consent_keeper;
grant select on key_epoch to consent_operator, consent_officer;

grant select on ledger, event, entry_subject, payload, register, shard_head, person_key, view_head, ident, dossier, waiting, needs,
    view, outbox, dnc, dnc_step, dnc_snapshot, controller_key, erasing, erasure, destroyed, erased, forgotten to consent_eraser;
grant insert on entry_subject, person_key, erasure to consent_eraser;
grant delete on entry_subject, payload, erasing to consent_eraser;
grant update (person, ciphertext) on payload to consent_eraser;
grant insert, update on erased, forgotten, erasing to consent_eraser;
-- What it destroys it takes out of the view in the same transaction, under the viewer's lock.
grant insert, update, delete on ident, dossier, view, outbox to consent_eraser;
grant update on view_head to consent_eraser;
grant insert on waiting to consent_eraser;

grant select, insert, update on erasing to consent_viewer, consent_retention;
grant select on erasure, destroyed, erased to consent_recorder, consent_viewer, consent_retention, consent_operator, consent_officer;
grant select on forgotten, erasing to consent_officer;
grant select on erasure, destroyed, retention_run, entry_subject to consent_auditor;
grant select (shard, pos, controller) on payload to consent_auditor;
grant select on erasing to consent_operator;
