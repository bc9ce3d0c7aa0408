-- The feed of changes. Its one row has the number of the newest change, and an ID that tells this
-- feed's cursors from those of another database.
CREATE TABLE feed (
    one         INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    feed_id     TEXT    NOT NULL,
    last_number BIGINT  NOT NULL
);
INSERT INTO feed (one, feed_id, last_number) VALUES (1, replace(gen_random_uuid()::text, '-', ''), 0);

-- Numbers have no gaps. Old changes are removed, and the numbers of those that are left stay.
CREATE TABLE changes (
    number     BIGINT NOT NULL PRIMARY KEY,
    key_hash   BYTEA  NOT NULL CHECK (octet_length(key_hash) = 32),
    kind       TEXT   NOT NULL,
    changed_at BIGINT NOT NULL
);
