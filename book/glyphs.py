"""Which characters the printed book's typefaces have; others are written out by name instead of as boxes.

The typefaces are those inside the `typst` package (Libertinus Serif, New Computer Modern, DejaVu Sans Mono),
so that a book is the same to the byte on every machine. `tests/book/test_pdf.py` compares this table with
what typst really draws. Screens have more typefaces: the website and the EPUB leave such characters alone.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection

from book.passage import Runs

_COVERED = """
20-7f a0-377 37a-37f 384-38a 38c 38e-3a1 3a3-4ff 510-513 51a-51d 531-58a 58d-58f 591-5c7 5d0-5ea
5ef-5f5 5f7 606-60c 615 61b 61f 621-63a 640-655 65a 660-66d 674 679-67b 67e-680 683-684 686-687 691
698 6a4 6a9 6af 6be 6cc 6f0-6f9 900-97f e3f e81-e82 e84 e87-e88 e8a e8d e94-e97 e99-e9f ea1-ea3 ea5
ea7 eaa-eab ead-eb9 ebb-ebc ec8-ecd 10d0-10ff 13a0-13f5 13f8-13fd 1ab0-1ace 1d00-1f15 1f18-1f1d
1f20-1f45 1f48-1f4d 1f50-1f57 1f59 1f5b 1f5d 1f5f-1f7d 1f80-1fb4 1fb6-1fc4 1fc6-1fd3 1fd6-1fdb
1fdd-1fef 1ff2-1ff4 1ff6-1ffe 2000-2027 2029 202f-2040 2042 2044-2052 2054-2064 2070-2071 2074-208e
2090-209c 20a0-20c0 20d0-20f0 2100-211e 2120 2122 2124 2126-2151 2153-2184 2189 2190-23ff 2422-2423
2460-262f 2638-268b 2690-269c 26a0-26a7 26aa-26b2 2701-2704 2706-2709 270c-2727 2729-274b 274d
274f-2752 2756 2758-275e 2761-277f 2794 2798-27af 27b1-27be 27c0-2b73 2b76-2b95 2b97-2bff 2c60-2cf3
2cf9-2cff 2e02-2e05 2e08-2e0a 2e17-2e18 2e1f 2e22-2e25 2e2e 3012 3016-3017 301a-301b 3030 3036 306e
a46a-a46b a640-a641 a648-a649 a656-a657 a708-a716 a71b-a727 a72d a730 a735 a765 a789-a78e a790-a791
a793 a7aa a7f8-a7f9 ab52 ab66 ab70-abbf fb00-fb06 fb13-fb17 fb1d-fb4f fb52-fb81 fb8a-fb95 fb9e-fb9f
fbaa-fbad fbe8-fbe9 fbfc-fbff fe00-fe01 fe20-fe2f fe66 fe70-fe74 fe76-fefc feff fff9-fffd
10140-1018e 102e0-102fb 1d106-1d107 1d400-1d454 1d456-1d49c 1d49e-1d49f 1d4a2 1d4a5-1d4a6
1d4a9-1d4ac 1d4ae-1d4b9 1d4bb 1d4bd-1d4c3 1d4c5-1d505 1d507-1d50a 1d50d-1d514 1d516-1d51c
1d51e-1d539 1d53b-1d53e 1d540-1d544 1d546 1d54a-1d550 1d552-1d6a5 1d6a8-1d7cb 1d7ce-1d7ff
1ee00-1ee22 1ee24 1ee27 1ee29-1ee32 1ee34-1ee37 1ee39 1ee3b 1ee42 1ee47 1ee49 1ee4b 1ee4d-1ee4f
1ee51-1ee52 1ee54 1ee57 1ee59 1ee5b 1ee5d 1ee5f 1ee61-1ee62 1ee64 1ee67-1ee6a 1ee6c-1ee72
1ee74-1ee77 1ee79-1ee7c 1ee7e-1ee89 1ee8b-1ee9b 1eea1-1eea3 1eea5-1eea9 1eeab-1eebb 1eef0-1eef1
1f12f 1f6d1 1f780-1f7d8 1f7e0-1f7eb 1f7ff-1f80b 1f810-1f847 1f850-1f859 1f860-1f887 1f890-1f8ad
1f8b0-1f8bb 1f8c0-1f8c1 1f8d0-1f8d8
"""
"""Code points in hexadecimal, singly or from-to."""


def _pattern() -> re.Pattern[str]:
    ranges = [part.split("-") for part in _COVERED.split()]
    inside = "".join(
        re.escape(chr(int(ends[0], 16))) + (f"-{re.escape(chr(int(ends[1], 16)))}" if len(ends) > 1 else "")
        for ends in ranges
    )
    return re.compile(f"[^\\n\\t{inside}]")


_MISSING = _pattern()


def printed(runs: Runs, more: Collection[str] = frozenset()) -> Runs:
    """Return a text in which every character that no typeface has is written out, as those unseen are.

    `more` are those that the author's own typefaces have.
    """
    if not any(_MISSING.search(run) for run in runs[::2]):
        return runs
    found: list[str] = [""]
    for number, run in enumerate(runs):
        if number % 2:
            found += [run, ""]
            continue
        end = 0
        for match in _MISSING.finditer(run):
            if match[0] in more:
                continue
            found[-1] += run[end : match.start()]
            found += [name_glyph(match[0]), ""]
            end = match.end()
        found[-1] += run[end:]
    return tuple(found)


def name_glyph(letter: str) -> str:
    """Return a picture's name (`grinning face`), any other letter's code point (`U+4E2D`)."""
    name = unicodedata.name(letter, "").lower()
    return name if name and unicodedata.category(letter) == "So" else f"U+{ord(letter):04X}"
