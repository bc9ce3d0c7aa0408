-- Where a lookup is about one environment and the record is of another, this index alone says so,
-- and as soon as where there is no record: who asks could tell by the time.
CREATE INDEX lookups ON api_keys (key_hash, environment);
