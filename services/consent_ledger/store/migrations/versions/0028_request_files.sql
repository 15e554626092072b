-- The file of a request goes whole when its time is over, unless somebody refuses something by it (Art. 7(3), 17, 18, 21).

set local search_path = consent;

-- Whether nobody refuses anything by a step of a request. What opens one has to say so: by its article, to the letter. The
-- body is JSON without blanks, and a quotation mark within its texts is escaped, so nothing else looks like an article.
create function refuses_nothing(the_type text, the_body bytea) returns boolean
language sql immutable parallel safe
return the_type in ('identity-requested', 'identity-confirmed', 'request-extended', 'request-answered', 'recipient-notified')
    or (the_type = 'request-received' and coalesce((
        select bool_and(said[1] ~* '^((art(icle|ikel)?\.?)? ?(15|16|19|20|22)|access|rectification|portability)$')
          from regexp_matches(convert_from(the_body, 'UTF8'), '"article":"((?:[^"\\]|\\.)*)"', 'g') as said
    ), false));

-- The arguments are the types of entries whose rows may go besides.
create function keep_refusals_or_files() returns trigger language plpgsql as $$
begin
    if not exists (
        select from consent.ledger l
         where l.shard = old.shard and l.pos = old.pos
           and (l.type = any (tg_argv) or consent.refuses_nothing(l.type, l.body))
    ) then
        raise exception 'this row of % is kept', tg_table_name using errcode = 'insufficient_privilege';
    end if;
    return old;
end $$;

drop trigger keep_refusals on entry_subject;
create trigger keep_refusals before delete on entry_subject
    for each row when (current_user <> 'consent_eraser') execute function keep_refusals_or_files(
        'consent-given', 'consent-confirmed', 'relationship-started', 'relationship-ended', 'contact-recorded',
        'identifiers-linked', 'identifier-changed', 'identifier-verified', 'repermission-sent', 'objection-withdrawn'
    );
