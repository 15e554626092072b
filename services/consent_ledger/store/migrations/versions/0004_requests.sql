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
