"""Sessions with chDB (ClickHouse): EVENTS.jsonl -> SESSIONS.parquet (user, start_us, end_us, events, purchases)."""
import os
import sys

import chdb

events, sessions = sys.argv[1:3]
if os.path.exists(sessions):
    os.remove(sessions)
result = chdb.query(f"""
SELECT user, min(us) AS start_us, max(us) AS end_us, toInt64(count()) AS events, toInt64(sum(purchase)) AS purchases FROM (
  SELECT user, us, purchase,
    sum(first) OVER (PARTITION BY user ORDER BY us ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS id FROM (
    SELECT user, us, purchase,
      if(row_number() OVER w = 1 OR us - lagInFrame(us) OVER w > 1800000000, 1, 0) AS first FROM (
      SELECT user_id AS user, toUnixTimestamp64Micro(toDateTime64(time_utc, 6, 'UTC')) AS us,
        if(button_type = '', tupleElement(event_details, 1), button_type) = 'one-click purchase' AS purchase
      FROM file('{events}', JSONEachRow,
        'time_utc String, user_id String, button_type String, event_details Tuple(button_type String)'))
    WINDOW w AS (PARTITION BY user ORDER BY us ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)))
GROUP BY user, id INTO OUTFILE '{sessions}' FORMAT Parquet
SETTINGS max_threads = 2, input_format_json_ignore_unknown_keys_in_named_tuple = 1,
  input_format_json_defaults_for_missing_elements_in_named_tuple = 1, input_format_skip_unknown_fields = 1""", "CSV")
if result is not None and getattr(result, "has_error", bool)():
    sys.exit(result.error_message())
