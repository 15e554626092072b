-- Consumers of the suppressions topic, how far each has applied it, and how late what was published and applied was.

set local search_path = consent;

-- A tool that follows the suppressions topic, and what it is used for; without purposes or channels, for all.
create table consumer (
    name text primary key check (name ~ '^[a-z0-9][a-z0-9._-]{0,62}$'),
    controllers text[] not null check (controllers <> '{}'),
    purposes text[] not null,
    channels text[] not null,
    since timestamptz not null default clock_timestamp()
);

-- The last watermark on each partition that is committed, and that each copy of a consumer has applied: it knows all that
-- Kafka held at `instant`.
alter table relay_head add column instant timestamptz;

create table ack (
    consumer text not null references consumer on delete cascade,
    instance text not null,
    q smallint not null,
    k_offset bigint not null,
    seq bigint not null,
    instant timestamptz not null,
    applied_at timestamptz not null,
    primary key (consumer, instance, q)
);

-- For what was recorded in a minute: how long it took at most until it was on a partition, or applied from it.
create table publish_delay (
    q smallint not null,
    minute timestamptz not null,
    worst interval not null,
    primary key (minute, q)
);

create table ack_delay (
    consumer text not null references consumer on delete cascade,
    instance text not null,
    q smallint not null,
    minute timestamptz not null,
    worst interval not null,
    primary key (consumer, minute, instance, q)
);

-- What was recorded after `since` and not after `instant` was there `at` last: the longest delay for each minute of it.
-- A clock that jumps must not make rows without end, so this looks thirty days back and not into the future.
create function delays(since timestamptz, instant timestamptz, at timestamptz)
returns table (minute timestamptz, worst interval) language sql immutable as $$
    select m, at - greatest(m, since)
      from generate_series(date_bin('1 minute', greatest(since, at - interval '30 days'), 'epoch'),
                           least(instant, at), interval '1 minute') as m
     where since < instant
$$;

-- The position of the first entry of a shard that was recorded at an instant or later: `recorded_at` never falls there.
create function first_position(the_shard int, instant timestamptz) returns bigint language plpgsql stable as $$
declare
    low bigint := 0;
    high bigint := coalesce((select h.next_pos from consent.shard_head h where h.shard = the_shard), 0);
    middle bigint;
begin
    while low < high loop
        middle := (low + high) / 2;
        if (select l.recorded_at from consent.ledger l where l.shard = the_shard and l.pos = middle) < instant then
            low := middle + 1;
        else
            high := middle;
        end if;
    end loop;
    return low;
end $$;

grant select, insert, delete on consumer to consent_operator;
grant select on ack, publish_delay, ack_delay to consent_operator;
grant select on consumer to consent_relay;
grant select, insert, update, delete on ack, publish_delay, ack_delay to consent_relay;
