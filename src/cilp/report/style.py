"""Colours and markers that all pictures share."""

# Okabe and Ito's palette, with grey for its yellow, told apart by the colour-blind as well
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
