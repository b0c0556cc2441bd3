"""The colors of classes, the same in every picture."""

from __future__ import annotations

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
"""256 colors, each with a hexadecimal digit for red, green and blue, which is doubled.
Each color is as far as possible, in CIELAB, from those before it. The lightness is 40
to 85, and the chroma above 30, so that colors are visible on white and on black."""


def class_color(class_id: int) -> tuple[int, int, int]:
    """Returns the color of a class id, the same in every picture.

    The colors of small ids differ most. From 256 on they repeat.

    Args:
        class_id: The class id, from 0.

    Returns:
        Red, green and blue, from 0 to 255.

    Example:

    >>> class_color(0)
    (238, 68, 68)
    """
    start = 3 * (int(class_id) % (len(_COLORS) // 3))
    red, green, blue = (17 * int(digit, 16) for digit in _COLORS[start : start + 3])
    return red, green, blue
