"""One module or folder per engine: how this project reaches it. Copy and edit."""
