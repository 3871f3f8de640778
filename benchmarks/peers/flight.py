"""Arrow Flight: ``python flight.py FILE...`` serves the batches of Arrow streams, mapped, and prints its port."""

import sys

import pyarrow as pa
import pyarrow.flight as flight


class Server(flight.FlightServerBase):
    def __init__(self, files):
        super().__init__("grpc://127.0.0.1:0")
        self._tables = [pa.ipc.open_stream(pa.memory_map(file)).read_all() for file in files]

    def do_get(self, context, ticket):
        table = pa.concat_tables(self._tables)
        return flight.RecordBatchStream(pa.RecordBatchReader.from_batches(table.schema, table.to_batches()))


if __name__ == "__main__":
    server = Server(sys.argv[1:])
    print(server.port, flush=True)
    server.serve()
