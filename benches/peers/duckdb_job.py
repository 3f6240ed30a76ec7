"""Sessions with DuckDB: EVENTS.jsonl -> SESSIONS.parquet (user, start_us, end_us, events, purchases)."""
import sys

import duckdb

events, sessions = sys.argv[1:3]
connection = duckdb.connect()
connection.sql("SET threads = 2")
connection.sql("SET preserve_insertion_order = false")
connection.sql(f"""COPY (
WITH event AS (
  SELECT user_id AS user, floor(time_utc::DECIMAL(28, 9) * 1000000)::BIGINT AS us,
    (coalesce(event_details.button_type, button_type) = 'one-click purchase') AS purchase
  FROM read_json('{events}', format = 'newline_delimited', columns = {{
    time_utc: 'VARCHAR', user_id: 'VARCHAR', button_type: 'VARCHAR', event_details: 'STRUCT(button_type VARCHAR)'}})),
mark AS (SELECT *, CASE WHEN us - lag(us) OVER (PARTITION BY user ORDER BY us) <= 1800000000 THEN 0 ELSE 1 END AS first FROM event),
session AS (SELECT *, sum(first) OVER (PARTITION BY user ORDER BY us ROWS UNBOUNDED PRECEDING) AS id FROM mark)
SELECT user, min(us) AS start_us, max(us) AS end_us, count(*) AS events, count(*) FILTER (purchase) AS purchases
FROM session GROUP BY user, id) TO '{sessions}' (FORMAT parquet)""")
