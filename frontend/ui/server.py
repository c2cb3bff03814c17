"""The pages as a server: `python -m streamlit run frontend/ui/server.py`. The script app.py behind the gate."""

from __future__ import annotations

from pathlib import Path

import streamlit as st
from starlette.middleware import Middleware

from frontend.ui.gate import Gate

app = st.App(Path(__file__).parent / "app.py", middleware=[Middleware(Gate)])
