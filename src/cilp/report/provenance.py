"""Where the data of a table comes from, in words."""

SOURCES = {
    "simulate": "simulated data (`data.source: simulate`)",
    "folder": "data of the user's own (`data.source: folder`)",
    "kaggle": "data from Kaggle (`data.source: kaggle`)",
    "hub": "data from the Hugging Face Hub (`data.source: hub`)",
}
