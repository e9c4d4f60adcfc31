"""Record what a real dbt integration tells: ``python record_dbt_events.py`` writes dbt-openlineage.ndjson beside it.

Run it in an environment of its own, never in the project's::

    python -m venv recording
    recording/bin/pip install 'dbt-core<1.11' 'dbt-duckdb<1.11' openlineage-dbt
    recording/bin/python record_dbt_events.py

It makes a small dbt project on DuckDB (one seed, three models of which one fails, four tests of which one warns),
runs ``dbt-ol build`` on it with OpenLineage's file transport, and keeps the events as they were written, in their
order. The machine's user and folders are not in them: the project is made in /tmp/clinic.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

PROJECT = Path("/tmp/clinic")  # noqa: S108 - it shows in the events, and must be nobody's
FILES = {
    "dbt_project.yml": "name: clinic\nversion: '1.0'\nprofile: clinic\nmodel-paths: [models]\nseed-paths: [seeds]\n",
    "profiles.yml": (
        "clinic:\n  target: dev\n  outputs:\n    dev: {type: duckdb, path: /tmp/clinic/clinic.duckdb, threads: 1}\n"
    ),
    "seeds/raw_visits.csv": "id,patient,days\n1,a,3\n2,b,9\n3,c,1\n4,a,2\n",
    "models/visits.sql": "{{ config(materialized='table') }}\nselect id, patient, days from {{ ref('raw_visits') }}\n",
    "models/stays.sql": (
        "{{ config(materialized='table') }}\n"
        "select patient, sum(days) as days, count(*) as visits from {{ ref('visits') }} group by patient\n"
    ),
    "models/broken.sql": (
        "{{ config(materialized='table') }}\nselect cast(patient as integer) as number from {{ ref('visits') }}\n"
    ),
    "models/schema.yml": """\
version: 2
models:
  - name: visits
    columns:
      - name: id
        data_tests: [not_null, unique]
      - name: patient
        data_tests:
          - unique: {config: {severity: warn}}
  - name: stays
    columns:
      - name: patient
        data_tests: [unique]
""",
}


def main() -> None:
    """Make the project, run it, keep the events."""
    shutil.rmtree(PROJECT, ignore_errors=True)
    for name, text in FILES.items():
        file = PROJECT / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    events = PROJECT / "events.ndjson"
    (PROJECT / "openlineage.yml").write_text(f"transport:\n  type: file\n  log_file_path: {events}\n  append: true\n")
    environment = {
        **os.environ,
        "OPENLINEAGE_CONFIG": str(PROJECT / "openlineage.yml"),
        "OPENLINEAGE_NAMESPACE": "clinic",
        "DBT_PROFILES_DIR": str(PROJECT),
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    subprocess.run([Path(sys.executable).with_name("dbt-ol"), "build"], cwd=PROJECT, env=environment, check=False)
    shutil.copy(events, Path(__file__).with_name("dbt-openlineage.ndjson"))
    shutil.rmtree(PROJECT)


if __name__ == "__main__":
    main()
