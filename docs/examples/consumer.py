"""Prints every change of memory: python docs/examples/consumer.py localhost:9092 memory.events.v1"""

import io
import sys
from pathlib import Path

from confluent_kafka import Consumer
from fastavro import schema, schemaless_reader

files = [schema.load_schema(file) for file in Path("schemas/avro").glob("*.avsc")]
schemas = {bytes.fromhex(schema.fingerprint(schema.to_parsing_canonical_form(s), "CRC-64-AVRO")): s for s in files}
settings = {"bootstrap.servers": sys.argv[1], "group.id": "example", "auto.offset.reset": "earliest", "enable.auto.commit": False}
seen = {}  # per owner: last sequence, and the slice it came in; store them with your rows and the offsets
with Consumer(settings) as consumer:
    consumer.subscribe([sys.argv[2]])
    while True:
        if (record := consumer.poll(1.0)) is None or record.error():
            continue
        owner, headers = record.key(), dict(record.headers())
        (last, accepted), first = seen.get(owner, (0, None)), int(headers["slicefirst"])
        if headers["sliceid"] != accepted and first != last + 1:  # a slice begins: take all of it, or drop all of it
            if first > last + 1:
                sys.exit(f"{owner.decode()}: {first} came where {last + 1} was due; this never happens, so stop and look")
            continue  # a repetition by a worker that was taken for dead
        event = schemaless_reader(io.BytesIO(record.value()[10:]), schemas[record.value()[2:10]], None)
        seen[owner] = event["meta"]["sequence"], headers["sliceid"]
        # what was said is sealed and stays closed here; ids, times, temperatures and versions are not
        print(headers["ce_type"].decode(), owner.decode(), seen[owner][0], event.get("memory_id"), flush=True)
