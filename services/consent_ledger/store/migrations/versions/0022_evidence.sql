-- Texts that subjects are shown, and looks, are read from the ledger itself, by indexes that hold nothing else.

set local search_path = consent;

create index ledger_texts on ledger (shard, pos) where type = 'text-registered';
create index ledger_looks on ledger (shard, pos) where type = 'subject-viewed';

-- A look at a record in quarantine is an entry too; who looked and why stand here. Null: from before it was one.
alter table quarantine_look add column event_id uuid unique;

-- Which check at the time of sending was the first to find a refusal.
create index campaign_refused on campaign_answer (controller, hash) where not allow;
