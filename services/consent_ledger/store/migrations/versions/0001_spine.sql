-- The ledger, what is projected from it, and who may do what to which table.

-- Roles are shared by the databases of a cluster, so another migration may have made them already.
do $$
declare
    name text;
begin
    perform pg_advisory_xact_lock(hashtext('consent.roles'));
    foreach name in array array['consent_recorder', 'consent_viewer', 'consent_relay', 'consent_api', 'consent_operator'] loop
        if not exists (select from pg_roles where rolname = name) then
            execute format('create role %I nologin', name);
        end if;
    end loop;
end $$;

create schema consent;
set local search_path = consent;

-- 1. Keys. Every key here is wrapped by a key-encryption key that never enters the database.

create table service_key (
    name text primary key,
    kek text not null,
    wrapped bytea not null
);

create table controller_key (
    controller text primary key,
    kid text not null unique,
    kek text not null,
    wrapped bytea not null
);

-- One random key per person and controller. The anchor is the keyed hash of the identifier by which the person first came.
create table person_key (
    anchor bytea primary key,
    person uuid not null,
    controller text not null,
    kek text not null,
    wrapped bytea not null
);

-- 2. The ledger.

-- One row per Kafka partition: the only place where recorders of one shard meet.
create table shard_head (
    shard int primary key,
    topic text not null,
    partition int not null,
    start_offset bigint not null,
    next_offset bigint not null,
    next_pos bigint not null default 0,
    duplicates bigint not null default 0,
    rejected bigint not null default 0,
    holes bigint not null default 0,
    last_recorded_at timestamptz not null default '0001-01-01 00:00:00+00',
    last_offset bigint,
    last_timestamp bigint,
    last_digest bytea,
    epoch bigint not null default 0,
    owner text not null default '',
    owner_pid int,
    lease_until timestamptz not null default '-infinity',
    unique (topic, partition),
    -- Every consumed offset is an entry, a duplicate, a rejected record, or a hole that Kafka itself left.
    check (next_offset - start_offset = next_pos + duplicates + rejected + holes)
) with (fillfactor = 10, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

create table event (
    event_id uuid primary key,
    shard int not null,
    pos bigint not null,
    digest bytea not null
);

create table ledger (
    shard int not null,
    pos bigint not null,
    event_id uuid not null,
    type text not null,
    occurred_at timestamptz not null,
    recorded_at timestamptz not null,
    k_offset bigint not null,
    register_version bigint not null,
    body bytea not null,
    payload_commit bytea not null check (octet_length(payload_commit) = 32),
    tags bytea not null check (octet_length(tags) % 32 = 0),
    leaf_hash bytea not null check (octet_length(leaf_hash) = 32),
    primary key (shard, pos)
);

create table entry_subject (
    shard int not null,
    pos bigint not null,
    controller text not null,
    ordinal smallint not null,
    role text not null check (role in ('subject', 'old', 'new')),
    type text not null,
    shared boolean not null,
    hash bytea not null,
    primary key (shard, pos, controller, ordinal)
);

-- Apart from the ledger, because erasure deletes here.
create table payload (
    shard int not null,
    pos bigint not null,
    controller text not null,
    person uuid not null,
    ciphertext bytea not null,
    primary key (shard, pos, controller)
);

create table duplicate (
    shard int not null,
    k_offset bigint not null,
    event_id uuid not null,
    primary key (shard, k_offset)
);

-- Offsets that no reader can ever see: transaction markers, aborted records.
create table hole (
    shard int not null,
    from_offset bigint not null,
    to_offset bigint not null check (to_offset > from_offset),
    primary key (shard, from_offset)
);

-- What was not accepted, untouched but encrypted. A malformed refusal stands here too, with the place of its synthetic entry.
create table quarantine (
    shard int not null,
    k_offset bigint not null,
    reason text not null,
    detail text not null,
    event_id uuid,
    pos bigint,
    recorded_at timestamptz not null,
    record bytea not null,
    primary key (shard, k_offset)
);

create table register (
    version bigint primary key,
    shard int not null,
    pos bigint not null,
    event_id uuid not null,
    digest bytea not null,
    valid_from timestamptz not null,
    recorded_at timestamptz not null,
    document jsonb not null
);

create function append_only() returns trigger language plpgsql as $$
begin
    raise exception '% is append-only', tg_table_name using errcode = 'insufficient_privilege';
end $$;

do $$
declare
    name text;
begin
    foreach name in array array['event', 'ledger', 'entry_subject', 'duplicate', 'hole', 'register'] loop
        execute format('create trigger append_only before update or delete or truncate on consent.%I '
                       'for each statement execute function consent.append_only()', name);
    end loop;
    foreach name in array array['payload', 'quarantine'] loop
        execute format('create trigger append_only before update or truncate on consent.%I '
                       'for each statement execute function consent.append_only()', name);
    end loop;
end $$;

-- 3. What the viewer makes of it.

create table view_head (
    one boolean primary key default true check (one),
    epoch bigint not null default 0,
    owner text not null default '',
    owner_pid int,
    lease_until timestamptz not null default '-infinity',
    -- Number of entries folded, by shard (the first element is shard 0).
    applied bigint[] not null default '{}',
    seq bigint not null default 0,
    next_dossier bigint not null default 1,
    register_version bigint not null default 0,
    -- Dossiers of these controllers, from this id on, are still to be decided again under the register in force.
    sweep_controllers text[] not null default '{}',
    sweep_from bigint not null default 0
);
insert into view_head default values;

create table ident (
    hash bytea primary key,
    dossier bigint not null
);
create index on ident (dossier);

create table dossier (
    id bigint primary key,
    controller text not null,
    facts bytea not null,
    due_at timestamptz
);
create index on dossier (due_at) where due_at is not null;

create table waiting (
    ref_id uuid not null,
    shard int not null,
    pos bigint not null,
    primary key (ref_id, shard, pos)
);

create table needs (
    controller text not null,
    purpose text not null,
    version bigint not null,
    primary key (controller, purpose)
);

create table view (
    hash bytea primary key,
    controller text not null,
    type text not null,
    q smallint not null,
    seq bigint not null,
    register_version bigint not null,
    -- The entry that last changed the record; it orders nothing.
    shard int not null,
    pos bigint not null,
    recorded_at timestamptz not null,
    -- The decisions that differ from those of an address with nothing on record.
    decisions bytea not null
) with (fillfactor = 85);

create table outbox (
    q smallint not null,
    seq bigint not null,
    hash bytea not null,
    primary key (q, seq)
);

create table horizon (
    one boolean primary key default true check (one),
    instant timestamptz not null default '1970-01-01 00:00:00+00',
    seq bigint not null default 0
);
insert into horizon default values;

-- 4. What the relay keeps.

create table relay_head (
    q smallint primary key,
    epoch bigint not null default 0,
    owner text not null default '',
    lease_until timestamptz not null default '-infinity',
    cursor bigint not null default 0
);

create table resend (
    id bigint generated always as identity primary key,
    q smallint not null,
    hash bytea not null
);

create index on resend (q, id);

create table rejected_cursor (
    shard int primary key,
    next_offset bigint not null default 0
);

-- 5. Who may ask and publish over HTTP. Only a digest of each key is kept.
create table api_key (
    id text primary key,
    digest bytea not null unique,
    scopes text[] not null,
    sources text[] not null,
    controllers text[] not null,
    created_at timestamptz not null default clock_timestamp(),
    revoked_at timestamptz
);

-- 6. Functions of the append.

-- Opens one shard for an append until the end of the transaction. No row: the epoch is no longer the caller's.
-- The register lock is taken before the register is read, each in a statement and so in a snapshot of its own,
-- so that every entry carries the version that was in force when it was recorded.
create function open_shard(the_shard int, the_epoch bigint, changes_register boolean)
returns table (register_version bigint, next_offset bigint, next_pos bigint, last_recorded_at timestamptz, now timestamptz)
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
    open_shard.now := clock_timestamp();
    return next;
end $$;

-- 7. Rights. Nobody may update or delete a ledger row.

grant usage on schema consent to consent_recorder, consent_viewer, consent_relay, consent_api, consent_operator;

grant select, insert on event, ledger, entry_subject, payload, duplicate, hole, quarantine, register,
    service_key, controller_key, person_key to consent_recorder;
grant select, insert, update on shard_head to consent_recorder;

grant select on event, ledger, entry_subject, payload, register, shard_head,
    service_key, controller_key, person_key to consent_viewer;
-- Whichever service comes first makes the keys of the service itself.
grant insert on service_key to consent_viewer;
grant select, insert, update, delete on view_head, ident, dossier, waiting, needs, view, outbox, horizon to consent_viewer;

grant select on view, view_head, needs, outbox, horizon, register, quarantine, shard_head,
    service_key, controller_key to consent_relay;
grant delete on outbox, resend to consent_relay;
grant select on resend to consent_relay;
grant select, insert, update on relay_head, rejected_cursor to consent_relay;

grant select on all tables in schema consent to consent_api;
revoke select on person_key, payload from consent_api;

grant select on all tables in schema consent to consent_operator;
grant insert on resend, api_key, service_key to consent_operator;
grant update (revoked_at) on api_key to consent_operator;
