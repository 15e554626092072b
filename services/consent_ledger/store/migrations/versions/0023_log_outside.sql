-- What is known of the log outside the database: cosignatures, witnesses, and logs that have ended.

set local search_path = consent;

-- Checkpoints as witnesses have signed them, as many as are asked for, by which they may be shown.
create table cosigned (
    tree_size bigint primary key,
    note bytea not null,
    signed_at timestamptz not null default clock_timestamp()
);

-- How each witness stood when it was last asked. `size`: of the largest tree that it has signed.
create table witness (
    name text primary key,
    size bigint not null default 0,
    signed_at timestamptz,
    problem text,
    asked_at timestamptz not null default clock_timestamp()
);

-- Logs that begin where another one ended, because entries that it had published were lost. The first log has no row.
create table log_origin (
    number int primary key check (number > 1),
    origin text not null unique,
    ended text not null,
    -- The last that was published of the log that ended.
    ended_note bytea not null,
    ended_size bigint not null,
    ended_root bytea not null check (octet_length(ended_root) = 32),
    reason text not null,
    begun_at timestamptz not null default clock_timestamp()
);

do $$
declare
    name text;
begin
    foreach name in array array['cosigned', 'log_origin'] loop
        execute format('create trigger append_only before update or delete or truncate on consent.%I '
                       'for each statement execute function consent.append_only()', name);
    end loop;
end $$;

-- Keeps the tables of a log that has ended under names of their own, and makes empty ones in their place.
create function set_log_aside(the_number int) returns void language plpgsql as $$
declare
    the_name text;
    aside text;
    granted record;
begin
    foreach the_name in array array['checkpoint', 'tile', 'cosigned'] loop
        aside := format('%s_of_%s', the_name, the_number);
        execute format('alter table consent.%I rename to %I', the_name, aside);
        execute format('create table consent.%I (like consent.%I including all)', the_name, aside);
        execute format('create trigger append_only before update or delete or truncate on consent.%I '
                       'for each statement execute function consent.append_only()', the_name);
        for granted in
            select r.rolname, a.privilege_type
              from pg_class c, aclexplode(c.relacl) a join pg_roles r on r.oid = a.grantee
             where c.oid = format('consent.%I', aside)::regclass and a.grantee <> c.relowner
        loop
            execute format('grant %s on consent.%I to %I', granted.privilege_type, the_name, granted.rolname);
        end loop;
    end loop;
    update consent.witness set size = 0, signed_at = null;
end $$;

grant select on cosigned, witness, log_origin to consent_sealer, consent_api, consent_operator, consent_auditor;
grant insert on cosigned to consent_sealer;
grant insert, update on witness to consent_sealer;
