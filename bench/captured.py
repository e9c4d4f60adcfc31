"""One captured prediction by its id among a hundred million: found, decrypted and checked, beside DuckDB on Parquet.

28 epochs of an hour at 1,000 predictions a second, an output file a second: 100,800 ranges. Of each the first ten
predictions are captured, 30 inputs and a score, sealed in a block of their own. Facts go in by the store's own append.
The peer has the captured rows alone, a million, in one Parquet file sorted by epoch and number, in plain text.
"""

from __future__ import annotations

import json
import random
import subprocess
import time
from typing import TYPE_CHECKING

import numpy as np

from bench.figures import tell, tell_samples
from bench.sampling import quantile
from bench.scene import PEERS_PYTHON, PROJECT, say, temporary_home
from ion.canonical import digest_bytes
from ion.clock import Clock
from ion.evidence.captures import CaptureKey, row_key
from ion.facts import InputsCaptured, PredictionsCommitted
from ion.ids import PredictionId, new_id
from ion.records import write_record
from ion.serving.capture import open_row, seal
from ion.serving.captured import CapturedRow, capture_aad
from ion.store import open_store

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ion.records import Record
    from ion.store import GovernanceStore

EPOCHS, FILES, ROWS, CAPTURED, FEATURES = 28, 3600, 1000, 10, 30
_LOOKUPS = 60
_TARGET_MS = 5.0
_AT_ONCE = 600


def measure() -> None:
    """Load the store, then the peer, and print what one prediction takes."""
    with temporary_home() as home:
        store = open_store(home.store_url)
        epochs = _load(store)
        chance = random.Random(7)  # noqa: S311 - not a secret
        walls, cpus = [], []
        for _ in range(_LOOKUPS):
            seq = chance.randrange(FILES) * ROWS + chance.randrange(CAPTURED)
            wall, cpu = time.perf_counter(), time.process_time()
            row = _found(store, PredictionId(chance.choice(epochs), seq))
            walls.append((time.perf_counter() - wall) * 1e3)
            cpus.append((time.process_time() - cpu) * 1e3)
            if len(row.inputs) != FEATURES or row.score != seq:
                raise RuntimeError(f"another prediction was found: {row}")
        store.close()
        note = f"of {EPOCHS * FILES * ROWS:,}, decrypted, checked; CPU of this process {quantile(cpus, 0.5):.3g} ms"
        tell_samples("captured.SQLite", walls, "ms", 0.5, target=_TARGET_MS, note=note)
        say("DuckDB on Parquet")
        command = [str(PEERS_PYTHON), "-m", "bench.plain_parquet", str(home.root)]
        command += [str(EPOCHS * FILES * CAPTURED), str(FEATURES), str(_LOOKUPS)]
        done = subprocess.run(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True, check=True)
        found = json.loads(done.stdout.splitlines()[-1])
        note = f"the peer: of {EPOCHS * FILES * CAPTURED:,} captured rows, in plain text, nothing checked"
        tell_samples("captured.DuckDB", found["samples"], "ms", 0.5, note=note)
        tell("captured.DuckDB.bytes", found["bytes"], "bytes", EPOCHS * FILES * CAPTURED, note="per captured row")


def _load(store: GovernanceStore) -> list[str]:
    """Append every range and its captured rows; returns the epochs."""
    clock, noise, run, agent, seq = Clock(), np.random.default_rng(7), new_id(), f"captured-{new_id()}", 0
    epochs = [new_id() for _ in range(EPOCHS)]
    for number, epoch in enumerate(epochs):
        say(f"{number * FILES * ROWS:,} predictions")
        key = CaptureKey.generate()
        store.keep_capture_keys([key])
        for start in range(0, FILES, _AT_ONCE):
            records: list[Record] = []
            blocks: dict[str, bytes] = {}
            for file in range(start, start + _AT_ONCE):
                first = file * ROWS
                inputs = noise.normal(size=(CAPTURED, FEATURES)).tolist()
                rows = [CapturedRow(tuple(row), float(first + at)).to_text() for at, row in enumerate(inputs)]
                block = seal(rows, key, capture_aad(epoch, first))
                blocks[digest_bytes(block)] = block
                for fact in _facts(epoch, run, first, key, digest_bytes(block)):
                    records.append(write_record(fact, fact_id=new_id(), agent=agent, seq=seq, stamp=clock.tick()))
                    seq += 1
            store.append(records, blocks)
    return epochs


def _facts(
    epoch: str, run: str, first: int, key: CaptureKey, block: str
) -> Sequence[PredictionsCommitted | InputsCaptured]:
    us = time.time_ns() // 1000
    file = digest_bytes(f"{epoch}:{first}".encode())
    sources = [{"file": "patients.csv", "first": first, "last": first + ROWS - 1, "rows": ROWS}]
    committed = PredictionsCommitted(
        epoch=epoch,
        run=run,
        first=first,
        last=first + ROWS - 1,
        rows=ROWS,
        file=f"hour/predictions-{first}.csv",
        file_digest=file,
        sources=sources,
        us_first=us,
        us_last=us,
    )
    last = first + CAPTURED - 1
    captured = InputsCaptured(epoch=epoch, run=run, first=first, last=last, rows=CAPTURED, key=key.key_id, block=block)
    return committed, captured


def _found(store: GovernanceStore, prediction: PredictionId) -> CapturedRow:
    """Find a captured prediction as `ion.replay` does, without scoring it again."""
    captured = next(
        record.fact
        for record in store.find(InputsCaptured, prediction.epoch)
        if record.fact.first <= prediction.seq <= record.fact.last
    )
    block = store.block(captured.block)
    if block is None or digest_bytes(block) != captured.block:
        raise RuntimeError("the captured block is not what the fact names")
    index = prediction.seq - captured.first
    key = store.capture_key(row_key(block, index))
    if key is None:
        raise RuntimeError("the key of the block is missing")
    return CapturedRow.from_text(open_row(block, key, index, capture_aad(captured.epoch, captured.first)))
