-- The ledger of the bank, for a PostgreSQL of its own: what db.c does for a SQLite.
-- An effect and its idempotency key commit together or not at all; the epoch of the cell is compared, and kept, in the
-- same transaction.

create table accounts (id text primary key, balance bigint not null);

create table authority (cell text primary key, epoch bigint not null);

create table debits (
    key     text primary key,
    account text not null,
    amount  bigint not null,
    balance bigint not null,                                  -- after it, as it was answered
    cell    text not null,
    epoch   bigint not null,
    at      timestamptz not null default clock_timestamp()
);

-- The answer; null where somebody with a newer epoch has written this cell: then nothing was changed. A key that was
-- there already gives the answer of then.
create function debit(the_key text, the_account text, the_amount bigint, the_cell text, the_epoch bigint)
returns text language plpgsql as $$
declare
    newest bigint;
    done debits;
begin
    -- (*) Whoever held this cell under an older epoch is too late. Those of one epoch share the row, and do not wait for
    -- each other; a newer one waits for them. (Who shares it must not write it: two who wanted to would lock each other out.)
    if the_cell <> '' then
        select epoch into newest from authority where cell = the_cell;
        if newest is null or newest < the_epoch then
            insert into authority values (the_cell, the_epoch)
                on conflict (cell) do update set epoch = excluded.epoch where authority.epoch < excluded.epoch;
        end if;
        select epoch into newest from authority where cell = the_cell for share;
        if newest > the_epoch then
            return null;
        end if;
    end if;
    -- (*) Once. Of two at the same moment the second one fails with the key, and is tried again by who asked.
    select * into done from debits where key = the_key;
    if not found then
        insert into accounts values (the_account, 1000000 - the_amount)
            on conflict (id) do update set balance = accounts.balance - the_amount
            returning balance into done.balance;
        insert into debits (key, account, amount, balance, cell, epoch)
            values (the_key, the_account, the_amount, done.balance, the_cell, the_epoch) returning * into done;
    end if;
    return format('{"account":"%s","debited":%s,"balance":%s}', done.account, done.amount, done.balance) || E'\n';
end $$;
