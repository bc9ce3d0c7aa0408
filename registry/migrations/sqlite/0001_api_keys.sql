-- The key itself is in no column: only its hash, and as much of its ends as tells keys apart.
CREATE TABLE api_keys (
    key_id      TEXT   NOT NULL PRIMARY KEY,
    key_hash    BLOB   NOT NULL UNIQUE CHECK (length(key_hash) = 32),
    key_head    TEXT   NOT NULL,
    key_tail    TEXT   NOT NULL,
    account_id  TEXT   NOT NULL,
    name        TEXT,
    environment TEXT,
    -- Times are whole seconds since 1970-01-01T00:00:00Z.
    expires_at  BIGINT,
    -- A JSON array of path prefixes; null is every path.
    endpoints   TEXT,
    created_at  BIGINT NOT NULL,
    -- Null while the key is active. There is no status column that could disagree with it.
    revoked_at  BIGINT
);
