-- Who changed since when, and what campaigns were answered.

set local search_path = consent;

-- A cursor of another installation is told by this, however high its number is.
create table installation (
    one boolean primary key default true check (one),
    id uuid not null default gen_random_uuid()
);
insert into installation default values;

create index view_changes on view (controller, seq);

-- One request about a campaign, and what it was answered. An address stands here by its keyed hash only.
create table campaign_request (
    id uuid primary key,
    campaign text not null,
    answered_at timestamptz not null,
    api_key text not null,
    -- The positions that the answers rest on; null where the service could not tell.
    known text,
    horizon timestamptz
);
create index on campaign_request (campaign, answered_at);
create index on campaign_request (answered_at);

create table campaign_answer (
    request uuid not null,
    ordinal int not null,
    question int not null,
    controller text not null,
    -- Null: what was asked about is no address, or the controller has no key.
    type text,
    hash bytea,
    purpose text,
    channel text,
    at timestamptz,
    allow boolean not null,
    reason text not null,
    shard int,
    pos bigint,
    primary key (request, ordinal)
);

do $$
declare
    name text;
begin
    foreach name in array array['campaign_request', 'campaign_answer'] loop
        execute format('create trigger append_only before update or truncate on consent.%I '
                       'for each statement execute function consent.append_only()', name);
    end loop;
    execute 'create trigger append_only before update or delete or truncate on consent.installation '
            'for each statement execute function consent.append_only()';
end $$;

grant select on installation to consent_api, consent_operator;
grant select, insert on campaign_request, campaign_answer to consent_api;
grant select on campaign_request, campaign_answer to consent_operator;
grant select, delete on campaign_request, campaign_answer to consent_retention;
