-- One row for each record of an alert: it fired, went on, or was resolved. The columns follow the list in
-- schemas/alert.ts; a test compares them. PARTITION BY as in calls: a block is one part.
CREATE TABLE IF NOT EXISTS alerts
(
    alert_id String CODEC(ZSTD(1)),
    revision UInt32 CODEC(T64, ZSTD(1)),
    state LowCardinality(String) CODEC(ZSTD(1)),
    rule_id LowCardinality(String) CODEC(ZSTD(1)),
    rule_version LowCardinality(String) CODEC(ZSTD(1)),
    title String CODEC(ZSTD(1)),
    description String CODEC(ZSTD(1)),
    level LowCardinality(String) CODEC(ZSTD(1)),
    tags Array(String) CODEC(ZSTD(1)),
    runbook String CODEC(ZSTD(3)),
    actions String CODEC(ZSTD(3)),
    dry_run Bool CODEC(ZSTD(1)),
    tenant LowCardinality(String) CODEC(ZSTD(1)),
    `group` Map(String, String) CODEC(ZSTD(1)),
    started_at DateTime64(6, 'UTC') CODEC(T64, ZSTD(1)),
    at DateTime64(6, 'UTC') CODEC(T64, ZSTD(1)),
    first_at DateTime64(6, 'UTC') CODEC(T64, ZSTD(1)),
    last_at DateTime64(6, 'UTC') CODEC(T64, ZSTD(1)),
    caused_at DateTime64(6, 'UTC') CODEC(T64, ZSTD(1)),
    count UInt64 CODEC(T64, ZSTD(1)),
    values Map(String, String) CODEC(ZSTD(1)),
    reason String CODEC(ZSTD(1)),
    evidence Array(String) CODEC(ZSTD(1)),
    evidence_sql String CODEC(ZSTD(3)),
    flags Array(String) CODEC(ZSTD(1)),
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
ORDER BY (alert_id, revision)
TTL toDate(recorded_at) + toIntervalDay(90)
SETTINGS ttl_only_drop_parts = 1, fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;

-- Each alert as it is now: its newest record.
CREATE OR REPLACE VIEW alerts_latest AS
SELECT *
FROM alerts
ORDER BY alert_id, revision DESC
LIMIT 1 BY alert_id;
