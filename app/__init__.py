"""The parlor in the browser (Streamlit)."""
