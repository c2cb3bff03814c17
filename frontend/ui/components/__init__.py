"""Browser elements that Streamlit lacks: upload straight to the API, grid of clips."""
