-- A number alone does not say which change it is: after an older copy of the database was put in
-- place, numbers are assigned again. So each change has a random token, and the token of the change
-- before it; the feed has the token of the newest. A cursor that names another token than its row
-- had is of another history.
--
-- Tokens are empty by default because a server of the version before this one may still write,
-- and names no token. No cursor has an empty one, so that readers get a reset then.
ALTER TABLE changes ADD COLUMN token TEXT NOT NULL DEFAULT '';
ALTER TABLE changes ADD COLUMN previous_token TEXT NOT NULL DEFAULT '';
UPDATE changes SET token = lower(hex(randomblob(16)));
UPDATE changes SET previous_token = COALESCE(
    (SELECT before.token FROM changes AS before WHERE before.number = changes.number - 1),
    lower(hex(randomblob(16)))
);

CREATE TABLE feed_with_token (
    one         INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    -- Readers take cursors of up to 512 bytes.
    feed_id     TEXT    NOT NULL CHECK (length(feed_id) BETWEEN 1 AND 64),
    last_number BIGINT  NOT NULL,
    last_token  TEXT    NOT NULL
);
INSERT INTO feed_with_token (one, feed_id, last_number, last_token)
SELECT
    one,
    CASE WHEN length(feed_id) BETWEEN 1 AND 64 THEN feed_id ELSE lower(hex(randomblob(16))) END,
    last_number,
    COALESCE((SELECT token FROM changes WHERE number = last_number), lower(hex(randomblob(16))))
FROM feed;
DROP TABLE feed;
ALTER TABLE feed_with_token RENAME TO feed;
