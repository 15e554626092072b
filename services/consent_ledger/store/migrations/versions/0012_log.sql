-- The Merkle log over the ledger: tiles and signed checkpoints.

do $$
declare
    name text;
begin
    perform pg_advisory_xact_lock(hashtext('consent.roles'));
    foreach name in array array['consent_sealer', 'consent_auditor'] loop
        if not exists (select from pg_roles where rolname = name) then
            execute format('create role %I nologin', name);
        end if;
    end loop;
end $$;

set local search_path = consent;

create table seal_head (
    one boolean primary key default true check (one),
    epoch bigint not null default 0,
    owner text not null default '',
    owner_pid int,
    lease_until timestamptz not null default '-infinity'
);
insert into seal_head default values;

-- One root per size for ever. What a checkpoint adds to the one before it follows from both: of every shard, in ascending
-- order, the entries between the two heads.
create table checkpoint (
    tree_size bigint primary key check (tree_size > 0),
    -- Number of entries in the tree, by shard (the first element is shard 0).
    heads bigint[] not null,
    root bytea not null check (octet_length(root) = 32),
    -- Hashes of the leaves that this checkpoint adds. Kept beside the ledger, so that an edit there can be named.
    leaves bytea not null check (octet_length(leaves) between 32 and tree_size * 32 and octet_length(leaves) % 32 = 0),
    note bytea not null,
    sealed_at timestamptz not null default clock_timestamp()
);
-- Hashes do not compress, and parts of them are read.
alter table checkpoint alter column leaves set storage external;

-- Full tiles only: a partial one is made of the last leaves, or of the roots of full tiles below it.
create table tile (
    level smallint not null,
    idx bigint not null,
    hashes bytea not null check (octet_length(hashes) = 8192),
    root bytea not null check (octet_length(root) = 32),
    primary key (level, idx)
);
alter table tile alter column hashes set storage external;

do $$
declare
    name text;
begin
    foreach name in array array['checkpoint', 'tile'] loop
        execute format('create trigger append_only before update or delete or truncate on consent.%I '
                       'for each statement execute function consent.append_only()', name);
    end loop;
end $$;

-- The size of the checkpoint by which an entry came into the tree; null while it is in none. Heads never fall from one
-- checkpoint to the next, so it is found by halving.
create function sealed_by(the_shard int, the_pos bigint) returns bigint language plpgsql stable as $$
declare
    low bigint := 0;
    high bigint;
    middle record;
begin
    select tree_size, coalesce(heads[the_shard + 1], 0) > the_pos as has_it into middle
      from consent.checkpoint order by tree_size desc limit 1;
    if not found or not middle.has_it then
        return null;
    end if;
    high := middle.tree_size;
    -- The checkpoint that covers leaf `high` has the entry, and that of size `low` has not.
    while high - low > 1 loop
        select tree_size, coalesce(heads[the_shard + 1], 0) > the_pos as has_it into middle
          from consent.checkpoint where tree_size >= (low + high) / 2 order by tree_size limit 1;
        if middle.has_it then
            high := (low + high) / 2;
        else
            low := middle.tree_size;
        end if;
    end loop;
    return (select min(tree_size) from consent.checkpoint where tree_size >= high);
end $$;

grant usage on schema consent to consent_sealer, consent_auditor;
grant select on ledger, shard_head, checkpoint, tile, seal_head, service_key to consent_sealer;
grant insert on checkpoint, tile, service_key to consent_sealer;
grant update on seal_head to consent_sealer;
grant select on ledger, shard_head, event, checkpoint, tile to consent_auditor;
grant select on checkpoint, tile, seal_head to consent_api, consent_operator;
