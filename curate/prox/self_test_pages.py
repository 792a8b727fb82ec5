"""Pages with plain noise around plain text, written for this purpose: what every refiner should make something of."""

from __future__ import annotations

_MENU = (
    "Skip to content\n  • Home\n  • About us\n    • Our story\n    • Team\n    • Jobs\n    • Press\n  • Products\n"
    "    • New\n    • On sale\n    • Gift cards\n    • Best sellers\n  • Services\n    • Repairs\n    • Advice\n"
    "    • Delivery\n  • Topics\n    • Nature\n    • Food\n    • History\n    • Travel\n    • Science\n    • "
    "Health\n  • Blog\n    • Archive\n    • Authors\n  • Events\n  • Contact\n    • Find us\n    • Opening hours\n"
    "  • Log in\n  • Register\n  • Basket (0)\nSearch\nMenu\nClose\n"
)
_FOOTER = (
    "\nShare this:\n  • Facebook\n  • Twitter\n  • LinkedIn\n  • Email\n  • Print\nRelated posts\n  • Five walks "
    "for a weekend\n  • What to pack\n  • Ten things we learnt\n  • How we work\nSubscribe to our newsletter\nEnter"
    " your email address\nSubscribe\nLeave a reply\nCancel reply\nYour email address will not be published.\n  • "
    "About us\n  • Contact\n  • Jobs\n  • Press\n  • Sitemap\n  • Accessibility\nPrivacy Policy | Terms of Use | "
    "Cookie settings\n© 2019 All rights reserved."
)
_TIDES = (
    "How tide pools come alive\n\nTwice a day the sea leaves the rocks, and what looks bare from the path is full "
    "of life. Anemones fold themselves up and keep the water they need inside, mussels close their shells, and "
    "small crabs wait under the weed until the tide is back.\n\nA pool high on the shore changes more than one "
    "further down. On a hot day its water warms and some of it dries up, so that what is left becomes saltier; "
    "after a night of rain it may be almost fresh. Only a few animals can live with such changes.\n\nFurther down "
    "the pools are richer. Starfish hunt there, urchins graze on the rock, and young fish hide from the birds that "
    "walk along the edge of the water and look for them.\n\nThe animals do not wait for the water to come in. Many "
    "of them have a clock of their own, which tells them when the tide turns, and which goes on for days when they "
    "are kept in a tank where the water always stands at the same height.\n\nGo two hours before low water, tread "
    "on bare rock and not on weed, and put every stone back as you found it. What lives on its underside dies in "
    "the sun."
)
_BREAD = (
    "Why a long rise makes better bread\n\nYeast works slowly in the cold, and that is the point. While a dough "
    "rests overnight in a cool place, enzymes in the flour turn starch into sugar, and bacteria that came with the "
    "flour make acids that give the loaf its taste.\n\nThe gluten changes too. A dough that was hardly kneaded in "
    "the evening is smooth in the morning, because its proteins have had time to line up and hold on to each "
    "other.\n\nBakers knew this long before anyone could say why. They mixed a small part of the flour with water "
    "and a little old dough, went to bed, and had the strength for the whole batch ready when the day "
    "began.\n\nThere is a limit. After a day and a half the acids have weakened the gluten so much that the loaf "
    "spreads instead of rising, and its crumb becomes dense and a little grey.\n\nUse a third of the yeast that the"
    " recipe asks for, cover the bowl well, and give the dough ten to fourteen hours. Bake it as you always do, and"
    " let it cool before you cut it."
)
_BRIDGE = (
    "The old bridge over the Marle\n\nThe first bridge stood on oak piles and was carried away by ice in its ninth "
    "winter. The second one was built of stone from the quarry above the village, which is why its arches have the "
    "same warm grey as the church.\n\nFor two hundred years it was the only crossing within a day's walk. Wool and "
    "salt went over it to the coast, and what came back, says the toll book, was mostly dried fish, iron and "
    "letters.\n\nThe toll was given up when the railway came. The house in which it was taken has been a bakery, a "
    "post office and a school for drawing, and it stands empty now while the council thinks about the roof.\n\nEach"
    " spring the council measures the piers, since the river digs at them where it turns. In the dry summer of the "
    "last survey the foundations could be seen for the first time in sixty years, and they had not moved by more "
    "than the width of a thumb.\n\nLorries are sent round by the new road. Walkers still cross the old bridge, most"
    " of them twice, because the best view of it is from the meadow on the other side."
)

GOOD = tuple(f"{_MENU}{text}{_FOOTER}" for text in (_TIDES, _BREAD, _BRIDGE))
"""Articles between a menu and a footer."""
JUNK = f"{_MENU}{_MENU}Page 1 of 12\nNext\nLast\nSort by price\nAdd to cart\nAdd to cart\nAdd to cart{_FOOTER}"
"""A page of nothing."""
