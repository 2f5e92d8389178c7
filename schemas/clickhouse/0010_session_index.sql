-- Finds the calls of one session without its actor: a part's rows stand in the order of actors, so a session's are in one
-- or two of its granules, and without the filter all of them are read. At most a byte an event. What is stored already gets
-- it in the background, by a mutation that reads this one column and links the files of the others.
ALTER TABLE calls ADD INDEX IF NOT EXISTS session_id_bloom session_id TYPE bloom_filter(0.01) GRANULARITY 1;
ALTER TABLE calls MATERIALIZE INDEX session_id_bloom;
