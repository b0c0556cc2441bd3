"""The colours of classes: those of the callbacks' legends."""

from __future__ import annotations

# Of `class_color` for the ids 0 to 255: a hexadecimal digit for each of red, green and
# blue. A table, because reports need nothing of what computes it.
_COLORS = (
    "e440e004f0df561faffc0f0e0ea06bfb9b07ad5a6007695684bac90809bff60f79a0fba428a16ef7"
    "f97b5e60cbe064a6853f85f01b0ad9bf90a5fcd0a42c6aa8ff0a791fb68d0a34c76c906850bf0b5b"
    "9669f0b0569b209d8f6c55b3728a5cd7a0c5a854df49dc8bb2a3608cc7d7da870dbf4aa9496b2074"
    "c50f777dd763faab74958c7f0e8f4dc67d465a4ec4d1fe5ff045bd73f99586ef7b78cd82851f5365"
    "9b23b836e37d60eca9ec8c4af9b0e9683cfbeb39b9c6d80c9dc096cfb3f9cf83c5cc168cfd53f8ef"
    "46a9069cd0267eab49db82dec6d2a563f98f40069b4d1a2782973094944c63cd5d588b4b680e4590"
    "08fda6d89a75c4fc55ad2d0c7a7c9f098d40d49d9877cbb656f486f58c047d40bc1886931cfac7a4"
    "8859a40fa4b327737b60c4da448d05fe65d107df57376169547da3a5b8a7ae8fd75a6b09a0b74ad0"
    "a847049675f6cbd082dda818af769f08983ab7db875ad7cd8499293bd4d5c07c835ca5d47bb25071"
    "87d9463842d874cdaf954e0b6cdaae5cac8fa5b7a0ad9b8d"
)


def class_color(class_id: int) -> str:
    """Returns the colour of a class id, for CSS.

    Example:

    >>> class_color(0)
    '#ee4444'
    """
    start = 3 * (class_id % 256)
    return "#" + "".join(2 * digit for digit in _COLORS[start : start + 3])
