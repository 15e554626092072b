-- What permits goes when its time is over, and so does the personal part of a withdrawal. The rows by which a refusal is
-- found stay for ever, whoever asks.

set local search_path = consent;

drop trigger keep_refusals on entry_subject;
create trigger keep_refusals before delete on entry_subject
    for each row execute function keep_refusals(
        'consent-given', 'consent-confirmed', 'relationship-started', 'relationship-ended', 'contact-recorded',
        'identifiers-linked', 'identifier-changed', 'identifier-verified', 'repermission-sent', 'objection-withdrawn'
    );

drop trigger keep_refusals on payload;
create trigger keep_refusals before delete on payload
    for each row when (current_user = 'consent_retention')
    execute function keep_refusals(
        'consent-given', 'consent-confirmed', 'relationship-started', 'relationship-ended', 'contact-recorded',
        'identifiers-linked', 'identifier-changed', 'identifier-verified', 'repermission-sent', 'objection-withdrawn',
        'consent-withdrawn', 'event-voided',
        'request-received', 'identity-requested', 'identity-confirmed', 'request-extended', 'request-answered',
        'recipient-notified', 'objection-assessed', 'restriction-lifted', 'erasure-refused'
    );

-- Withdrawals and changes of address, of which recipients are to be told (Art. 19).
create index ledger_passed_on on ledger (shard, pos) where type in ('consent-withdrawn', 'identifier-changed');

-- The request that a step names. By a pattern and not as JSON, which Postgres refuses to read where a text holds an
-- escaped zero: an index must never keep an entry out. A quotation mark within a text is escaped, so nothing else looks
-- like this.
create function request_of(the_body bytea) returns text
language sql immutable parallel safe
return substring(convert_from(the_body, 'UTF8') from '"request_id":"([0-9a-f-]{36})"');

-- Who was told of what, and which request was received under a name that is no event.
create index ledger_named on ledger (request_of(body)) where type in ('recipient-notified', 'request-received');
