"""The Streamlit interface: it fetches from the API and draws; it computes nothing about models."""
