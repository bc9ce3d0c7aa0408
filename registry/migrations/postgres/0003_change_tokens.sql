-- A number alone does not say which change it is: after an older copy of the database was put in
-- place, or a replica promoted that had not received the newest changes, numbers are assigned
-- again. So each change has a random token, and the token of the change before it; the feed has the
-- token of the newest. A cursor that names another token than its row had is of another history.
--
-- Tokens are empty by default because a server of the version before this one may still write,
-- and names no token. No cursor has an empty one, so that readers get a reset then.

-- The feed first: writers lock it before they add a change.
ALTER TABLE feed ADD COLUMN last_token TEXT NOT NULL DEFAULT '';

ALTER TABLE changes ADD COLUMN token TEXT NOT NULL DEFAULT '';
ALTER TABLE changes ADD COLUMN previous_token TEXT NOT NULL DEFAULT '';
UPDATE changes SET token = replace(gen_random_uuid()::text, '-', '');
UPDATE changes SET previous_token = COALESCE(
    (SELECT before.token FROM changes AS before WHERE before.number = changes.number - 1),
    replace(gen_random_uuid()::text, '-', '')
);

UPDATE feed SET last_token = COALESCE(
    (SELECT token FROM changes WHERE number = last_number),
    replace(gen_random_uuid()::text, '-', '')
);
ALTER TABLE feed ALTER COLUMN last_token DROP DEFAULT;

-- Readers take cursors of up to 512 bytes.
UPDATE feed SET feed_id = replace(gen_random_uuid()::text, '-', '')
WHERE length(feed_id) NOT BETWEEN 1 AND 64;
ALTER TABLE feed ADD CHECK (length(feed_id) BETWEEN 1 AND 64);
