"""The colors of every figure: seaborn's "colorblind" palette, after Okabe and Ito, "Color universal design" (2008)."""

import seaborn as sns

BLUE, ORANGE, GREEN, VERMILION, PURPLE, BROWN, PINK, GRAY, YELLOW, SKY = sns.color_palette("colorblind", 10).as_hex()
