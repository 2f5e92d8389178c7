-- Records that could not be stored in calls, whole, with their place and the reason.
CREATE TABLE IF NOT EXISTS dead
(
    source_topic LowCardinality(String) CODEC(ZSTD(1)),
    source_partition UInt32 CODEC(T64, ZSTD(1)),
    source_offset UInt64 CODEC(Delta(8), ZSTD(1)),
    reason LowCardinality(String) CODEC(ZSTD(1)),
    message String CODEC(ZSTD(1)),
    raw String CODEC(ZSTD(3)),
    headers Map(String, String) CODEC(ZSTD(1)),
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
ORDER BY (source_topic, source_partition, source_offset)
TTL toDate(recorded_at) + toIntervalDay(90)
SETTINGS ttl_only_drop_parts = 1, fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;
