#!/bin/sh
# Print the path of the first Python this project runs on (3.11 or 3.12), or say what to do.
# A name on the path may be a shim of a version manager that does not answer: each is tried, not only found.
for name in python3.11 python3.12 python3 python; do
    path=$("$name" -c 'import sys; (3, 11) <= sys.version_info[:2] <= (3, 12) or sys.exit(1); print(sys.executable)' 2>/dev/null) &&
        "$path" -m pip --version >/dev/null 2>&1 && {
        echo "$path"
        exit 0
    }
done
echo "No Python 3.11 or 3.12 with pip was found (PyFlink has no wheels for later versions)." >&2
echo "Install one (on Debian: apt-get install python3 python3-pip python3-venv), or name it: make setup PYTHON=/path/to/python3.11" >&2
exit 2
