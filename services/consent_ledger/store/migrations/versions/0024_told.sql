-- What is to be told of persons on the changes topic.

set local search_path = consent;

-- One row for each entry and controller, and one for each dossier that only time, the register or retention changed. It
-- is written under the viewer's lock, so a higher id is committed later.
create table told (
    q smallint not null,
    id bigint generated always as identity primary key,
    controller text not null,
    dossier bigint not null,
    -- Null: no entry has come.
    shard int,
    pos bigint,
    -- Dossiers that this one has taken in.
    merged_from bigint[] not null,
    -- Keys of the rows that have changed, 32 bytes each.
    hashes bytea not null check (octet_length(hashes) % 32 = 0)
);

grant insert on told to consent_viewer, consent_retention, consent_eraser;
grant select, delete on told to consent_relay;
grant select on told to consent_operator;
grant select on ledger to consent_relay;
