-- Keys of unsubscribe tokens.

set local search_path = consent;

-- A token in a mail works for ever, so keys are added and never taken away; the newest seals new tokens.
create table unsubscribe_key (
    version bigint generated always as identity primary key,
    kid text not null unique,
    controller text not null,
    kek text not null,
    wrapped bytea not null,
    made_at timestamptz not null default clock_timestamp()
);

create trigger append_only before delete or truncate on unsubscribe_key
    for each statement execute function append_only();

grant select on unsubscribe_key to consent_api, consent_operator;
grant insert (kid, controller, kek, wrapped) on unsubscribe_key to consent_operator;
