-- A view made anew beside the live one, and what an auditor needs to replay the ledger.

set local search_path = consent;

-- The tables of the view once more, under their names: the code that folds finds them by the search path. Nothing here
-- lasts longer than one rebuild, so nothing is written ahead.
create schema consent_rebuild;

create unlogged table consent_rebuild.view_head (like view_head including all);
create unlogged table consent_rebuild.ident (like ident including all);
create unlogged table consent_rebuild.dossier (like dossier including all);
create unlogged table consent_rebuild.waiting (like waiting including all);
create unlogged table consent_rebuild.view (like view including all);
create unlogged table consent_rebuild.outbox (like outbox including all);

-- What entries leave, before it is brought together: each fact under one address of its dossier.
create unlogged table consent_rebuild.arrival (
    home bytea not null,
    controller text not null,
    facts bytea not null
);

-- Addresses that one entry names together, and the smallest address to which each leads.
create unlogged table consent_rebuild.link (
    one bytea not null,
    other bytea not null
);
create unlogged table consent_rebuild.root (
    hash bytea primary key,
    root bytea not null
);

-- Addresses of which the two views say different things, and what each says.
create unlogged table consent_rebuild.differing (
    hash bytea primary key,
    live_dossier bigint,
    live_controller text,
    live_type text,
    live_q smallint,
    live_version bigint,
    live_decisions bytea,
    live_facts bytea,
    live_due timestamptz,
    dossier bigint,
    controller text,
    type text,
    q smallint,
    decisions bytea,
    facts bytea,
    due_at timestamptz
);

grant usage on schema consent_rebuild to consent_viewer, consent_operator;
grant select, insert, update, delete, truncate on all tables in schema consent_rebuild to consent_viewer;
grant select on consent_rebuild.view_head, consent_rebuild.dossier, consent_rebuild.arrival to consent_operator;

-- Evidence of rebuilds is looked for by `consent doctor`; there are few.
create index ledger_rebuilds on ledger (recorded_at) where type = 'rebuild-run';

do $$
begin
    perform pg_advisory_xact_lock(hashtext('consent.roles'));
    if not exists (select from pg_roles where rolname = 'consent_replayer') then
        create role consent_replayer nologin;
    end if;
end $$;

-- Entries as they are, and to whom each speaks, without the hashes of the addresses.
grant usage on schema consent to consent_replayer;
grant select on ledger, shard_head, event, checkpoint, tile to consent_replayer;
grant select (shard, pos, controller, role, type) on entry_subject to consent_replayer;
