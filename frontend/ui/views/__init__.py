"""One module a page: fetch, draw. Not called `pages`: Streamlit would run a folder of that name by itself."""
