"""Which characters are punctuation, to the peers and to Unicode, and the table from which the kinds of a word are made.

- `SENTENCE_ENDS`: spaCy 3.8, `Sentencizer.default_punct_chars`.
- `TERMINAL_PUNCTUATION`, `PUNCTUATION`: datatrove 0.10, `utils/text.py`.
- Unicode's categories P* are those of the interpreter (`unicodedata.unidata_version`).

Facts taken over as they stand: among datatrove's punctuation are 63 control characters and the full-width digit one, and not
'•', '·' or '€'.
"""

from __future__ import annotations

import unicodedata
from functools import cache

import numpy as np
import numpy.typing as npt

from curate.text.unicode.chars import ALNUM as CHAR_ALNUM
from curate.text.unicode.chars import ALPHA as CHAR_ALPHA
from curate.text.unicode.chars import CODE_POINTS, char_kinds, every_code_point
from curate.text.unicode.chars import SPACE as CHAR_SPACE
from curate.text.words.types import ALNUM, ALPHA, FIRST_ALNUM, PERIOD, PUNCT, SOLID

SENTENCE_ENDS = (
    "!.?։؟۔܀܁܂߹।॥၊။።፧፨᙮᜵᜶᠃᠉᥄᥅᪨᪩᪪᪫᭚᭛᭞᭟᰻᰼᱾᱿‼‽⁇⁈⁉⸮⸼。꓿꘎꘏꛳꛷꡶꡷꣎꣏꤯꧈꧉꩝꩞꩟꫰꫱꯫﹒﹖﹗！．？｡𐩖𐩗𑁇𑁈𑂾𑂿𑃀𑃁𑅁𑅂𑅃𑇅𑇆𑇍𑇞𑇟𑈸𑈹𑈻𑈼𑊩𑑋𑑌𑗂𑗃𑗉𑗊𑗋𑗌𑗍𑗎"
    "𑗏𑗐𑗑𑗒𑗓𑗔𑗕𑗖𑗗𑙁𑙂𑜼𑜽𑜾𑩂𑩃𑪛𑪜𑱁𑱂𖩮𖩯𖫵𖬷𖬸𖭄𛲟𝪈"
)
"""128 characters, full stops of all scripts."""

TERMINAL_PUNCTUATION = SENTENCE_ENDS + "؝؞࠷࠹࠽࠾។៕៖៙៚᭽᭾⹓⹔𐽕𐽖𐽗𐽘𐽙𐾆𐾇𐾈𐾉𑥄𑥆𑻷𑻸𑽃𑽄𖺘"
"""159 characters."""

_CONTROLS = "".join(map(chr, (*range(9), *range(11, 32), *range(127, 160))))

PUNCTUATION = (
    TERMINAL_PUNCTUATION + _CONTROLS + "\"#$%&'()*+,-/:;<=>@[\\]^_`{|}~«´»–—’“”„…∶━►、〈〉《》「」【】％（），１：；～"
)
"""281 characters: signs, quotes and brackets, control characters, and the terminal ones."""

SPACE = 128
"""`str.isspace`. Such a character is in no word; words have no such bit."""


@cache
def sign_kinds() -> npt.NDArray[np.uint8]:
    """What a character brings to the kinds of its word, for every code point. Shape (0x110000,), read-only.

    The bits are those of `words/types.py`, and SPACE. Of a word: ALPHA, ALNUM and SOLID where some character has them, PUNCT
    where every character has it, FIRST_ALNUM where the first has it, PERIOD where the word is one character that has it.
    """
    chars, kinds = char_kinds(), np.zeros(CODE_POINTS, np.uint8)
    for char_bit, bits in ((CHAR_SPACE, SPACE), (CHAR_ALPHA, ALPHA), (CHAR_ALNUM, ALNUM | FIRST_ALNUM)):
        kinds[chars & char_bit != 0] |= bits
    kinds |= np.uint8(SOLID)
    kinds[[ord(char) for char in PUNCTUATION]] ^= SOLID
    categories = "".join(map(unicodedata.category, every_code_point())).encode()  # two letters each
    kinds[np.frombuffer(categories, np.uint8)[::2] == ord("P")] |= PUNCT
    kinds[[ord(char) for char in SENTENCE_ENDS]] |= PERIOD
    kinds.flags.writeable = False
    return kinds
