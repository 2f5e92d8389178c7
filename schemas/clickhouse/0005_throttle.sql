-- One row for each record of a throttle signal: it was issued, extended, merged or lifted. The columns follow the list
-- in schemas/throttle.ts; a test compares them. PARTITION BY as in calls: a block is one part.
CREATE TABLE IF NOT EXISTS throttle
(
    signal_id String CODEC(ZSTD(1)),
    revision UInt32 CODEC(T64, ZSTD(1)),
    state LowCardinality(String) CODEC(ZSTD(1)),
    origin LowCardinality(String) CODEC(ZSTD(1)),
    tenant LowCardinality(String) CODEC(ZSTD(1)),
    scope Map(String, String) CODEC(ZSTD(1)),
    each Array(String) CODEC(ZSTD(1)),
    except Array(String) CODEC(ZSTD(1)),
    block Bool CODEC(ZSTD(1)),
    interval_micros UInt64 CODEC(T64, ZSTD(1)),
    burst UInt32 CODEC(T64, ZSTD(1)),
    delay_ms UInt32 CODEC(T64, ZSTD(1)),
    producers UInt32 CODEC(T64, ZSTD(1)),
    dry_run Bool CODEC(ZSTD(1)),
    reason String CODEC(ZSTD(1)),
    alert_ids Array(String) CODEC(ZSTD(1)),
    rule_ids Array(String) CODEC(ZSTD(1)),
    author String CODEC(ZSTD(1)),
    author_key LowCardinality(String) CODEC(ZSTD(1)),
    issued_at DateTime64(6, 'UTC') CODEC(T64, ZSTD(1)),
    expires_at DateTime64(6, 'UTC') CODEC(T64, ZSTD(1)),
    key_id LowCardinality(String) CODEC(ZSTD(1)),
    signature String CODEC(ZSTD(1)),
    attributes Map(String, String) CODEC(ZSTD(1)),
    recorded_at DateTime64(3, 'UTC') CODEC(T64, ZSTD(1)),
    stream_partition UInt32 CODEC(T64, ZSTD(1)),
    stream_offset UInt64 CODEC(Delta(8), ZSTD(1)),

    PROJECTION by_stream_partition
    (
        SELECT stream_partition, max(stream_offset), count()
        GROUP BY stream_partition
    )
)
ENGINE = MergeTree
PARTITION BY toDate(recorded_at)
ORDER BY (signal_id, revision)
TTL toDate(recorded_at) + toIntervalDay(90)
SETTINGS ttl_only_drop_parts = 1, fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;

-- Each signal as it is now: its newest record. One past expires_at holds nobody back any more.
CREATE OR REPLACE VIEW throttles AS
SELECT *, state = 'active' AND expires_at > now64(6, 'UTC') AS holds
FROM throttle
ORDER BY signal_id, revision DESC
LIMIT 1 BY signal_id;
