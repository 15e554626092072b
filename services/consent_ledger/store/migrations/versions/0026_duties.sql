-- What permits goes when its time is over, and so does the personal part of a withdrawal. The rows by which a refusal is
-- found stay for ever, whoever asks.

set local search_path = consent;

drop trigger keep_refusals on entry_subject;
create trigger keep_refusals before delete on entry_subject
    for each row when (current_user <> 'consent_eraser') execute function keep_refusals(
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

-- Who was told of what, and which request was received under a name that is no event.
create index ledger_named on ledger (request_of(body)) where type in ('recipient-notified', 'request-received');
