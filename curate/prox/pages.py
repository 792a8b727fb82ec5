"""Pages with plain noise around plain text, written for this purpose: what every refiner should make something of."""

from __future__ import annotations

_MENU = "Home\nAbout us\nProducts\nBlog\nContact\nLog in\nRegister\n"
_FOOTER = (
    "\nShare on Facebook\nTweet\nPrint this page\nRelated posts\nSubscribe to our newsletter\nEnter your email address\n"
    "Privacy Policy | Terms of Use | Cookie settings\n© 2019 All rights reserved."
)
_TIDES = """How tide pools come alive

Twice a day the sea leaves the rocks, and what looks bare from the path is full of life. Anemones fold themselves up \
and keep the water they need inside, mussels close their shells, and small crabs wait under the weed until the tide is \
back.

A pool high on the shore changes more than one further down. On a hot day its water warms and some of it dries up, so \
that what is left becomes saltier; after a night of rain it may be almost fresh. Only a few animals can live with such \
changes.

Go two hours before low water, tread on bare rock and not on weed, and put every stone back as you found it."""
_BREAD = """Why a long rise makes better bread

Yeast works slowly in the cold, and that is the point. While a dough rests overnight in a cool place, enzymes in the \
flour turn starch into sugar, and bacteria that came with the flour make acids that give the loaf its taste.

The gluten changes too. A dough that was hardly kneaded in the evening is smooth in the morning, because its proteins \
have had time to line up and hold on to each other.

Use a third of the yeast that the recipe asks for, cover the bowl well, and give the dough ten to fourteen hours."""
_BRIDGE = """The old bridge over the Marle

The first bridge stood on oak piles and was carried away by ice in its ninth winter. The second one was built of stone \
from the quarry above the village, which is why its arches have the same warm grey as the church.

Each spring the council measures the piers, since the river digs at them where it turns. In the dry summer of the last \
survey the foundations could be seen for the first time in sixty years, and they had not moved by more than the width \
of a thumb."""

GOOD = tuple(f"{_MENU}{text}{_FOOTER}" for text in (_TIDES, _BREAD, _BRIDGE))
"""Articles between a menu and a footer."""
JUNK = f"{_MENU}{_MENU}Page 1 of 12\nNext\nLast\nSort by price\nAdd to cart\nAdd to cart\nAdd to cart{_FOOTER}"
"""A page of nothing."""
