-- The desk: who may read a person's entries, looks, what became of quarantined records, voidings by two people.

do $$
begin
    perform pg_advisory_xact_lock(hashtext('consent.roles'));
    if not exists (select from pg_roles where rolname = 'consent_officer') then
        create role consent_officer nologin;
    end if;
end $$;

set local search_path = consent;

-- An identifier that was only looked at has a role of its own, and is found by its hash; no other entry pays for that.
alter table entry_subject drop constraint entry_subject_role_check;
alter table entry_subject add constraint entry_subject_role_check check (role in ('subject', 'old', 'new', 'viewed'));
create index entry_subject_viewed on entry_subject (hash) where role = 'viewed';

create index quarantine_event on quarantine (event_id) where event_id is not null;

-- Who was shown a quarantined record, and why; encrypted under the key of the quarantine.
create table quarantine_look (
    id bigint generated always as identity primary key,
    shard int not null,
    k_offset bigint not null,
    looked_at timestamptz not null default clock_timestamp(),
    said bytea not null
);
create index on quarantine_look (shard, k_offset);

-- What became of a quarantined record: `event_id` is the event that corrects or voids it.
create table quarantine_resolution (
    shard int not null,
    k_offset bigint not null,
    outcome text not null check (outcome in ('corrected', 'voided')),
    event_id uuid not null,
    resolved_at timestamptz not null default clock_timestamp(),
    said bytea not null,
    primary key (shard, k_offset, outcome)
);

-- What one person proposes to void and another must approve. `event_id` is that of the voiding, whoever approves it and
-- however often.
create table void_proposal (
    id bigint generated always as identity primary key,
    voids uuid not null,
    event_id uuid not null unique,
    source text not null,
    proposed_at timestamptz not null default clock_timestamp(),
    said bytea not null
);
create index on void_proposal (voids);

do $$
declare
    name text;
begin
    foreach name in array array['quarantine_look', 'quarantine_resolution', 'void_proposal'] loop
        execute format('create trigger append_only before update or delete or truncate on consent.%I '
                       'for each statement execute function consent.append_only()', name);
    end loop;
end $$;

grant usage on schema consent to consent_officer;
grant select on event, ledger, entry_subject, payload, register, shard_head, quarantine, waiting, view_head, ident, dossier,
    view, needs, horizon, service_key, controller_key, person_key, scheduled_register, pending_register to consent_officer;
grant select, insert on quarantine_look, quarantine_resolution, void_proposal to consent_officer;
grant select on quarantine_look, quarantine_resolution, void_proposal to consent_operator;
