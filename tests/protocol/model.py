"""Explicit model of the protocol from recorder to reader, explored with random schedules.

A process is a generator: what it does between two `yield`s is one transaction, or one request to Kafka. At a `yield` it
may be paused, killed, or woken after its successor has taken over. The seed decides the whole schedule. In tests/:

    python -m protocol.model ROUNDS           the design: prints every seed that breaks a promise
    python -m protocol.model ROUNDS MUTANT    the design less one rule: prints the first seed that shows it

The model has one topic partition, one clock for all machines, no retention and no fail-over of the database.
"""

import sys
from collections.abc import Callable, Iterator
from random import Random

from protocol.world import (
    ADDRESSES,
    SHARDS,
    WATERMARK,
    Event,
    FencedError,
    Horizon,
    Mutant,
    Places,
    Record,
    Row,
    World,
    broken_on_topic,
    covers,
    decide,
    differences,
    ids,
    linked,
)

STEPS_OF_PATIENCE = 40
STEPS_AMONG_ZOMBIES = 300
STEPS_TO_SETTLE = 6000

Process = Iterator[None]


def publisher(world: World) -> Process:
    """Publish a few events in no order of time; some of them twice, also to the other shard."""
    sent: list[Event] = []
    for event_id in range(world.random.randint(4, 12)):
        world.now += 1
        event = Event(
            event_id=event_id,
            kind=world.random.choice(("consent", "consent", "refusal", "link")),
            addresses=tuple(world.random.sample(ADDRESSES, world.random.choice((1, 1, 1, 2)))),
            occurred_at=world.random.randrange(99),
            published_at=world.now,
        )
        sent.append(event)
        world.logs[world.random.choice(SHARDS)].append(event)
        yield
        if world.random.random() < 0.2:
            world.logs[world.random.choice(SHARDS)].append(world.random.choice(sent))
            yield


def recorder(world: World, shard: int) -> Process:
    """Append a shard's events with the offset, in one transaction that compares epoch and offset."""
    head, log = world.shard_heads[shard], world.logs[shard]
    head.epoch += 1
    epoch = head.epoch
    yield
    while True:
        offset = head.next_offset
        batch = log[offset : offset + world.random.randint(1, 3)]
        yield
        if world.mutant is not Mutant.NO_COMPARE_AND_SET:
            world.own(head, epoch)
            if head.next_offset != offset:
                raise FencedError
        known = ids(world.upto(world.heads()))
        for event in batch:
            if event.event_id in known and world.mutant is not Mutant.IDS_NOT_UNIQUE:
                world.reached["duplicate"] += 1
            else:
                world.entries[shard].append(event)
                known.add(event.event_id)
        world.accounted[shard] += range(offset, offset + len(batch))
        head.next_offset = offset + len(batch)
        yield


def viewer(world: World) -> Process:
    """Fold the next entries of all shards into rows, outbox and places, in one transaction that compares the epoch."""
    head = world.view_head
    head.epoch += 1
    epoch = head.epoch
    yield
    while True:
        applied = head.applied
        goal = tuple(world.random.randint(start, end) for start, end in zip(applied, world.heads(), strict=True))
        if world.mutant is Mutant.VIEWER_WITHOUT_EPOCH:
            yield
        else:
            world.own(head, epoch)
        events = world.upto(goal)
        fresh = [entry for shard in SHARDS for entry in world.entries[shard][applied[shard] : goal[shard]]]
        for address in sorted(linked(events, {address for entry in fresh for address in entry.addresses})):
            head.seq += 1
            world.rows[address] = Row(allow=decide(events, address), version=head.seq)
            world.outbox.append((head.seq, address))
        head.applied = goal
        yield


def horizon(world: World) -> Process:
    """Find an instant whose events are all in the view: the instant first, then the offsets, then the positions."""
    alive_is_enough = world.mutant is Mutant.WATERMARK_FROM_BEING_ALIVE
    while True:
        instant = world.now
        yield
        offsets = world.offsets()
        yield
        if world.mutant is Mutant.INSTANT_AFTER_OFFSETS:
            instant = world.now
        for _ in range(STEPS_OF_PATIENCE):
            if alive_is_enough or covers([head.next_offset for head in world.shard_heads], offsets):
                break
            yield
        else:
            continue
        heads = world.heads()
        yield
        for _ in range(STEPS_OF_PATIENCE):
            # One snapshot of places, seq and rows; the update below is a statement of its own.
            applied, seq, rows = world.view_head.applied, world.view_head.seq, dict(world.rows)
            yield
            if alive_is_enough or covers(applied, heads):
                advance_horizon(world, Horizon(instant=instant, seq=seq), applied, rows)
                break


def advance_horizon(world: World, found: Horizon, applied: Places, rows: dict[str, Row]) -> None:
    """Store a later instant, and check what it claims against what Kafka held."""
    if found.instant <= world.horizon.instant:
        return
    world.horizon = found
    world.promised[found.instant] = rows
    held = ids(event for log in world.logs for event in log if event.published_at <= found.instant)
    if not held <= ids(world.upto(applied)):
        world.errors.append("the horizon claims an instant that the view does not cover")


def relay(world: World) -> Process:
    """Take over by epoch, then fence, then read; publish the rows behind the outbox; move the cursor after a commit."""
    head = world.relay_head
    head.epoch += 1
    epoch = head.epoch
    yield
    early = (head.cursor, dict(world.rows)) if world.mutant is Mutant.READ_BEFORE_FENCE else None
    if early:
        yield
    producer = world.open_producer()
    transaction = next(world.transactions)
    yield
    cursor, held = early[0] if early else head.cursor, None
    while True:
        world.own(head, epoch)
        rows = early[1] if early else dict(world.rows)
        early, held = None, held or world.horizon
        unsent = sorted(row for row in world.outbox if row[0] > cursor)
        batch, rest = unsent[:2], unsent[2:]
        last = max((seq for seq, _ in batch), default=cursor)
        if world.mutant is Mutant.PRUNES_UNSENT:
            prune(world, last)
        yield
        if world.mutant is Mutant.CURSOR_BEFORE_SEND:
            yield from save_cursor(world, epoch, last)
        if world.mutant is Mutant.WATERMARK_BEFORE_RECORDS:
            yield from send(world, producer, transaction, WATERMARK, Row(version=held.instant))
        for seq, address in batch:
            yield from send(world, producer, transaction, address, rows.get(address, Row(version=seq)))
        cursor = last
        if any(seq <= held.seq for seq, _ in rest):
            continue
        yield from send(world, producer, transaction, WATERMARK, Row(version=held.instant))
        held = None
        if world.random.random() < 0.5:
            if world.mutant is Mutant.CURSOR_BEFORE_COMMIT:
                yield from save_cursor(world, epoch, cursor)
            world.request(producer)
            world.committed.add(transaction)
            transaction = next(world.transactions)
            yield
            yield from save_cursor(world, epoch, cursor)


def send(world: World, producer: int, transaction: int, key: str, row: Row) -> Process:
    """Append one record to the topic inside the producer's open transaction."""
    world.request(producer)
    world.topic.append(Record(key=key, row=row, transaction=transaction))
    if world.mutant is Mutant.NO_FENCE:
        world.committed.add(transaction)
    yield


def save_cursor(world: World, epoch: int, cursor: int) -> Process:
    """Save the relay's place and delete what lies behind it, in one transaction that compares the epoch."""
    world.own(world.relay_head, epoch)
    world.relay_head.cursor = cursor
    prune(world, cursor)
    yield


def prune(world: World, cursor: int) -> None:
    """Delete the outbox rows up to the cursor."""
    world.outbox = [row for row in world.outbox if row[0] > cursor]


def asker(world: World) -> Process:
    """Ask for decisions behind the barrier, and check every yes against what was recorded before the question."""
    while True:
        address = world.random.choice(ADDRESSES)
        before = ids(world.upto(world.heads()))
        yield
        heads = world.heads()
        yield
        row = world.rows.get(address, Row())
        for _ in range(STEPS_OF_PATIENCE):
            applied, rows = world.view_head.applied, world.rows
            if world.mutant is not Mutant.ROWS_BEFORE_APPLIED:
                row = rows.get(address, Row())
            if covers(applied, heads) or world.mutant is Mutant.NO_BARRIER:
                check_answer(world, address, row, before, applied)
                break
            yield
        yield


def check_answer(world: World, address: str, row: Row, before: set[int], applied: Places) -> None:
    """Note an error where a yes rests on too little or contradicts the entries it claims to rest on."""
    if not row.allow:
        return
    world.reached["yes"] += 1
    events = world.upto(applied)
    if not before <= ids(events):
        world.errors.append("a yes rests on less than was recorded before the question")
    if not decide(events, address):
        world.errors.append("a yes where the entries say no")


SERVICES: tuple[Callable[[World], Process], ...] = (
    lambda world: recorder(world, 0),
    lambda world: recorder(world, 1),
    viewer,
    horizon,
    relay,
)


def advance(process: Process) -> bool:
    """Let a process do one step; False once it has ended."""
    try:
        next(process)
    except (StopIteration, FencedError):
        return False
    return True


def storm(world: World) -> list[Process]:
    """Run everything while owners are paused, doubled, woken and killed; return the processes still about."""
    outside = [publisher(world), asker(world), asker(world)]
    active, paused = [start(world) for start in SERVICES], list[Process]()
    for _ in range(world.random.randint(150, 500)):
        fate = world.random.random()
        if fate < 0.03 and active:
            paused.append(active.pop(world.random.randrange(len(active))))
        elif fate < 0.07:
            active.append(world.random.choice(SERVICES)(world))
        elif fate < 0.09 and paused:
            active.append(paused.pop(world.random.randrange(len(paused))))
        elif fate < 0.10 and active:
            active.pop(world.random.randrange(len(active)))
        process = world.random.choice(outside + active)
        if not advance(process):
            (outside if process in outside else active).remove(process)
        if not active:
            active = [start(world) for start in SERVICES]
    return outside + active + paused


def settle(world: World, late: list[Process]) -> None:
    """Start every service anew among the late ones, and run until nothing differs or patience ends."""
    running = [start(world) for start in SERVICES]
    for step in range(STEPS_TO_SETTLE):
        if late and step < STEPS_AMONG_ZOMBIES and world.random.random() < 0.5:
            advance(world.random.choice(late))
        service = world.random.randrange(len(SERVICES))
        if not advance(running[service]):
            running[service] = SERVICES[service](world)
        if step > STEPS_AMONG_ZOMBIES and step % 50 == 0 and not differences(world):
            return


def run(seed: int, mutant: Mutant | None = None) -> World:
    """Play the schedule of a seed to its quiet end; `errors` of the world names the promises that broke."""
    world = World(random=Random(seed), mutant=mutant)
    settle(world, storm(world))
    world.errors += broken_on_topic(world) + differences(world)
    return world


def main(rounds: int, mutant: Mutant | None) -> int:
    """Run seeds 0 to rounds - 1; return 1 when the design fails or the mutant is not found."""
    found = 0
    for seed in range(rounds):
        if errors := run(seed, mutant).errors:
            found += 1
            sys.stdout.write(f"seed {seed}: {errors[0]}\n")
            if mutant:
                return 0
    sys.stdout.write(f"{found} of {rounds} schedules broke a promise\n")
    return int(bool(found) or mutant is not None)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), Mutant(sys.argv[2]) if len(sys.argv) > 2 else None))
