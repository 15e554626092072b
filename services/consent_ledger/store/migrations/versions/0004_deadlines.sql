-- Requests of subjects are read from the ledger itself, by an index that holds only what concerns them.

set local search_path = consent;

-- An objection to direct marketing is obeyed at once and asks for no assessment; there are many. The body is JSON
-- without blanks, and a quotation mark within its texts is escaped, so nothing else looks like this.
create function is_step_of_request(the_type text, the_body bytea) returns boolean
language sql immutable parallel safe
return the_type in (
        'request-received', 'identity-requested', 'identity-confirmed', 'request-extended', 'request-answered',
        'recipient-notified', 'erasure-requested', 'erasure-executed', 'erasure-refused', 'objection-assessed',
        'restriction-placed', 'restriction-lifted', 'event-voided'
    ) or (the_type = 'objection-raised' and position('"kind":"direct-marketing"'::bytea in the_body) = 0);

create index ledger_requests on ledger (shard, pos) where is_step_of_request(type, body);

-- Retention. What proves a consent goes when its time is over; what refuses stays for ever, whoever asks.

do $$
begin
    perform pg_advisory_xact_lock(hashtext('consent.roles'));
    if not exists (select from pg_roles where rolname = 'consent_retention') then
        create role consent_retention nologin;
    end if;
end $$;

-- A run keeps its place and its figures, so that one that was cut off is taken up again.
create table retention_run (
    id uuid primary key,
    began_at timestamptz not null,
    ended_at timestamptz,
    next_dossier bigint not null default 0,
    counts jsonb not null default '{}'
);
create unique index on retention_run ((true)) where ended_at is null;

-- Addresses about which something is not known any more: no answer as of before `until` can be given again.
create table forgotten (
    hash bytea primary key,
    controller text not null,
    until timestamptz not null
);

drop trigger append_only on entry_subject;
create trigger append_only before update or truncate on entry_subject
    for each statement execute function append_only();

create function only_by_retention() returns trigger language plpgsql as $$
begin
    if current_user <> 'consent_retention' then
        raise exception '% is append-only', tg_table_name using errcode = 'insufficient_privilege';
    end if;
    return null;
end $$;

-- The arguments are the types of entries whose rows may go.
create function keep_refusals() returns trigger language plpgsql as $$
begin
    if not exists (
        select from consent.ledger l where l.shard = old.shard and l.pos = old.pos and l.type = any (tg_argv)
    ) then
        raise exception 'this row of % is kept', tg_table_name using errcode = 'insufficient_privilege';
    end if;
    return old;
end $$;

create trigger only_by_retention before delete on entry_subject
    for each statement execute function only_by_retention();
create trigger keep_refusals before delete on entry_subject
    for each row execute function keep_refusals('consent-given');
create trigger keep_refusals before delete on payload
    for each row when (current_user = 'consent_retention')
    execute function keep_refusals(
        'consent-given', 'consent-confirmed', 'request-received', 'identity-requested', 'identity-confirmed',
        'request-extended', 'request-answered', 'recipient-notified', 'objection-assessed', 'restriction-lifted',
        'erasure-refused'
    );

grant usage on schema consent to consent_retention;
grant select on all tables in schema consent to consent_retention;
grant delete on entry_subject, payload, quarantine to consent_retention;
grant insert, update on retention_run, forgotten to consent_retention;
-- What it deletes it takes out of the view in the same transaction, under the viewer's lock.
grant insert, update, delete on ident, dossier, view, outbox to consent_retention;
grant update on view_head to consent_retention;
grant insert on waiting to consent_retention;
grant select on retention_run, forgotten to consent_api, consent_operator;
