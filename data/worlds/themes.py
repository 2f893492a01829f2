"""Levels 2 and 3: subjects of programs. Words, units and ranges of one picture fit together."""
import random
import re


def _quantity(text):
    """("Revenue", "USD", 12.0, 95.0) of "Revenue (USD) 12 95"."""
    what, unit, low, high = re.fullmatch(r"(.+) \((.+)\) (\S+) (\S+)", text).groups()
    return what, unit, float(low), float(high)


class Theme:
    """A subject. `more`: "parts" (values add up), or what they depend on and its step."""

    def __init__(self, quantity: str, names: str, groups: str, other: str, more: str = ""):
        self.what, self.unit, self.low, self.high = _quantity(quantity)
        self.other, self.unit2, self.low2, self.high2 = _quantity(other)
        self.sides = []
        for text in (names, groups):
            axis, words = text.split(": ")
            self.sides.append((axis, words.split(", ")))
        over, _, step = more.rpartition(" ")
        self.parts, self.over = more == "parts", over and (over, int(step))


THEMES = [Theme(*words) for words in (
    ("Revenue (million USD) 12 95",
     "Region: North America, Europe, Asia Pacific, Latin America, Middle East, Africa",
     "Segment: Hardware, Software, Services, Licences", "Margin (%) 8 34", "parts"),
    ("Electricity Generation (TWh) 20 480", "Source: Coal, Gas, Nuclear, Hydro, Wind, Solar",
     "Country: Germany, France, Spain, Italy, Poland", "Capacity Factor (%) 18 92", "parts"),
    ("Accuracy (%) 52 97", "Model: ResNet-50, ViT-B/16, ConvNeXt-T, Swin-T, MLP-Mixer, DeiT-S",
     "Dataset: CIFAR-100, Places365, Flowers, Pets", "Model Size (million) 5 90", "Epoch 10"),
    ("Rainfall (mm) 15 240", "City: Mumbai, London, Sydney, Lima, Oslo, Tokyo",
     "Season: Spring, Summer, Autumn, Winter", "Mean Temperature (°C) 4 31"),
    ("Grain Yield (t/ha) 1.8 9.6", "Crop: Wheat, Maize, Rice, Barley, Soybean, Sorghum",
     "Treatment: Control, Compost, Nitrogen, Irrigated",
     "Water Use (mm) 220 780", "Nitrogen (kg/ha) 20"),
    ("Systolic Pressure (mmHg) 104 168", "Dose: Placebo, 5 mg, 10 mg, 20 mg, 40 mg, 80 mg",
     "Age Group: 18-34, 35-49, 50-64, 65+", "Heart Rate (bpm) 58 96", "Week 2"),
    ("Passengers (thousand) 120 2400", "Mode: Metro, Bus, Tram, Ferry, Rail, Bike",
     "Day: Mon, Tue, Wed, Thu, Fri, Sat", "Punctuality (%) 71 99", "parts"),
    ("Response Time (ms) 12 640", "Database: PostgreSQL, MySQL, Redis, MongoDB, SQLite, DuckDB",
     "Operation: Read, Write, Scan, Join", "Throughput (kops/s) 3 120", "Concurrent Users 50"),
    ("CO2 Emissions (Mt) 24 690", "Country: Japan, Brazil, Canada, Mexico, Turkey, Egypt",
     "Sector: Power, Transport, Industry, Buildings, Farming",
     "Emissions per Capita (t) 1.6 17", "parts"),
    ("Units Sold (thousand) 3 58", "Product: Laptops, Phones, Tablets, Monitors, Cameras, Printers",
     "Channel: Online, Store, Partner, Export", "Return Rate (%) 0.8 9.5", "parts"))]
# Each palette is written in one way: names where there are names. The empty one is Matplotlib's.
PALETTES = [words.split() for words in (
    "",
    "steelblue darkorange seagreen firebrick mediumpurple goldenrod",
    "navy teal coral gold crimson slategray",
    "#4c72b0 #dd8452 #55a868 #c44e52 #8172b3 #937860",
    "#264653 #2a9d8f #e9c46a #f4a261 #e76f51 #8ab17d",
    "#1b9e77 #d95f02 #7570b3 #e7298a #66a61e #e6ab02",
    "#66c2a5 #fc8d62 #8da0cb #e78ac3 #a6d854 #ffd92f",
    "#003f5c #ff6361 #58508d #ffa600 #bc5090 #7a9e9f")]
CMAPS = ("viridis", "plasma", "magma", "cividis", "Blues", "YlGnBu", "Oranges", "Greens")
MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()


def pick(rng: random.Random, words: list[str], low: int, high: int) -> list[str]:
    """Between `low` and `high` of the `words`, in their order."""
    n = rng.randint(min(low, len(words)), min(high, len(words)))
    return sorted(rng.sample(words, n), key=words.index)


def calendar(rng: random.Random, n: int) -> tuple[str, list]:
    """(name of a time axis, its `n` values, at most 12)."""
    year = rng.randint(2000, 2025 - n)
    quarters = [f"Q{k % 4 + 1}/{(year + k // 4) % 100:02}" for k in range(n)]
    years = list(range(year, year + n))
    return rng.choice((("Year", years), ("Month", MONTHS[:n]), ("Quarter", quarters)))
