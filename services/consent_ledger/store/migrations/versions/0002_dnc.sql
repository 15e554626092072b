-- Do-not-call registers. A snapshot holds every number of a register; what is kept of it is how it differs from the
-- one before it, so that millions of numbers a week cost the thousands that changed, and any earlier state can be told.

set local search_path = consent;

-- One import. It is loaded beside the active ones and counts from the commit in which the viewer folds the one entry
-- whose event id is the snapshot's; until then nobody sees it.
create table dnc_snapshot (
    id uuid primary key,
    register text not null,
    source text not null,
    snapshot_at timestamptz not null,
    count bigint not null,
    digest text not null,
    state text not null check (state in ('loading', 'loaded', 'active', 'refused')),
    -- Why a refused one was not activated.
    problem text,
    recorded_at timestamptz,
    shard int,
    pos bigint,
    -- Whether readers of the topic have been told its date.
    announced boolean not null default false,
    check ((state = 'active') = (recorded_at is not null))
);
create index on dnc_snapshot (register, state);

-- The step from one snapshot to the next at one controller: in the order of their dates, the steps known at an instant
-- of recording make up the listings as known then. A snapshot that comes late stands between two others: it brings a
-- step to itself and one from itself on, beside the one that leads past it; both say the truth of where they lead.
create table dnc_step (
    id int generated always as identity primary key,
    register text not null,
    controller text not null,
    snapshot uuid not null references dnc_snapshot,
    -- The import that brought the step; another than `snapshot` for the step away from a late one.
    brought_by uuid not null references dnc_snapshot,
    -- Where it was counted from; null: from nothing.
    base int references dnc_step,
    changes bigint not null default 0,
    known_from timestamptz
);
create index on dnc_step (controller, register);
create index on dnc_step (brought_by);
create index on dnc_step (snapshot);

-- What one step changes for one number: how the number stands at its end. The hash is the controller's own, so that no two controllers' lists can be laid
-- beside each other. `registered_at`: when the number was put on the register, where that is said.
create table dnc (
    hash bytea not null,
    step int not null,
    listed boolean not null,
    registered_at timestamptz,
    primary key (hash, step)
) with (autovacuum_vacuum_insert_scale_factor = 0.05);
create index on dnc (step);

-- Where a snapshot lies while its steps are counted.
create unlogged table dnc_load (
    snapshot uuid not null,
    controller text not null,
    hash bytea not null,
    registered_at timestamptz
);

-- Forgets a snapshot that never counted, as an import that was cut short leaves it. One that counts stays for ever.
create function forget_snapshot(the_snapshot uuid) returns boolean
language plpgsql security definer set search_path = consent as $$
begin
    delete from dnc_load where snapshot = the_snapshot;
    perform from dnc_snapshot where id = the_snapshot and state <> 'active' for update;
    if not found then
        return false;
    end if;
    delete from dnc where step in (select id from dnc_step where brought_by = the_snapshot);
    delete from dnc_step where brought_by = the_snapshot;
    delete from dnc_snapshot where id = the_snapshot;
    return true;
end $$;
revoke execute on function forget_snapshot(uuid) from public;
grant execute on function forget_snapshot(uuid) to consent_operator, consent_viewer;

grant select on dnc_snapshot, dnc_step, dnc to consent_viewer, consent_operator, consent_api;
-- An operator loads; only the viewer makes what was loaded count.
grant insert (id, register, source, snapshot_at, count, digest, state) on dnc_snapshot to consent_viewer, consent_operator;
grant update (state, count, digest) on dnc_snapshot to consent_operator;
grant update on dnc_snapshot to consent_viewer;
grant insert (register, controller, snapshot, brought_by, base, changes) on dnc_step
    to consent_viewer, consent_operator;
grant update (changes) on dnc_step to consent_operator;
grant update (changes, known_from) on dnc_step to consent_viewer;
grant insert on dnc to consent_viewer, consent_operator;
grant select, insert, delete on dnc_load to consent_viewer, consent_operator;
