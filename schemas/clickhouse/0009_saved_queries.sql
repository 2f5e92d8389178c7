-- One row for each time that a statement was kept under a name, or a name forgotten. The columns follow the list in
-- schemas/saved-query.ts; a test compares them. PARTITION BY as in calls: a block is one part. Kept without end: a name
-- that nobody touches for months is still wanted.
CREATE TABLE IF NOT EXISTS saved_queries
(
    record_id String CODEC(ZSTD(1)),
    name String CODEC(ZSTD(1)),
    tenant LowCardinality(String) CODEC(ZSTD(1)),
    statement String CODEC(ZSTD(1)),
    author String CODEC(ZSTD(1)),
    author_key LowCardinality(String) CODEC(ZSTD(1)),
    saved_at DateTime64(6, 'UTC') CODEC(T64, ZSTD(1)),
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
ORDER BY (tenant, name)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;

-- Each name as it is now.
CREATE OR REPLACE VIEW saved_queries_latest AS
SELECT *
FROM
(
    SELECT *
    FROM saved_queries
    ORDER BY tenant, name, stream_offset DESC
    LIMIT 1 BY tenant, name
)
WHERE statement != '';
