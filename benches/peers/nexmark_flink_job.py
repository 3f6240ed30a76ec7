"""Nexmark q11 with Flink SQL: FOLDER of JSON -> FOLDER of CSV (bidder, bids, first and last time in ms).

Also writes FOLDER.usage: seconds of CPU and megabytes of peak memory of the virtual machine, which no process has as a child.
"""
import os
import sys

from pyflink.java_gateway import get_gateway
from pyflink.table import EnvironmentSettings, TableEnvironment

events, sessions = sys.argv[1:3]
# Windows of sessions exist as a table function in streaming mode only.
tables = TableEnvironment.create(EnvironmentSettings.in_streaming_mode())
tables.get_config().set("parallelism.default", "2")
tables.get_config().set("table.local-time-zone", "UTC")
tables.execute_sql(f"""CREATE TABLE events (
  Bid ROW<bidder BIGINT, date_time BIGINT>, Person ROW<date_time BIGINT>, Auction ROW<date_time BIGINT>,
  event_time AS TO_TIMESTAMP_LTZ(COALESCE(Bid.date_time, Person.date_time, Auction.date_time), 3),
  WATERMARK FOR event_time AS event_time - INTERVAL '4' SECOND
) WITH ('connector' = 'filesystem', 'path' = 'file://{events}', 'format' = 'json')""")
tables.execute_sql(f"""CREATE TABLE sessions (bidder BIGINT, bids BIGINT, first_ms BIGINT, last_ms BIGINT)
  WITH ('connector' = 'filesystem', 'path' = 'file://{sessions}', 'format' = 'csv')""")
tables.execute_sql("CREATE TEMPORARY VIEW bids AS SELECT Bid.bidder AS bidder, Bid.date_time AS ms, event_time"
                   " FROM events WHERE Bid.bidder IS NOT NULL")
tables.execute_sql("""INSERT INTO sessions SELECT bidder, COUNT(*), MIN(ms), MAX(ms)
  FROM TABLE(SESSION(TABLE bids PARTITION BY bidder, DESCRIPTOR(event_time), INTERVAL '10' SECOND))
  GROUP BY bidder, window_start, window_end""").wait()

machine = get_gateway().jvm.java.lang.ProcessHandle.current().pid()
with open(f"/proc/{machine}/stat") as stat, open(f"/proc/{machine}/status") as status, open(f"{sessions}.usage", "w") as usage:
    user, system = stat.read().rpartition(")")[2].split()[11:13]
    peak = next(line.split()[1] for line in status if line.startswith("VmHWM"))
    usage.write(f"{(int(user) + int(system)) / os.sysconf('SC_CLK_TCK')} {int(peak) / 1024}")
