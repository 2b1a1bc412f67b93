"""Do the committed results come out again?"""
