"""Sessions with Flink SQL, live: FOLDER of JSON Lines that files are added to -> FOLDER of CSV, at each checkpoint what has closed."""
import sys

from pyflink.table import EnvironmentSettings, TableEnvironment

events, sessions = sys.argv[1:3]
tables = TableEnvironment.create(EnvironmentSettings.in_streaming_mode())
for key, value in {
    "parallelism.default": "2",
    "table.local-time-zone": "UTC",
    "execution.checkpointing.interval": "1 s",
    # Without it, a source without a new file holds back the watermark of the others.
    "table.exec.source.idle-timeout": "1 s",
}.items():
    tables.get_config().set(key, value)
tables.execute_sql(f"""CREATE TABLE events (
  time_utc DECIMAL(28, 9), user_id STRING, button_type STRING, event_details ROW<button_type STRING>,
  us AS CAST(FLOOR(time_utc * 1000000) AS BIGINT),
  event_time AS TO_TIMESTAMP_LTZ(CAST(FLOOR(time_utc * 1000) AS BIGINT), 3),
  WATERMARK FOR event_time AS event_time - INTERVAL '10' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'file://{events}', 'format' = 'json', 'source.monitor-interval' = '250ms')""")
tables.execute_sql(f"""CREATE TABLE sessions (user_id STRING, start_us BIGINT, end_us BIGINT, events BIGINT, purchases BIGINT)
  WITH ('connector' = 'filesystem', 'path' = 'file://{sessions}', 'format' = 'csv')""")
tables.execute_sql("""INSERT INTO sessions SELECT user_id, MIN(us), MAX(us), COUNT(*),
    COUNT(*) FILTER (WHERE COALESCE(event_details.button_type, button_type) = 'one-click purchase')
  FROM TABLE(SESSION(TABLE events PARTITION BY user_id, DESCRIPTOR(event_time), INTERVAL '30' MINUTE))
  GROUP BY user_id, window_start, window_end""").wait()
