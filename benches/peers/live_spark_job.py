"""Sessions with Spark Structured Streaming, live: FOLDER of JSON Lines that files are added to -> FOLDER of CSV, in each batch what
has closed."""
import sys

from pyspark.sql import SparkSession
from pyspark.sql import functions as f

events, sessions = sys.argv[1:3]
spark = (SparkSession.builder.master("local[2]").config("spark.driver.memory", "4g")
         .config("spark.sql.shuffle.partitions", "2").config("spark.sql.session.timeZone", "UTC")
         .config("spark.ui.enabled", "false").getOrCreate())
spark.sparkContext.setLogLevel("ERROR")
schema = "time_utc decimal(28, 9), user_id string, button_type string, event_details struct<button_type string>"
read = spark.readStream.schema(schema).json(events).selectExpr(
    "user_id", "timestamp_micros(cast(floor(time_utc * 1000000) as bigint)) as event_time",
    "cast(coalesce(event_details.button_type, button_type) = 'one-click purchase' as int) as purchase")
windows = read.withWatermark("event_time", "10 minutes").groupBy("user_id", f.session_window("event_time", "30 minutes"))
rows = windows.agg(f.min("event_time").alias("first"), f.max("event_time").alias("last"), f.count("*").alias("events"),
                   f.sum("purchase").alias("purchases"))
rows = rows.selectExpr("user_id", "unix_micros(first) as start_us", "unix_micros(last) as end_us", "events", "purchases")
rows.writeStream.outputMode("append").format("csv").option("path", sessions).option(
    "checkpointLocation", sessions + ".checkpoint").start().awaitTermination()
