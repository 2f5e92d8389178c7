-- One row for each question that was asked of the history: who read what, when, and how much of it. The columns follow
-- the list in schemas/question.ts; a test compares them. PARTITION BY as in calls: a block is one part.
CREATE TABLE IF NOT EXISTS queries
(
    query_id String CODEC(ZSTD(1)),
    asked_at DateTime64(6, 'UTC') CODEC(T64, ZSTD(1)),
    asker LowCardinality(String) CODEC(ZSTD(1)),
    tenant LowCardinality(String) CODEC(ZSTD(1)),
    door LowCardinality(String) CODEC(ZSTD(1)),
    user_name LowCardinality(String) CODEC(ZSTD(1)),
    client_name LowCardinality(String) CODEC(ZSTD(1)),
    client_address LowCardinality(String) CODEC(ZSTD(1)),
    statement String CODEC(ZSTD(1)),
    statement_bytes UInt32 CODEC(T64, ZSTD(1)),
    parameters Map(String, String) CODEC(ZSTD(1)),
    format LowCardinality(String) CODEC(ZSTD(1)),
    outcome LowCardinality(String) CODEC(ZSTD(1)),
    error_code LowCardinality(String) CODEC(ZSTD(1)),
    error_message String CODEC(ZSTD(1)),
    duration_ms Nullable(Decimal(18, 3)) CODEC(T64, ZSTD(1)),
    result_rows UInt64 CODEC(T64, ZSTD(1)),
    result_bytes UInt64 CODEC(T64, ZSTD(1)),
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
ORDER BY (tenant, asker, asked_at)
TTL toDate(recorded_at) + toIntervalDay(90)
SETTINGS ttl_only_drop_parts = 1, fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;
